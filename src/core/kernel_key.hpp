// The table of kernels: which exist is said once, here, and the validator, the planner and the CUDA table read it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "math/formats.hpp"

namespace moe_act {

enum class OutputKind : std::int8_t {
  plain,       // fp32, fp16 or bf16, switched at run time
  scaled,      // e4m3 or e5m2 with block or tensor scales, switched at run time
  row_scaled,  // the same with one scale for a row
};

// How work is laid over warps. The first four, src/cuda/kernel.cuh, know dense rows and int32 maps; the others,
// src/cuda/conventions.cuh, row conventions: list and segments all of them.
enum class Schedule : std::int8_t {
  rows = 1,      // a warp does one chunk of one row, all there are or those a map names
  tiles = 2,     // a warp does one block of several consecutive rows
  sparse = 3,    // CTAs share out the few live rows among many map entries
  loop = 4,      // as rows, for any alignment and any number of columns
  list = 5,      // CTAs look at entries that name rows, or rows that may be live
  segments = 6,  // CTAs count the experts' rows and share them out
  span = 7,      // CTAs take the rows of one range, whose ends the device knows
  entry = 8,     // each CTA looks at one entry of a list, and that is all it does
};

inline constexpr int max_warps_per_cta = 16;
inline constexpr int max_sparse_entries = 512;  // that a CTA looks at which shares out live rows

// What a kernel knows beside rows, each more than the one before it.
enum class Reach : std::int8_t {
  plain,    // SwiGLU without parameters in the default numerics; fp32 scales at strides, one for 128 columns; e4m3;
            // whole vectors; rows, experts and scales less than 4 GB apart; of lists and segments int32 indices and
            // counts, and strides that the launch knows
  layouts,  // and every layout and form of scales, e5m2, int64 indices and counts, strides on the device, of any size
  models,   // everything, switched at run time: any alignment, experts of tiles, what 32 bits cannot count; plain
            // results too
};

// Of a CTA: registers that some kernels take leave room for no more.
constexpr int max_warps_of(Format input, Reach reach) {
  return is_scaled(input) && reach == Reach::models ? 8 : max_warps_per_cta;
}

// CTAs that share out live rows: by lanes of half a vector one chunk of each row, 2048 columns of a CTA at once; by
// others all of it.
constexpr bool shares_chunks(Format input, int columns_per_lane) {
  return columns_per_lane * bytes_per_element(input) < 16;
}
constexpr int sparse_warps(Format input, int columns_per_lane) {
  return shares_chunks(input, columns_per_lane) ? 8 : 4;
}

struct KernelKey {
  Format input;
  OutputKind output;
  Schedule schedule;
  std::int8_t columns_per_lane;  // adjacent columns that one lane loads at once; 1 = any alignment and any H
  std::int8_t vectors_per_lane;  // such loads in flight per lane
  Reach reach = Reach::plain;
  bool marked = false;  // for nothing but marked rows

  constexpr bool operator==(const KernelKey&) const = default;
};

// Marked rows' own: with fewer registers, which the rows of a map would lose by, 7.9 instead of 7.5 us of 256 tokens,
// where marked ones gain, 75.5 instead of 76.2 of 4096 (H100, 2026-11-28, routed/256 and routed/4096, cold). Inputs
// without scales take that few registers in either.
constexpr bool has_marked_kernel(Format input) {
  return is_scaled(input);
}

// Lists whose CTAs share out nothing: each row of warps looks at entries of its own. One vector a lane is for few rows,
// where the time is one lane's chain of loads and arithmetic.
constexpr bool has_own_entries(const KernelKey& key) {
  return key.schedule == Schedule::list && key.reach != Reach::models && key.vectors_per_lane == 1;
}

// Such lists in any scale layout, which have code of their own for dense rows: src/cuda/dense_layouts.cuh.
constexpr bool may_have_dense_rows(const KernelKey& key) {
  return has_own_entries(key) && key.reach == Reach::layouts;
}

// Segments whose CTAs have one live row in hand, which one of its warps looks for where that takes a search. For few
// rows, likewise: a search takes as many instructions as a chunk of a row.
constexpr bool has_search_for_cta(const KernelKey& key) {
  return key.schedule == Schedule::segments && key.reach != Reach::models && key.vectors_per_lane == 1;
}

// Segments whose ranges are left to kernels of spans, of which there is always one that can run them: the search is
// shorter.
constexpr bool has_span_instead(const KernelKey& key) {
  return has_search_for_cta(key) && key.reach == Reach::plain && key.output == OutputKind::scaled &&
         key.input != Format::fp32;
}

// Which kernels write a format, if any do.
constexpr std::optional<OutputKind> output_kind_of(Format format) {
  if (format == Format::fp32 || format == Format::fp16 || format == Format::bf16) return OutputKind::plain;
  if (format == Format::e4m3 || format == Format::e5m2) return OutputKind::scaled;
  return std::nullopt;
}

namespace kernel_axes {
inline constexpr Format inputs[] = {Format::e4m3, Format::bf16, Format::fp16, Format::fp32};
inline constexpr OutputKind outputs[] = {OutputKind::plain, OutputKind::scaled, OutputKind::row_scaled};
inline constexpr Schedule schedules[] = {Schedule::rows, Schedule::tiles,    Schedule::sparse, Schedule::loop,
                                         Schedule::list, Schedule::segments, Schedule::span,   Schedule::entry};
inline constexpr std::int8_t columns_per_lane[] = {1, 4, 8, 16};
inline constexpr std::int8_t vectors_per_lane[] = {1, 2, 4};
inline constexpr Reach reaches[] = {Reach::plain, Reach::layouts, Reach::models};
}  // namespace kernel_axes

constexpr bool is_input(Format format) {
  return std::ranges::find(kernel_axes::inputs, format) != std::ranges::end(kernel_axes::inputs);
}

// Does this combination have a compiled kernel?
constexpr bool supported(const KernelKey& key) {
  if (!is_input(key.input) || (key.marked && key.reach != Reach::plain)) return false;
  const bool full_width = key.columns_per_lane * bytes_per_element(key.input) == 16;
  const bool by_row = key.output == OutputKind::row_scaled;
  const bool any_rows = key.schedule == Schedule::list || key.schedule == Schedule::segments;
  const bool any_alignment = key.columns_per_lane == 1 && key.vectors_per_lane == 4;  // a whole block per warp
  const bool narrow = key.columns_per_lane == 4 && key.vectors_per_lane == 1;
  // A load of eight bytes: a lane's decoding and arithmetic is half as long, 3.29 instead of 3.36 us (H100, 2026-11-26,
  // routed/32 cold).
  const bool half = is_scaled(key.input) && key.output == OutputKind::scaled && key.columns_per_lane == 8 &&
                    key.vectors_per_lane == 1;
  const bool for_few_rows = narrow || (full_width && key.vectors_per_lane == 1 && key.output == OutputKind::scaled);
  if (key.reach == Reach::models)  // one vector for each lane: code for every activation takes its room
    return any_rows && key.output != OutputKind::plain && (any_alignment || (full_width && key.vectors_per_lane == 1));
  if (key.reach == Reach::layouts) {
    if (key.schedule == Schedule::entry)
      return key.input != Format::fp32 && full_width && for_few_rows && key.output == OutputKind::scaled;
    // Few rows with plain results of 16-bit inputs come here for 64-bit indices and far strides alone: for the budget.
    const bool plain_16_bit = key.output == OutputKind::plain && bytes_per_element(key.input) == 2;
    const bool few = !by_row && !plain_16_bit && for_few_rows;
    return any_rows && ((full_width && key.vectors_per_lane == 2) || few);
  }
  if (by_row) return false;
  if (key.marked)
    return has_marked_kernel(key.input) && key.schedule == Schedule::rows && full_width && key.vectors_per_lane == 2;
  switch (key.schedule) {
    case Schedule::rows: return narrow || half || (full_width && key.vectors_per_lane <= 2);
    // Only inputs with scales have something to gain.
    case Schedule::tiles: return is_scaled(key.input) && full_width && key.vectors_per_lane == 2;
    // Not for fp32, which few have between the GEMMs: for the budget.
    case Schedule::sparse:
      return key.input != Format::fp32 &&
             ((full_width && key.vectors_per_lane == 2) ||
              ((full_width || half) && key.vectors_per_lane == 1 && key.output == OutputKind::scaled));
    case Schedule::loop: return any_alignment;
    // fp32, which few have between the GEMMs, is left to the kernels of the next reach.
    case Schedule::list:
    case Schedule::segments:
      if (half && key.schedule == Schedule::segments) return true;
      // Two vectors a lane are faster where rows are listed, unless their decoding is long.
      if (key.schedule == Schedule::list && !is_scaled(key.input) && full_width && key.vectors_per_lane == 1)
        return false;
      return key.input != Format::fp32 && (for_few_rows || (full_width && key.vectors_per_lane == 2));
    // Few rows alone tell kernels of their own from those of the others: no jump, 2.31 instead of 2.39 us (H100,
    // 2026-11-27, rows/expert_offsets/bf16/256 in L2).
    case Schedule::span:
      return key.input != Format::fp32 && key.output == OutputKind::scaled &&
             (narrow || half || (is_scaled(key.input) && full_width && key.vectors_per_lane == 1));
    // Likewise: no loop, and few registers, 2.57 instead of 2.75 us (H100, 2026-11-27, rows/row_to_expert/bf16/256 in
    // L2).
    case Schedule::entry:
      return key.input != Format::fp32 && key.output == OutputKind::scaled && full_width &&
             key.vectors_per_lane == (is_scaled(key.input) ? 1 : 2);
  }
  return false;
}

namespace detail {
template <typename Visit>
constexpr void for_each_supported_key(Visit visit) {
  for (Format input : kernel_axes::inputs)
    for (OutputKind output : kernel_axes::outputs)
      for (Schedule schedule : kernel_axes::schedules)
        for (std::int8_t columns : kernel_axes::columns_per_lane)
          for (std::int8_t vectors : kernel_axes::vectors_per_lane)
            for (Reach reach : kernel_axes::reaches)
              for (const bool marked : {false, true}) {
                const KernelKey key{input, output, schedule, columns, vectors, reach, marked};
                if (supported(key)) visit(key);
              }
}
}  // namespace detail

inline constexpr std::size_t kernel_count = [] {
  std::size_t count = 0;
  detail::for_each_supported_key([&](const KernelKey&) { ++count; });
  return count;
}();

// Compile time and wheel size grow with every kernel (about 1.2 s and 50 KB for five targets).
inline constexpr std::size_t kernel_budget = 160;
static_assert(kernel_count <= kernel_budget);

inline constexpr std::array<KernelKey, kernel_count> kernel_keys = [] {
  std::array<KernelKey, kernel_count> keys{};
  std::size_t next = 0;
  detail::for_each_supported_key([&](const KernelKey& key) { keys[next++] = key; });
  return keys;
}();

}  // namespace moe_act

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
  plain,  // fp32, fp16 or bf16, switched at run time
  e4m3,   // block or tensor scale, switched at run time
};

enum class Schedule : std::int8_t {
  span,  // consecutive rows
  list,  // rows named by a map
};

struct KernelKey {
  Format input;
  OutputKind output;
  Schedule schedule;
  std::int8_t columns_per_lane;  // adjacent columns that one lane loads at once; 1 = any alignment and any H
  std::int8_t vectors_per_lane;  // such loads in flight per lane, 32 lanes apart

  constexpr bool operator==(const KernelKey&) const = default;
};

// Which kernels write a format, if any do.
constexpr std::optional<OutputKind> output_kind_of(Format format) {
  if (format == Format::fp32 || format == Format::fp16 || format == Format::bf16) return OutputKind::plain;
  if (format == Format::e4m3) return OutputKind::e4m3;
  return std::nullopt;
}

namespace kernel_axes {
inline constexpr Format inputs[] = {Format::e4m3, Format::bf16, Format::fp16, Format::fp32};
inline constexpr OutputKind outputs[] = {OutputKind::plain, OutputKind::e4m3};
inline constexpr Schedule schedules[] = {Schedule::span, Schedule::list};
inline constexpr std::int8_t columns_per_lane[] = {1, 4, 8, 16};
inline constexpr std::int8_t vectors_per_lane[] = {1, 2, 4};
}  // namespace kernel_axes

constexpr bool is_input(Format format) {
  return std::ranges::find(kernel_axes::inputs, format) != std::ranges::end(kernel_axes::inputs);
}

// The shape for few rows: the grid covers all there is to do, and the kernel has no loop.
constexpr bool runs_once(int columns_per_lane, int vectors_per_lane) {
  return columns_per_lane == 4 && vectors_per_lane == 1;
}

// Does this combination have a compiled kernel?
constexpr bool supported(const KernelKey& key) {
  if (!is_input(key.input)) return false;
  const int bytes_per_load = key.columns_per_lane * bytes_per_element(key.input);
  if (key.columns_per_lane == 1) return key.vectors_per_lane == 4;  // a whole block per warp, for any alignment
  if (runs_once(key.columns_per_lane, key.vectors_per_lane)) return true;
  return bytes_per_load == 16 && key.vectors_per_lane <= 2;
}

namespace detail {
template <typename Visit>
constexpr void for_each_supported_key(Visit visit) {
  for (Format input : kernel_axes::inputs)
    for (OutputKind output : kernel_axes::outputs)
      for (Schedule schedule : kernel_axes::schedules)
        for (std::int8_t columns : kernel_axes::columns_per_lane)
          for (std::int8_t vectors : kernel_axes::vectors_per_lane) {
            const KernelKey key{input, output, schedule, columns, vectors};
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

#include "core/cuda_plan.hpp"

#include <algorithm>
#include <bit>
#include <limits>

#include "core/error.hpp"
#include "core/options.hpp"

namespace moe_act {
namespace {

constexpr int warp_lanes = 32;
constexpr std::int64_t max_grid_x = (std::int64_t{1} << 31) - 1;
constexpr std::int64_t max_grid_y = 65535;  // and z

// Entries that a CTA looks at, at most; 0 where it looks at none.
constexpr std::int32_t max_entries_per_cta(Schedule schedule) {
  return schedule == Schedule::sparse ? 64 : schedule == Schedule::list ? warp_lanes : 0;
}

// The schedules of src/cuda/conventions.cuh, which loop over what their grid does not cover.
constexpr bool knows_everything(Schedule schedule) {
  return schedule == Schedule::list || schedule == Schedule::segments;
}

bool has_segments(const Problem& problem) {
  return problem->experts > 0 || problem->row_kind >= MOE_ACT_ROWS_EXPERT_OFFSETS;
}

// Does the device's count say how many rows are live? Of the tiles or positions that it says are in use, most may be
// dead.
bool counts_live_rows(const Problem& problem) {
  return has_segments(problem) || problem->row_kind == MOE_ACT_ROWS_VALID_PREFIX;
}

std::int64_t ceil_div(std::int64_t value, std::int64_t divisor) {
  return value / divisor + (value % divisor != 0 ? 1 : 0);
}

std::int8_t full_width(const Problem& problem) {
  return static_cast<std::int8_t>(16 / bytes_per_element(problem.input()));  // columns of a 16-byte load
}

KernelKey key_of(const Problem& problem, const LaunchChoice& choice) {
  const Math math = problem.is_general() ? Math::general : Math::plain;
  return {problem.input(),         problem.kernel_output(), choice.schedule,
          choice.columns_per_lane, choice.vectors_per_lane, math};
}

// Columns that one warp handles without looping.
std::int64_t chunk_columns(const LaunchChoice& choice) {
  if (choice.schedule == Schedule::tiles) return block_columns;
  return std::int64_t{warp_lanes} * choice.columns_per_lane * choice.vectors_per_lane;
}

// Rows that one warp handles at once.
std::int32_t rows_per_warp(const LaunchChoice& choice) {
  if (choice.schedule != Schedule::tiles) return 1;
  return warp_lanes * choice.columns_per_lane / block_columns * choice.vectors_per_lane;
}

// May lanes load and store `columns` adjacent columns at once? Loads and stores are at most 16 bytes wide each, so the
// promise of 16 bytes serves every width.
bool can_vectorize(const Problem& problem, int columns) {
  const int load_bytes = std::min(16, columns * bytes_per_element(problem.input()));
  const int store_bytes = std::min(16, columns * bytes_per_element(problem.output()));
  const std::int64_t second_half_bytes = problem->columns * bytes_per_element(problem.input());
  const auto serves = [&](std::int32_t format, std::int32_t alignment) {
    return format == MOE_ACT_FORMAT_NONE ||
           alignment >= std::min(16, columns * bytes_per_element(static_cast<Format>(format)));
  };
  return problem->columns % columns == 0 && second_half_bytes % load_bytes == 0 && problem->x_alignment >= load_bytes &&
         problem->out_alignment >= store_bytes && serves(problem->bias_format, problem->bias_alignment) &&
         serves(problem->unquantized_format, problem->unquantized_alignment);
}

// A byte for each row, in whole vectors.
std::int64_t mark_bytes(const Problem& problem) {
  return ceil_div(problem->rows, 16) * 16;
}

// Warps of a CTA along a row: as far as it goes.
std::int32_t warps_along_row(const Problem& problem, const LaunchChoice& choice) {
  const auto chunks = static_cast<std::uint64_t>(ceil_div(problem->columns, chunk_columns(choice)));
  return static_cast<std::int32_t>(
      std::min<std::uint64_t>(std::bit_ceil(chunks), static_cast<std::uint64_t>(choice.warps_per_cta)));
}

// Map entries, or rows.
std::int64_t units_of(const Problem& problem, const LaunchChoice& choice) {
  return choice.marks_rows ? problem->rows : problem.units();
}

// Is every unit and chunk covered by a grid that the device takes? Only the loop schedule goes on where it is not.
bool grid_covers(const Problem& problem, const LaunchChoice& choice) {
  if (choice.schedule == Schedule::loop || knows_everything(choice.schedule)) return true;
  if (choice.schedule == Schedule::tiles)
    return ceil_div(problem->rows, rows_per_warp(choice)) <= max_grid_y * max_grid_y;
  const std::int32_t along_row = warps_along_row(problem, choice);
  const bool entries = choice.schedule == Schedule::sparse;
  const std::int64_t units_per_cta = entries ? choice.entries_per_cta : choice.warps_per_cta / along_row;
  return ceil_div(units_of(problem, choice), units_per_cta) <= max_grid_x &&
         (entries || ceil_div(problem->columns, along_row * chunk_columns(choice)) <= max_grid_y);
}

bool possible(const Problem& problem, const LaunchChoice& choice) {
  if (!supported(key_of(problem, choice)) || !can_vectorize(problem, choice.columns_per_lane)) return false;
  if (choice.warps_per_cta > max_warps_of(problem.input(), choice.schedule)) return false;
  if (knows_everything(choice.schedule) == problem.is_simple()) return false;
  if (choice.schedule == Schedule::segments && !has_segments(problem)) return false;
  if (choice.schedule == Schedule::list && has_segments(problem)) return false;
  if (knows_everything(choice.schedule) && choice.marks_rows) return false;
  // One scale for a row: the CTA's warps all work on the same one.
  if (problem.scale_per_row() && choice.warps_per_cta != warps_along_row(problem, choice)) return false;
  const bool tiles = choice.schedule == Schedule::tiles;
  // Row-major scales of a row are adjacent already.
  if (tiles && problem->x_scale_layout != MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR) return false;
  if (choice.schedule == Schedule::sparse && (!problem.has_map() || choice.marks_rows)) return false;
  if (choice.marks_rows && (!problem.has_map() || mark_bytes(problem) > problem->workspace_limit)) return false;
  if (tiles && problem.has_map() && !choice.marks_rows) return false;
  return grid_covers(problem, choice);
}

struct Rows {
  std::int64_t units;  // rows or map entries to look at
  std::int64_t live;   // rows that are expected to be done
};

Rows rows_of(const Problem& problem) {
  if (!problem.has_map()) return {problem.units(), problem.units()};
  // A map names no row twice, however many entries it has.
  const std::int64_t capacity = std::min(problem.units(), problem->rows);
  return {problem.units(), problem->expected_rows >= 0 ? std::min(problem->expected_rows, capacity) : capacity};
}

}  // namespace

std::vector<LaunchChoice> launch_choices(const Problem& problem) {
  std::vector<LaunchChoice> choices;
  const auto add = [&](const LaunchChoice& choice) {
    if (possible(problem, choice)) choices.push_back(choice);
  };
  for (const KernelKey& key : kernel_keys) {
    if (key.input != problem.input() || key.output != problem.kernel_output()) continue;
    if ((key.math == Math::general) != problem.is_general()) continue;
    for (std::int32_t warps = 1; warps <= max_warps_per_cta; warps *= 2) {
      LaunchChoice choice{key.schedule, key.columns_per_lane, key.vectors_per_lane, warps, 0, false};
      if (const std::int32_t most = max_entries_per_cta(key.schedule); most > 0) {
        // A list's entries are rows, most of which may be live: at least one for each row that the CTA has in hand.
        const bool list = key.schedule == Schedule::list;
        choice.entries_per_cta = list ? warps / warps_along_row(problem, choice) : most / 8;
        for (; choice.entries_per_cta <= most; choice.entries_per_cta *= 2) add(choice);
      } else {
        add(choice);
        choice.marks_rows = true;
        add(choice);
      }
    }
  }
  return choices;
}

namespace {

// Rows that are expected to be done, where only the device knows how many there are.
std::int64_t expected_units(const Problem& problem) {
  return problem->expected_rows >= 0 ? std::min(problem->expected_rows, problem.units()) : problem.units();
}

double outputs_per_multiprocessor(const Problem& problem, const DeviceInfo& device) {
  return static_cast<double>(expected_units(problem)) * static_cast<double>(problem->columns) / device.multiprocessors;
}

// Of rows, layouts and formats that only these schedules know.
LaunchChoice choose_for_conventions(const Problem& problem, const DeviceInfo& device) {
  const std::int64_t expected = expected_units(problem);
  const double outputs_per_sm = outputs_per_multiprocessor(problem, device);
  const bool row_scaled = problem.output_kind() == OutputKind::row_scaled;
  const Schedule schedule = has_segments(problem) ? Schedule::segments : Schedule::list;
  const std::int8_t vectors = problem.is_general() ? 1 : 2;
  const LaunchChoice lanes[] = {
      {schedule, 4, 1, 4, 0, false},
      {schedule, full_width(problem), vectors, 4, 0, false},
      {schedule, 1, 4, 4, 0, false},
  };
  for (LaunchChoice choice : lanes) {
    // Narrow lanes are for few rows, as above.
    if (choice.columns_per_lane == 4 && choice.vectors_per_lane == 1 && outputs_per_sm > 3'000) continue;
    if (schedule == Schedule::list) choice.entries_per_cta = 1;
    if (row_scaled) {
      // One warp for each chunk of a row, as far as a CTA goes: what was loaded then stays in registers.
      choice.warps_per_cta = max_warps_of(problem.input(), schedule);
      choice.warps_per_cta = warps_along_row(problem, choice);
    } else if (schedule == Schedule::segments) {
      choice.warps_per_cta = 8;  // every CTA counts all experts: few large ones
    }
    // What a general row costs beside its columns is a warp's that goes along all of it: 194 instead of 202 us, 122
    // instead of 165 (H100, 2026-11-26, 32768 rows, H 2880 of bf16 and 2048 of e4m3). Only where that leaves each
    // multiprocessor 16 warps and more: 2048 rows, four to a warp, took 50 us where their share is 12 (same date,
    // models). CTAs of one warp start slowly under programmatic dependent launch.
    const bool plenty = problem.is_general() && !row_scaled && outputs_per_sm >= 20'000 &&
                        expected >= std::int64_t{64} * device.multiprocessors;
    if (plenty && schedule == Schedule::list) choice.warps_per_cta = problem.pdl() == Pdl::off ? 1 : 2;
    if (!possible(problem, choice)) continue;
    if (schedule == Schedule::list) {
      const std::int32_t rows_per_cta = choice.warps_per_cta / warps_along_row(problem, choice);
      // A warp that does several rows spares the start of CTAs: 346 instead of 410 us for 131072 rows of e4m3, 438
      // instead of 451 of bf16 (H100, 2026-11-23, H 2048, packed ue8m0 scales).
      const std::int32_t rows_per_warp = plenty                                                          ? 4
                                         : outputs_per_sm < 20'000 || row_scaled || problem.is_general() ? 1
                                         : problem.has_x_scale() && outputs_per_sm >= 1'000'000          ? 8
                                                                                                         : 2;
      choice.entries_per_cta = std::min(rows_per_warp * rows_per_cta, warp_lanes);
      // Where few entries are live, as many as make about one live row, and many CTAs for each multiprocessor: 256 of
      // 2048 rows took 6.5 us with 4 entries a CTA, 4.4 with one (H100, 2026-11-26, rows/row_to_expert/bf16/256).
      const std::int64_t entries_per_live_row = problem.units() / std::max<std::int64_t>(expected, 1);
      if (entries_per_live_row >= 2 && !counts_live_rows(problem)) {
        const std::int64_t wanted = std::min(entries_per_live_row * rows_per_cta,
                                             problem.units() / (std::int64_t{16} * device.multiprocessors));
        choice.entries_per_cta = static_cast<std::int32_t>(
            std::bit_ceil(static_cast<std::uint32_t>(std::clamp<std::int64_t>(wanted, rows_per_cta, warp_lanes))));
      }
    }
    return choice;
  }
  fail(MOE_ACT_INTERNAL_ERROR, "plan", "no kernel is compiled for any alignment");
}

}  // namespace

// Thresholds are outputs (rows x H) per multiprocessor, from the exhaustive search of bench/gpu over its workloads,
// e4m3 and bf16: H100 and H200, 2026-11-23, bench/results/search.
LaunchChoice choose_launch(const Problem& problem, const DeviceInfo& device) {
  if (!problem.is_simple()) return choose_for_conventions(problem, device);
  const Rows rows = rows_of(problem);
  const std::int8_t width = full_width(problem);
  const auto per_sm = [&](std::int64_t count) {
    return static_cast<double>(count) * static_cast<double>(problem->columns) / device.multiprocessors;
  };
  const double outputs_per_sm = per_sm(rows.live);
  const double possible_outputs_per_sm = per_sm(rows.units);
  std::vector<LaunchChoice> preferred;

  const std::int64_t entries_per_live_row = rows.units / std::max<std::int64_t>(rows.live, 1);
  // Worth it where starting a CTA for every entry would take long.
  const bool few_live = problem.has_map() && entries_per_live_row >= 4 && possible_outputs_per_sm >= 40'000;
  // Does memory deliver faster than instructions are issued? 25 GB/s for each multiprocessor of an H100, 36 of an H200.
  const bool fast_memory = device.memory_gigabytes_per_second / device.multiprocessors >= 30;
  // The rows' own order saves what lies between L1 and L2; where instructions are the limit, it costs more than it
  // saves.
  const double worth_marking = few_live ? 60'000 : fast_memory ? std::numeric_limits<double>::infinity() : 1'000'000;
  // Marked rows are gone through one by one, live or not: a buffer with room for far more is left to its map.
  if (problem.has_map() && outputs_per_sm >= worth_marking && problem->rows / 4 <= rows.live)
    preferred.push_back({Schedule::rows, width, 2, 4, 0, true});
  if (few_live) {
    // About one live row for each CTA, and a few CTAs for each multiprocessor.
    const std::int64_t wanted = std::min(entries_per_live_row, rows.units / (std::int64_t{4} * device.multiprocessors));
    const auto bounded =
        static_cast<std::uint32_t>(std::clamp<std::int64_t>(wanted, 8, max_entries_per_cta(Schedule::sparse)));
    const auto entries = static_cast<std::int32_t>(std::bit_ceil(bounded));
    const bool many_ctas = rows.units / entries > 16 * std::int64_t{device.multiprocessors};
    preferred.push_back({Schedule::sparse, width, 2, many_ctas ? 4 : 8, entries, false});
  }
  // Few outputs: the time is one chain of dependent loads plus the arithmetic of one lane, so few columns per lane and
  // many warps. Many outputs: as many independent full-width loads per lane as registers allow.
  // A CTA is started for every entry, live or not: few of them may be for nothing.
  const double started = std::max(outputs_per_sm, possible_outputs_per_sm / 4);
  // Many CTAs, most of them for nothing: fewer with wide lanes take less. Under programmatic dependent launch, where
  // they start slowly, 1.4 instead of 1.9 us from 256 entries on, without it 2.2 instead of 3.0 us from 512 (H100,
  // 2026-11-26, parallel-8/32 and parallel-8/64).
  const double most_for_nothing = problem.pdl() == Pdl::off ? 6'000 : 2'000;
  const bool slow_starts = entries_per_live_row >= 4 && possible_outputs_per_sm >= most_for_nothing;
  if (started <= 3'000 && !slow_starts)
    preferred.push_back({Schedule::rows, 4, 1, started <= 1'000 ? 4 : 16, 0, false});
  const LaunchChoice wide{Schedule::rows, width, static_cast<std::int8_t>(outputs_per_sm <= 20'000 ? 1 : 2), 4, 0,
                          false};
  // Blocks of rows leave no lane idle at the end of a row that is no multiple of a chunk.
  const std::int64_t chunks = ceil_div(problem->columns, chunk_columns(wide));
  const bool idle_lanes = 10 * chunks * chunk_columns(wide) >= 11 * problem->columns;
  if (!problem.has_map() && outputs_per_sm >= 8'000 && (idle_lanes || (!fast_memory && outputs_per_sm >= 150'000)))
    preferred.push_back({Schedule::tiles, width, 2, 2, 0, false});
  preferred.push_back(wide);
  // Large CTAs where most warps have nothing to do, small ones where instructions are the limit: their warps then wait
  // for nobody's end. Not under programmatic dependent launch, which starts CTAs more slowly: 16384 tokens took 318
  // instead of 228 us (H200, 2026-11-23).
  if (entries_per_live_row >= 4)
    preferred.back().warps_per_cta = 8;
  else if (fast_memory && problem.has_x_scale() && problem.pdl() == Pdl::off && outputs_per_sm >= 40'000)
    preferred.back().warps_per_cta = 1;
  preferred.push_back({Schedule::rows, 4, 1, 4, 0, false});
  for (const LaunchChoice& choice : preferred)
    if (possible(problem, choice)) return choice;
  return {Schedule::loop, 1, 4, 4, 0, false};
}

void require_choice(const Problem& problem, const LaunchChoice& choice) {
  const auto warps = static_cast<std::uint32_t>(choice.warps_per_cta);
  if (choice.warps_per_cta < 1 || choice.warps_per_cta > max_warps_per_cta || !std::has_single_bit(warps))
    invalid("warps_per_cta", "expected a power of two up to " + std::to_string(max_warps_per_cta) + ", got " +
                                 std::to_string(choice.warps_per_cta));
  const std::int32_t most = max_entries_per_cta(choice.schedule);
  if (choice.entries_per_cta < (most > 0 ? 1 : 0) || choice.entries_per_cta > most)
    invalid("entries_per_cta", "expected " + (most > 0 ? "1 to " + std::to_string(most) : "0 for this schedule") +
                                   ", got " + std::to_string(choice.entries_per_cta));
  if (!possible(problem, choice))
    invalid("choice", "schedule " + std::to_string(static_cast<int>(choice.schedule)) + " with " +
                          std::to_string(choice.columns_per_lane) + " columns x " +
                          std::to_string(choice.vectors_per_lane) + " vectors per lane cannot run this problem");
}

namespace {

// CTAs of a kernel that loops over what they do not cover: as many as the rows that are expected need, and where the
// device alone knows how many there are, no more than are at work at the same time, or nearly so.
std::int32_t grid_for_conventions(const Problem& problem, const CudaLaunch& launch, std::int64_t ctas_along_row,
                                  const DeviceInfo& device) {
  const bool segments = launch.key.schedule == Schedule::segments;
  const std::int32_t warps = launch.warps_per_row * launch.row_warps;
  const bool device_knows = segments || row_count_name(problem->row_kind) != nullptr;
  const std::int64_t units = problem.units();
  const std::int64_t expected =
      problem->expected_rows >= 0 && counts_live_rows(problem) ? std::min(problem->expected_rows, units) : units;
  const std::int64_t needed = ceil_div(std::max<std::int64_t>(expected, 1), launch.units_per_cta);
  // 32 warps fit a multiprocessor at 64 registers a thread.
  const std::int64_t resident =
      ceil_div(std::int64_t{device.multiprocessors} * std::max(32 / warps, 1), ctas_along_row);
  const std::int64_t most = !device_knows ? max_grid_x : segments ? resident : 8 * resident;
  return static_cast<std::int32_t>(std::min(needed, most));
}

}  // namespace

CudaLaunch cover(const Problem& problem, const LaunchChoice& choice, const DeviceInfo& device) {
  CudaLaunch launch{};
  launch.key = key_of(problem, choice);
  launch.kernel_index =
      static_cast<std::size_t>(std::ranges::find(kernel_keys, launch.key) - std::ranges::begin(kernel_keys));
  if (launch.kernel_index == kernel_count)
    fail(MOE_ACT_INTERNAL_ERROR, "plan", "no kernel is compiled for the chosen lanes");

  launch.warps_per_row = warps_along_row(problem, choice);
  launch.row_warps = choice.schedule == Schedule::tiles ? 1 : choice.warps_per_cta / launch.warps_per_row;
  launch.rows_per_cta = launch.row_warps * rows_per_warp(choice);
  launch.units_per_cta = choice.entries_per_cta > 0 ? choice.entries_per_cta : launch.rows_per_cta;
  const std::int64_t chunks = ceil_div(problem->columns, launch.warps_per_row * chunk_columns(choice));
  if (knows_everything(choice.schedule)) {
    launch.grid_x = grid_for_conventions(problem, launch, chunks, device);
    // Where there is work enough, warps go along the row: what a row costs beside its columns is paid less often.
    const bool along_row = problem.scale_per_row() || outputs_per_multiprocessor(problem, device) >= 20'000;
    launch.grid_y = along_row ? 1 : static_cast<std::int32_t>(std::min(chunks, max_grid_y));
    launch.grid_z = 1;
  } else if (choice.schedule == Schedule::tiles) {
    // Columns fastest: CTAs that run together read adjacent memory.
    const std::int64_t tiles = ceil_div(problem->rows, launch.units_per_cta);
    launch.grid_x = static_cast<std::int32_t>(chunks);
    launch.grid_y = static_cast<std::int32_t>(std::min(tiles, max_grid_y));
    launch.grid_z = static_cast<std::int32_t>(ceil_div(tiles, std::max<std::int64_t>(launch.grid_y, 1)));
  } else {
    launch.grid_x =
        static_cast<std::int32_t>(std::min(ceil_div(units_of(problem, choice), launch.units_per_cta), max_grid_x));
    launch.grid_y = choice.schedule == Schedule::sparse ? 1 : static_cast<std::int32_t>(std::min(chunks, max_grid_y));
    launch.grid_z = 1;
  }
  launch.marks_rows = choice.marks_rows;
  if (choice.marks_rows) launch.workspace_bytes = mark_bytes(problem);
  return launch;
}

}  // namespace moe_act

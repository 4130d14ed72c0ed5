// What a choice means for a problem, for the planner and for whoever covers its choice with a grid.
#pragma once

#include <algorithm>
#include <bit>

#include "core/cuda_plan.hpp"

namespace moe_act {

inline constexpr int warp_lanes = 32;

// Entries that a CTA looks at, or live rows that it takes, at most; 0 where it has one for each of its rows.
constexpr std::int32_t max_entries_per_cta(Schedule schedule) {
  if (schedule == Schedule::list) return warp_lanes;
  if (schedule == Schedule::span || schedule == Schedule::entry) return 1;
  if (schedule == Schedule::sparse) return max_sparse_entries;
  return schedule == Schedule::segments ? 64 : 0;
}

// The schedules of src/cuda/conventions.cuh. All but entry loop over what their grid does not cover.
constexpr bool knows_any_rows(Schedule schedule) {
  return schedule >= Schedule::list;
}

inline bool has_segments(const Problem& problem) {
  return problem->experts > 0 || problem->row_kind >= MOE_ACT_ROWS_EXPERT_OFFSETS;
}

// Are the live rows one range? Where nobody asks whose they are.
inline bool has_span(const Problem& problem) {
  return problem->row_kind == MOE_ACT_ROWS_VALID_PREFIX || problem->row_kind == MOE_ACT_ROWS_EXPERT_OFFSETS;
}

// Does the device's count say how many rows are live? Of the tiles or positions that it says are in use, most may be
// dead.
inline bool counts_live_rows(const Problem& problem) {
  return has_segments(problem) || problem->row_kind == MOE_ACT_ROWS_VALID_PREFIX;
}

inline std::int64_t ceil_div(std::int64_t value, std::int64_t divisor) {
  return value / divisor + (value % divisor != 0 ? 1 : 0);
}

// Columns of a 16-byte load.
inline std::int8_t full_width(const Problem& problem) {
  return static_cast<std::int8_t>(16 / bytes_per_element(problem.input()));
}

// Columns that one warp handles without looping.
inline std::int64_t chunk_columns(const LaunchChoice& choice) {
  if (choice.schedule == Schedule::tiles) return block_columns;
  return std::int64_t{warp_lanes} * choice.columns_per_lane * choice.vectors_per_lane;
}

// Warps of a CTA along a row: as far as it goes.
inline std::int32_t warps_along_row(const Problem& problem, const LaunchChoice& choice) {
  const auto chunks = static_cast<std::uint64_t>(ceil_div(problem->columns, chunk_columns(choice)));
  return static_cast<std::int32_t>(
      std::min<std::uint64_t>(std::bit_ceil(chunks), static_cast<std::uint64_t>(choice.warps_per_cta)));
}

// Rows that are expected to be done, where only the device knows how many there are.
inline std::int64_t expected_units(const Problem& problem) {
  if (problem->row_kind == MOE_ACT_ROWS_DENSE) return problem.units();  // all live, whatever the hint says
  // A map names no row twice, however many entries it has.
  const std::int64_t most = problem.has_map() ? std::min(problem.units(), problem->rows) : problem.units();
  return problem->expected_rows >= 0 ? std::min(problem->expected_rows, most) : most;
}

// Entries of a map or a list to look at until one is expected to be live.
inline std::int64_t entries_per_live_row(const Problem& problem) {
  return std::max<std::int64_t>(problem.units() / std::max<std::int64_t>(expected_units(problem), 1), 1);
}

inline double outputs_per_multiprocessor(const Problem& problem, const DeviceInfo& device, std::int64_t rows) {
  return static_cast<double>(rows) * static_cast<double>(problem->columns) / device.multiprocessors;
}
inline double outputs_per_multiprocessor(const Problem& problem, const DeviceInfo& device) {
  return outputs_per_multiprocessor(problem, device, expected_units(problem));
}

// Does straight code for dense rows in any layout know the form of their scales? It does e4m3 with scales for blocks,
// or plain results, in whole chunks, and knows where the blocks of each half of x begin, by fours where four lie
// together; nothing is left to fill behind a row's scales.
bool knows_form_of_dense_rows(const Problem& problem, const LaunchChoice& choice);

// Is a kernel compiled for the choice, and can it run the problem?
bool possible(const Problem& problem, const LaunchChoice& choice);

}  // namespace moe_act

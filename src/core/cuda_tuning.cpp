// Which of all that can be is fastest, as measurements say.
#include <algorithm>
#include <bit>
#include <vector>

#include "core/cuda_geometry.hpp"
#include "core/error.hpp"
#include "core/options.hpp"
#include "core/rows.hpp"

namespace moe_act {
namespace {

struct Rows {
  std::int64_t units;  // rows or map entries to look at
  std::int64_t live;   // rows that are expected to be done
};

Rows rows_of(const Problem& problem) {
  return {problem.units(), expected_units(problem)};
}

// Where few of a list's entries are live, as many as make about one live row, and many CTAs for each multiprocessor:
// 256 of 2048 rows took 6.5 us with 4 entries a CTA, 4.4 with one (H100, 2026-11-26, rows/row_to_expert/bf16/256).
std::int32_t entries_of_list(const Problem& problem, const DeviceInfo& device, std::int64_t entries_per_live_row,
                             std::int32_t rows_per_cta, std::int32_t if_most_are_live) {
  if (entries_per_live_row < 2) return std::min(if_most_are_live, warp_lanes);
  const std::int64_t wanted =
      std::min(entries_per_live_row * rows_per_cta, problem.units() / (std::int64_t{16} * device.multiprocessors));
  return static_cast<std::int32_t>(
      std::bit_ceil(static_cast<std::uint32_t>(std::clamp<std::int64_t>(wanted, rows_per_cta, warp_lanes))));
}

// Outputs per multiprocessor: 3.47 instead of 3.61 us for 64 tokens, at twice as many whole vectors are faster, 3.38
// instead of 3.6 in L2 (H100, 2026-11-27, routed/64 cold and routed/128).
constexpr double most_for_half_lanes = 8'000;
constexpr double most_for_half_lanes_of_few_rows = 5'000;  // of segments and spans
constexpr double most_for_narrow_lanes = 3'000;

// Rows, layouts and models that the schedules of src/cuda/conventions.cuh alone know, as their tuning sees them.
struct AnyRows {
  const Problem& problem;
  const DeviceInfo& device;
  bool segments = has_segments(problem);
  Reach reach = problem.any_rows_reach();
  bool general = reach == Reach::models;
  bool row_scaled = problem.scale_per_row();
  bool has_index = row_index_name(problem->row_kind) != nullptr;
  bool span = has_span(problem);
  double outputs_per_sm = outputs_per_multiprocessor(problem, device);
  // CTAs are started for every entry of a list, live or not.
  std::int64_t entries_per_live_row = counts_live_rows(problem) ? 1 : moe_act::entries_per_live_row(problem);

  // Narrow lanes are for few rows, as below: 256 live of 2048 rows took 6.9 us instead of 3.75 (H100, 2026-11-26,
  // rows/row_to_expert/bf16/256); for a few more where every CTA has a live row.
  bool takes_narrow_lanes() const {
    const double started = outputs_per_sm * static_cast<double>(std::max<std::int64_t>(entries_per_live_row / 4, 1));
    const bool more = reach == Reach::plain && counts_live_rows(problem) && (!problem.has_x_scale() || !has_index);
    return started <= (more ? 5'000 : most_for_narrow_lanes);
  }

  // And of half a vector, between the two: 3.39 instead of 3.43 us (H100, 2026-11-26, rows/expert_offsets/e4m3/256).
  bool takes_half_lanes() const {
    return (segments || span) && reach == Reach::plain && problem.has_x_scale() &&
           outputs_per_sm <= most_for_half_lanes_of_few_rows;
  }

  // Fewer CTAs start sooner where all of them have a row: 3.27 instead of 3.29 us with 16 warps, of segments 4.38
  // instead of 4.40 with 8 (H100, 2026-11-26, rows/valid_prefix/e4m3/256 and rows/masked/bf16/256).
  std::int32_t narrow_warps() const {
    if (reach != Reach::plain) return 4;
    return !has_index ? 16 : segments ? 8 : 4;
  }

  bool has_few_rows() const { return outputs_per_sm <= 20'000; }

  // One vector a lane where what a lane does is long: codes and scales of the input are decoded, 3.86 instead of 4.04
  // us cold, or scales are looked up, 3.62 instead of 3.87 (H100, 2026-11-26, rows/row_to_expert/e4m3/256,
  // out_scale/packed_ue8m0-128/256); or a CTA searches, 6.9 instead of 7.2, though in L2 4.6 instead of 4.5
  // (2026-11-27, rows/masked/bf16/1024). Each entry has a CTA then: not where there are many for each live row.
  bool takes_one_vector() const {
    const bool takes_long = problem.has_x_scale() || problem->row_kind == MOE_ACT_ROWS_MASKED;
    return problem.output_kind() == OutputKind::scaled && problem.input() != Format::fp32 && has_few_rows() &&
           (reach == Reach::layouts || (reach == Reach::plain && takes_long)) && few_are_for_nothing();
  }
  bool few_are_for_nothing() const {
    return entries_per_live_row < 2 ||
           (reach == Reach::plain && problem.units() < std::int64_t{32} * device.multiprocessors);
  }

  // A CTA that looks at one entry, and ends: 2.52 instead of 2.79 us, of bf16 2.57 instead of 2.75 (H100, 2026-11-27,
  // rows/row_to_expert/e4m3/256 and rows/row_to_expert/bf16/256 in L2).
  bool takes_entries() const { return has_few_rows() && few_are_for_nothing(); }

  // What a general row costs beside its columns is a warp's that goes along all of it: 194 instead of 202 us, 122
  // instead of 165 (H100, 2026-11-26, 32768 rows, H 2880 of bf16 and 2048 of e4m3). Only where that leaves each
  // multiprocessor 16 warps and more: 2048 rows, four to a warp, took 50 us where their share is 12 (models).
  bool has_plenty_of_general_rows() const {
    return general && !row_scaled && outputs_per_sm >= 20'000 &&
           expected_units(problem) >= std::int64_t{64} * device.multiprocessors;
  }

  // Scales of adjacent rows are adjacent, those of a row are many and columns apart.
  bool has_scattered_scales() const {
    return problem.has_x_scale() && problem->x_block < block_columns &&
           (problem->x_scale_layout == MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR ||
            problem->x_scale_layout == MOE_ACT_SCALE_LAYOUT_TMA_COLUMN_MAJOR);
  }

  // Scaled rows in other layouts than plain ones: a CTA ends with a row, 277 instead of 292 us; but neighbours share
  // the sectors of scattered scales, 302 instead of 339 (H100, 2026-11-26, x_scale/packed_ue8m0-128/131072 and
  // x_scale/column_major-32/131072).
  bool ends_with_a_row() const {
    return reach == Reach::layouts && !segments && !row_scaled && !has_index && problem.has_x_scale() &&
           !has_scattered_scales() && outputs_per_sm >= 1'000'000;
  }

  // Where instructions are what takes the time, a CTA of several rows of warps: 275 instead of 285 us of offsets, 280
  // instead of 283 of ends, 285 instead of 288 of masked rows (H100, 2026-11-26, rows/*/e4m3/131072).
  bool searches_for_several_rows(const LaunchChoice& choice) const {
    return reach == Reach::plain && problem.has_x_scale() && choice.vectors_per_lane > 1 && !has_few_rows() &&
           warps_along_row(problem, choice) < 8;
  }

  std::int32_t warps_per_cta(const LaunchChoice& choice) const {
    // One warp for each chunk of a row, as far as a CTA goes: what was loaded then stays in registers.
    if (row_scaled) {
      LaunchChoice largest = choice;
      largest.warps_per_cta = max_warps_of(problem.input(), choice.columns_per_lane == 1 ? Reach::models : reach);
      return warps_along_row(problem, largest);
    }
    if (choice.schedule == Schedule::span) return warps_along_row(problem, choice);
    if (segments) return searches_for_several_rows(choice) ? 8 : warps_along_row(problem, choice);
    // CTAs of one warp start slowly under programmatic dependent launch.
    if (has_plenty_of_general_rows() || ends_with_a_row()) return problem.pdl() == Pdl::off ? 1 : 2;
    return choice.warps_per_cta;
  }

  // A warp that does two rows spares the start of CTAs, a second search, or looks at two entries at once: 283 instead
  // of 287 us (H100, 2026-11-26, rows/tile_limits/e4m3/131072). Where there is little to look for, one: masked 280
  // instead of 285, of bf16 438 instead of 442, ends of bf16 436 instead of 440 (2026-11-27, rows/*/131072).
  std::int32_t rows_per_warp() const {
    if (has_plenty_of_general_rows()) return 4;
    if (has_few_rows() || row_scaled || general) return 1;
    const bool scaled_ends = problem.has_x_scale() && problem->row_kind == MOE_ACT_ROWS_EXPERT_ENDS;
    return (has_index && (!segments || reach != Reach::plain || scaled_ends)) || has_scattered_scales() ? 2 : 1;
  }
};

LaunchChoice choose_for_any_rows(const Problem& problem, const DeviceInfo& device) {
  const AnyRows rows{problem, device};
  // Rows in the order of ids: each scale lies alone in its sector.
  const LaunchChoice marked{Schedule::rows, full_width(problem), 2, 4, 0, true};
  if (rows.outputs_per_sm >= 500'000 && problem->rows / 4 <= expected_units(problem) && possible(problem, marked))
    return marked;
  const Schedule schedule = rows.segments ? Schedule::segments : Schedule::list;
  const bool one_vector = rows.general || rows.takes_one_vector();
  const auto vectors = static_cast<std::int8_t>(one_vector ? 1 : 2);
  std::vector<LaunchChoice> preferred;
  const bool narrow = rows.takes_narrow_lanes(), half = rows.takes_half_lanes();
  const auto prefer = [&](std::int8_t columns, std::int32_t warps) {
    const LaunchChoice span{Schedule::span, columns, 1, warps, 1, false};
    // A CTA takes one row: of short ones a list's take several.
    if (rows.span && (rows.segments || warps_along_row(problem, span) >= 4)) preferred.push_back(span);
    preferred.push_back({schedule, columns, 1, warps, 0, false});
  };
  if (narrow && (!half || rows.outputs_per_sm <= most_for_narrow_lanes)) prefer(4, rows.narrow_warps());
  if (half) prefer(8, 8);
  if (narrow || half) prefer(4, rows.narrow_warps());  // where alignment allows no more
  if (rows.segments && one_vector) preferred.push_back({Schedule::span, full_width(problem), 1, 4, 1, false});
  if (rows.takes_entries()) preferred.push_back({Schedule::entry, full_width(problem), vectors, 4, 1, false});
  preferred.push_back({schedule, full_width(problem), vectors, 4, 0, false});
  if (!rows.general) preferred.push_back({schedule, full_width(problem), 2, 4, 0, false});
  preferred.push_back({schedule, 1, 4, 4, 0, false});  // any alignment
  for (LaunchChoice choice : preferred) {
    const bool shares = choice.schedule == Schedule::list && (choice.vectors_per_lane > 1 || rows.general);
    choice.warps_per_cta = rows.warps_per_cta(choice);
    const std::int32_t rows_per_cta = choice.warps_per_cta / warps_along_row(problem, choice);
    const std::int32_t most = rows.rows_per_warp() * rows_per_cta;
    if (choice.entries_per_cta == 0)
      choice.entries_per_cta = shares ? entries_of_list(problem, device, rows.entries_per_live_row, rows_per_cta, most)
                               : rows.segments ? most
                                               : rows_per_cta;
    if (possible(problem, choice)) return choice;
  }
  fail(MOE_ACT_INTERNAL_ERROR, "plan", "no kernel is compiled for any alignment");
}

// Few outputs: the time is one chain of dependent loads plus the arithmetic of one lane, so few columns per lane and
// many warps. Many outputs: as many independent full-width loads per lane as registers allow (H100, 2026-11-26).
void prefer_for_few_rows(const Problem& problem, double started, std::vector<LaunchChoice>& preferred) {
  const bool chained = problem.pdl() != Pdl::off;
  LaunchChoice narrow{Schedule::rows, 4, 1, max_warps_per_cta, 0, false};
  LaunchChoice half{Schedule::rows, 8, 1, 8, 0, false};
  const bool short_rows = warps_along_row(problem, narrow) < max_warps_per_cta;
  const bool takes_half = problem.has_x_scale() && started <= most_for_half_lanes;
  // Short rows: 2.2 instead of 2.3 us hot; under programmatic dependent launch 1.5 instead of 1.8, as CTAs of narrow
  // lanes have several of them or are many, with sixteen warps a CTA 1.39 and 1.38 in two searches, where four
  // took 1.46 and 1.63 and eight 1.56 and 1.34 (columns/192, 2026-11-28).
  if (chained && short_rows) half.warps_per_cta = max_warps_per_cta;
  if (takes_half && short_rows && started > 1'000) preferred.push_back(half);
  // 0.99 and 1.05 us in two searches, where CTAs of eight warps and narrow lanes take 1.15 (routed/8, metadata read
  // early, 2026-11-28).
  if (takes_half && chained && !short_rows && started > 700 && started <= 1'500)
    preferred.push_back({Schedule::rows, 8, 1, 4, 0, false});
  if (started <= 3'000) {
    // Warps of a CTA: for a token two, 1.09 instead of 1.18 us hot (routed/1, metadata read early). For 16
    // sixteen: 1.16 instead of 1.44 in the search, though in whole runs either took 1.38 to 1.39 (routed/16,
    // 2026-11-27). Without dependent launch four, for 16 tokens eight, 2.57 instead of 2.61 cold (routed/16), and for
    // rows without a map eight, 2.13 instead of 2.20 cold (bf16/32, 2026-11-27).
    if (chained && started <= 200)
      narrow.warps_per_cta = 2;
    else if (chained ? short_rows : (problem.has_map() || short_rows) && started <= 1'000)
      narrow.warps_per_cta = 4;
    else if (!short_rows && !(chained && started > 1'500))
      narrow.warps_per_cta = 8;
    preferred.push_back(narrow);
  }
  if (takes_half) preferred.push_back(half);
}

}  // namespace

// Thresholds are outputs (rows x H) per multiprocessor, from the exhaustive search of bench/gpu over its workloads,
// e4m3 and bf16, on an H100 and an H200, 2026-11-23; since then held against bench/results/search by a test. Rules of a
// later date were measured on an H100 alone, and are taken to hold for other GPUs.
LaunchChoice choose_launch(const Problem& problem, const DeviceInfo& device) {
  if (!problem.is_simple()) return choose_for_any_rows(problem, device);
  const Rows rows = rows_of(problem);
  const std::int8_t width = full_width(problem);
  const auto per_sm = [&](std::int64_t count) {
    return static_cast<double>(count) * static_cast<double>(problem->columns) / device.multiprocessors;
  };
  const double outputs_per_sm = per_sm(rows.live);
  const double possible_outputs_per_sm = per_sm(rows.units);
  std::vector<LaunchChoice> preferred;

  const std::int64_t entries_per_live_row = moe_act::entries_per_live_row(problem);
  // Worth it where starting a CTA for every entry would take long.
  const bool few_live = problem.has_map() && entries_per_live_row >= 4 && possible_outputs_per_sm >= 40'000;
  // Does memory deliver faster than instructions are issued? 25 GB/s for each multiprocessor of an H100, 36 of an H200.
  const bool fast_memory = device.memory_gigabytes_per_second / device.multiprocessors >= 30;
  // Does a row end in a part of a chunk? There, loads come behind arithmetic; blocks of rows have no such parts.
  const LaunchChoice full{Schedule::rows, width, 2, 4, 0, false};
  const bool has_part = problem.has_x_scale() && problem->columns % chunk_columns(full) != 0;
  // The rows' own order saves what lies between L1 and L2, 76.1 instead of 77.8 us, by blocks of rows 418 instead of
  // 438 (H100, 2026-11-27, routed/4096 and mapped-2880/16384); where instructions are the limit, it costs more
  // than it saves, and where rows have such parts, 118 instead of 113 (mapped-2880/4096).
  const double worth_marking = few_live ? 150'000 : problem.has_x_scale() && !has_part ? 400'000 : 1'000'000;
  // Marked rows are gone through one by one, live or not: a buffer with room for far more is left to its map.
  if (problem.has_map() && (few_live || !fast_memory) && outputs_per_sm >= worth_marking &&
      problem->rows / 4 <= rows.live)
    preferred.push_back(has_part && !few_live ? LaunchChoice{Schedule::tiles, width, 2, 1, 0, true}
                                              : LaunchChoice{Schedule::rows, width, 2, 4, 0, true});
  if (few_live) {
    // One vector a lane for few rows, 5.1 instead of 5.3 us and 5.4 instead of 5.6, for more two, 9.3 instead of 11.2
    // (H100, 2026-11-28, parallel-8/1024 and parallel-32/4096 from memory, parallel-8/4096 in L2). No kernel has one
    // for plain results.
    if (outputs_per_sm <= 20'000)
      preferred.push_back({Schedule::sparse, width, 1, sparse_warps, max_sparse_entries, false});
    preferred.push_back({Schedule::sparse, width, 2, sparse_warps, max_sparse_entries, false});
  }
  // A CTA is started for every entry, live or not: few of them may be for nothing.
  const double started = std::max(outputs_per_sm, possible_outputs_per_sm / 4);
  // Many CTAs, most of them for nothing: fewer with wide lanes take less. Under programmatic dependent launch, where
  // they start slowly, 1.4 instead of 1.9 us from 256 entries on, without it 2.2 instead of 3.0 us from 512 (H100,
  // 2026-11-26, parallel-8/32 and parallel-8/64).
  const bool chained = problem.pdl() != Pdl::off;
  const double most_for_nothing = chained ? 2'000 : 6'000;
  const bool slow_starts = entries_per_live_row >= 4 && possible_outputs_per_sm >= most_for_nothing;
  if (!slow_starts) prefer_for_few_rows(problem, started, preferred);
  // Where they are not that many, half lanes: 2.48 instead of 2.61 us cold, under programmatic dependent launch 1.73
  // instead of 1.85, but there, if hardly any row is live, for fewer entries only (H100, parallel-8/64, 2026-11-27;
  // parallel-32/64, 1.30 instead of 1.18 in L2, and parallel-32/32, 1.19 instead of 1.35, 2026-11-28). CTAs of eight
  // warps there, 1.13 instead of 1.19, or of sixteen, 1.15 instead of 1.22 (parallel-8/32, parallel-32/32, 2026-11-28).
  if (slow_starts && problem.has_x_scale() &&
      possible_outputs_per_sm <= (chained && entries_per_live_row >= 16 ? 5'000 : 10'000))
    preferred.push_back({Schedule::rows, 8, 1,
                         !chained                    ? 4
                         : entries_per_live_row < 16 ? 8
                                                     : max_warps_per_cta,
                         0, false});
  const LaunchChoice wide{Schedule::rows, width, static_cast<std::int8_t>(outputs_per_sm <= 20'000 ? 1 : 2), 4, 0,
                          false};
  // Blocks of rows leave no lane idle at the end of a row that is no multiple of a chunk.
  const auto leaves_lanes_idle = [&](const LaunchChoice& choice) {
    const std::int64_t covered = ceil_div(problem->columns, chunk_columns(choice)) * chunk_columns(choice);
    return 10 * covered >= 11 * problem->columns;
  };
  const bool idle_lanes = leaves_lanes_idle(wide);
  // Where four warps along a row leave one idle, CTAs of one: 10.0 instead of 10.6 us (H100, 2026-11-27,
  // mapped-2880/256, cold).
  const bool leaves_warps_idle =
      has_part && warps_along_row(problem, wide) * chunk_columns(wide) >= problem->columns + chunk_columns(wide);
  // Half lanes may leave none, either: 4.1 instead of 4.5 us (H100, 2026-11-27, columns/768 cold).
  const LaunchChoice half{Schedule::rows, 8, 1, 4, 0, false};
  if (!problem.has_map() && idle_lanes && !leaves_lanes_idle(half) && !fast_memory && !chained &&
      problem.has_x_scale() && outputs_per_sm <= 15'000)
    preferred.push_back(half);
  if (!problem.has_map() && outputs_per_sm >= 8'000 &&
      (idle_lanes || (!fast_memory && outputs_per_sm >= (has_part ? 20'000 : 150'000))))
    preferred.push_back({Schedule::tiles, width, 2, 2, 0, false});
  preferred.push_back(wide);
  // Large CTAs where most warps have nothing to do, and larger ones where CTAs start slowly, 1.43 instead of 1.59 us
  // hot (H100, 2026-11-26, parallel-32/128 with metadata read early); small ones where instructions are the limit:
  // their warps then wait for nobody's end. Not under programmatic dependent launch, which starts CTAs more slowly:
  // 16384 tokens took 318 instead of 228 us (H200, 2026-11-23).
  if (entries_per_live_row >= 4)
    preferred.back().warps_per_cta = chained ? 16 : 8;
  else if (problem.has_x_scale() && !chained && outputs_per_sm >= 40'000 && (fast_memory || leaves_warps_idle))
    preferred.back().warps_per_cta = 1;
  preferred.push_back({Schedule::rows, 4, 1, 4, 0, false});
  for (const LaunchChoice& choice : preferred)
    if (possible(problem, choice)) return choice;
  return {Schedule::loop, 1, 4, 4, 0, false};
}
}  // namespace moe_act

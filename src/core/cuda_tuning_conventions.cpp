// Which launch is fastest for the rows, layouts and models that the schedules of src/cuda/conventions.cuh alone know.
#include "core/cuda_tuning.hpp"

#include <algorithm>
#include <bit>
#include <vector>

#include "core/cuda_geometry.hpp"
#include "core/error.hpp"
#include "core/rows.hpp"

namespace moe_act {
namespace {

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

constexpr double most_for_half_lanes = 5'000;  // outputs per multiprocessor
constexpr double most_for_narrow_lanes = 3'000;

// A problem as its tuning sees it.
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

  // Few dense rows in any scale layout, by straight code for the form of their scales.
  bool is_straight(std::int8_t columns) const {
    return reach == Reach::layouts && knows_form_of_dense_rows(problem, {Schedule::list, columns, 1, 4, 0, false});
  }

  // Narrow lanes are for few rows, as below: 256 live of 2048 rows took 6.9 us instead of 3.75 (H100, 2026-11-26,
  // rows/row_to_expert/bf16/256); for a few more where every CTA has a live row, or where codes and scales of dense
  // rows are decoded, 2.20 instead of 2.31 us, from memory 2.85 instead of 3.01 (2026-11-28,
  // x_scale/column_major-32/256).
  bool takes_narrow_lanes() const {
    const double started = outputs_per_sm * static_cast<double>(std::max<std::int64_t>(entries_per_live_row / 4, 1));
    const bool more = (reach == Reach::plain && counts_live_rows(problem) && (!problem.has_x_scale() || !has_index)) ||
                      (is_straight(4) && problem.has_x_scale());
    return started <= (more ? 5'000 : most_for_narrow_lanes);
  }

  // And of half a vector, between the two: 3.39 instead of 3.43 us (H100, 2026-11-26, rows/expert_offsets/e4m3/256).
  bool takes_half_lanes() const {
    return (segments || span) && reach == Reach::plain && problem.has_x_scale() &&
           outputs_per_sm <= most_for_half_lanes;
  }

  // Fewer CTAs start sooner where all of them have a row: 3.27 instead of 3.29 us with 16 warps, of segments 4.38
  // instead of 4.40 with 8 (H100, 2026-11-26, rows/valid_prefix/e4m3/256 and rows/masked/bf16/256).
  // Where codes and scales of dense rows in any layout are decoded, 2.20 instead of 2.27 us (2026-11-28,
  // x_scale/column_major-32/256), but for very few, of which eight were fastest without scales (bf16/32).
  std::int32_t narrow_warps() const {
    if (is_straight(4)) return problem.has_x_scale() && outputs_per_sm > 1'000 ? 16 : 8;
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
    if (entries_per_live_row < 2) return true;
    const bool looks_fast = reach == Reach::plain || possible(problem, entry(1));
    return looks_fast && problem.units() < std::int64_t{32} * device.multiprocessors;
  }
  // In any scale layout by warps for all of a row: 3.79 us from memory where lists take 4.29, in L2 3.22, as they do,
  // by four warps 3.58 (H100, 2026-11-28, rows/row_to_expert_packed_ue8m0/bf16/256).
  LaunchChoice entry(std::int8_t vectors) const {
    LaunchChoice choice{Schedule::entry, full_width(problem), vectors, 4, 1, false};
    if (reach == Reach::plain) return choice;
    choice.warps_per_cta = 8;
    choice.warps_per_cta = warps_along_row(problem, choice);
    return choice;
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

  static bool is_down_columns(std::int32_t layout) {
    return layout == MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR || layout == MOE_ACT_SCALE_LAYOUT_TMA_COLUMN_MAJOR;
  }

  // Scales of adjacent rows are adjacent, those of a row are many and columns apart.
  bool has_scattered_scales() const {
    return problem.has_x_scale() && problem->x_block < block_columns && is_down_columns(problem->x_scale_layout);
  }

  // Scaled rows in other layouts than plain ones: a CTA ends with a row, 277 instead of 292 us; but neighbours share
  // the sectors of scattered scales, 302 instead of 339 (H100, 2026-11-26, x_scale/packed_ue8m0-128/131072 and
  // x_scale/column_major-32/131072).
  bool ends_with_a_row() const {
    return reach == Reach::layouts && !segments && !row_scaled && !has_index && problem.has_x_scale() &&
           !has_scattered_scales() && outputs_per_sm >= 1'000'000;
  }

  // Larger CTAs for scattered scales of results, whose sectors more rows share, 456.3 instead of 459.1 us with 8 warps
  // and 462.9 with 4; and for tile limits, where all of a small one may be dead, 279.9 instead of 280.9 with 4 (H100,
  // 2026-11-28, out_scale/column_major-32/131072, rows/tile_limits/e4m3/131072).
  // Few dense rows in any layout: 3.12 instead of 3.14 us from memory (H100, 2026-11-28,
  // out_scale/packed_ue8m0-128/256).
  std::int32_t warps_of_many_rows(const LaunchChoice& choice) const {
    if (choice.vectors_per_lane == 1 && choice.columns_per_lane == 8 && is_straight(8)) return 8;
    if (segments || row_scaled || general || outputs_per_sm < 1'000'000 || choice.vectors_per_lane != 2)
      return choice.warps_per_cta;
    LaunchChoice largest = choice;
    largest.warps_per_cta = max_warps_per_cta;
    const bool has_rows = warps_along_row(problem, largest) < max_warps_per_cta;  // several in a CTA
    if (has_rows && !problem.has_x_scale() && problem.has_out_scale() && problem->out_block < block_columns &&
        is_down_columns(problem->out_scale_layout))
      return max_warps_per_cta;
    const bool has_limits = reach == Reach::plain && problem->row_kind == MOE_ACT_ROWS_TILE_LIMITS;
    return has_limits && problem.has_x_scale() ? 8 : choice.warps_per_cta;
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
    return warps_of_many_rows(choice);
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

}  // namespace

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
  if (rows.takes_entries()) preferred.push_back(rows.entry(vectors));
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

}  // namespace moe_act

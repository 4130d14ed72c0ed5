// Which of all that can be is fastest, as measurements say.
#include "core/cuda_tuning.hpp"

#include <algorithm>
#include <vector>

#include "core/cuda_geometry.hpp"

namespace moe_act {
namespace {

// Rows in their own order or in that of a map, as their tuning sees them: what is preferred comes first, and the first
// that is possible is taken.
//
// Thresholds are outputs (rows x H) per multiprocessor, from the exhaustive search of bench/gpu over its workloads,
// e4m3 and bf16, on an H100 and an H200, 2026-11-23; since then held against bench/results/search by a test. Rules of a
// later date were measured on an H100 alone, and are taken to hold for other GPUs.
struct OrderedRows {
  const Problem& problem;
  const DeviceInfo& device;
  std::vector<LaunchChoice> preferred{};

  std::int8_t width = full_width(problem);
  bool chained = problem.pdl() != Pdl::off;
  double outputs_per_sm = outputs_per_multiprocessor(problem, device);
  double possible_outputs_per_sm = outputs_per_multiprocessor(problem, device, problem.units());
  // A CTA is started for every entry, live or not: few of them may be for nothing.
  double started = std::max(outputs_per_sm, possible_outputs_per_sm / 4);
  std::int64_t entries_per_live_row = moe_act::entries_per_live_row(problem);
  // Does memory deliver faster than instructions are issued? 25 GB/s for each multiprocessor of an H100, 36 of an H200.
  bool fast_memory = device.memory_gigabytes_per_second / device.multiprocessors >= 30;
  // Does a row end in a part of a chunk?
  bool has_part = problem.has_x_scale() && problem->columns % chunk_columns(rows(width, 2, 4)) != 0;

  static LaunchChoice rows(std::int8_t columns, std::int8_t vectors, std::int32_t warps) {
    return {Schedule::rows, columns, vectors, warps, 0, false};
  }
  void prefer(const LaunchChoice& choice) { preferred.push_back(choice); }

  // Worth it where starting a CTA for every entry would take long; but fp32 has no kernels for it.
  bool shares_live_rows() const { return may_share_live_rows() && possible_outputs_per_sm >= 40'000; }
  bool may_share_live_rows() const {
    return problem.has_map() && problem.input() != Format::fp32 && entries_per_live_row >= 4;
  }

  // Many CTAs, most of them for nothing: fewer with wide lanes take less. Under programmatic dependent launch, where
  // they start slowly, 1.4 instead of 1.9 us from 256 entries on, without it 2.2 instead of 3.0 us from 512 (H100,
  // 2026-11-26, parallel-8/32 and parallel-8/64).
  bool starts_slowly() const {
    return entries_per_live_row >= 4 && possible_outputs_per_sm >= (chained ? 2'000 : 6'000);
  }

  // The rows' own order saves what lies between L1 and L2, 73.9 instead of 77.8 us (H100, 2026-11-28, routed/4096);
  // where instructions are the limit, it costs more than it saves, and where rows end in a part of a chunk, it saves
  // nothing yet (mapped-2880/4096). By blocks of rows where chunks leave lanes idle, 207 instead of 215
  // (mapped-1408/16384), by one warp but where CTAs start slowly.
  void prefer_marks() {
    const bool few = shares_live_rows();
    const double worth_it = few ? 150'000 : problem.has_x_scale() && !has_part ? 400'000 : 1'000'000;
    // Marked rows are gone through one by one, live or not: a buffer with room for far more is left to its map.
    if (!problem.has_map() || (!few && fast_memory) || outputs_per_sm < worth_it ||
        problem->rows / 4 > expected_units(problem))
      return;
    LaunchChoice marked = rows(width, 2, 4);
    marked.marks_rows = true;
    if (problem.has_x_scale() && !few && leaves_lanes_idle(marked))
      prefer({Schedule::tiles, width, 2, chained ? 4 : 1, 0, true});
    prefer(marked);
  }

  // Very few rows by half a vector a lane, and so of fewer entries, 2.07 instead of 2.13 us in L2 and 2.72 instead of
  // 2.82 (parallel-8/128), chained 1.26 instead of 1.4 (parallel-8/64); few by one vector, 5.1 instead of 5.3 us
  // and 5.4 instead of 5.6; more by two, 9.3 instead of 11.2 (H100, 2026-11-28, parallel-8/1024 and parallel-32/4096
  // from memory, parallel-8/4096 in L2). No kernel has half or one for plain results.
  void prefer_shares() {
    const bool pays_for_half = possible_outputs_per_sm >= (chained && entries_per_live_row < 16 ? 6'000 : 10'000);
    if (may_share_live_rows() && problem.has_x_scale() && pays_for_half && outputs_per_sm <= 5'000)
      prefer(shares(8, 1));
    if (!shares_live_rows()) return;
    if (outputs_per_sm <= 20'000) prefer(shares(width, 1));
    prefer(shares(width, 2));
  }
  LaunchChoice shares(std::int8_t columns, std::int8_t vectors) const {
    const std::int32_t warps = sparse_warps(problem.input(), columns);
    return {Schedule::sparse, columns, vectors, warps, max_sparse_entries, false};
  }

  // Few outputs: the time is one chain of dependent loads plus the arithmetic of one lane, so few columns per lane and
  // many warps. Many outputs: as many independent full-width loads per lane as registers allow (H100, 2026-11-26).
  void prefer_for_few_rows() {
    LaunchChoice narrow = rows(4, 1, max_warps_per_cta), half = rows(8, 1, 8);
    const bool short_rows = warps_along_row(problem, narrow) < max_warps_per_cta;
    // 3.47 instead of 3.61 us for 64 tokens, at twice as many whole vectors are faster, 3.38 instead of 3.6 in L2
    // (H100, 2026-11-27, routed/64 cold and routed/128).
    const bool takes_half = problem.has_x_scale() && started <= 8'000;
    // Short rows: 2.2 instead of 2.3 us hot; under programmatic dependent launch 1.5 instead of 1.8, as CTAs of narrow
    // lanes have several of them or are many, with sixteen warps a CTA 1.39 and 1.38 in two searches, where four took
    // 1.46 and 1.63 and eight 1.56 and 1.34 (columns/192, 2026-11-28).
    if (chained && short_rows) half.warps_per_cta = max_warps_per_cta;
    if (takes_half && short_rows && started > 1'000) prefer(half);
    // 0.99 and 1.05 us in two searches, where CTAs of eight warps and narrow lanes take 1.15 (routed/8, metadata read
    // early, 2026-11-28).
    if (takes_half && chained && !short_rows && started > 700 && started <= 1'500) prefer(rows(8, 1, 4));
    // Rows without a map: 1.97 instead of 2.04 us in L2, and 2.94 instead of 3.01, of e4m3 2.04 instead of 2.11 and
    // 2.63 instead of 2.72, with 16 warps (H100, 2026-11-28, out_scale/row_major-128/256, x_scale/tma_column_major-128/
    // 256).
    const bool takes_more = !chained && !problem.has_map() && !short_rows;
    if (started <= (takes_more ? 5'000 : 3'000)) {
      // Warps of a CTA: for a token two, 1.09 instead of 1.18 us hot (routed/1, metadata read early). For 16 sixteen:
      // 1.16 instead of 1.44 in the search, though in whole runs either took 1.38 to 1.39 (routed/16, 2026-11-27).
      // Without dependent launch four, for 16 tokens eight, 2.57 instead of 2.61 cold (routed/16), and for rows without
      // a map eight, 2.13 instead of 2.20 cold (bf16/32, 2026-11-27).
      if (chained && started <= 200)
        narrow.warps_per_cta = 2;
      else if (chained ? short_rows : (problem.has_map() || short_rows) && started <= 1'000)
        narrow.warps_per_cta = 4;
      else if (!short_rows && !(chained && started > 1'500) && !(problem.has_x_scale() && started > 3'000))
        narrow.warps_per_cta = 8;
      prefer(narrow);
    }
    if (takes_half) prefer(half);
  }

  // Half lanes where entries are not that many: 2.48 instead of 2.61 us cold, under programmatic dependent launch 1.73
  // instead of 1.85, but there, if hardly any row is live, for fewer entries only (H100, parallel-8/64, 2026-11-27;
  // parallel-32/64, 1.30 instead of 1.18 in L2, and parallel-32/32, 1.19 instead of 1.35, 2026-11-28). CTAs of eight
  // warps there, 1.13 instead of 1.19, or of sixteen, 1.15 instead of 1.22 (parallel-8/32, parallel-32/32, 2026-11-28).
  void prefer_for_slow_starts() {
    const bool hardly_any = chained && entries_per_live_row >= 16;
    if (!problem.has_x_scale() || possible_outputs_per_sm > (hardly_any ? 5'000 : 10'000)) return;
    prefer(rows(8, 1, hardly_any ? max_warps_per_cta : chained ? 8 : 4));
  }

  // A tenth of the lanes, or more, are idle where a row's last chunk ends behind it.
  bool leaves_lanes_idle(const LaunchChoice& choice) const {
    const std::int64_t covered = ceil_div(problem->columns, chunk_columns(choice)) * chunk_columns(choice);
    return 10 * covered >= 11 * problem->columns;
  }

  // Whole vectors, and before them, for rows without a map, what leaves no lanes idle.
  void prefer_wide_lanes() {
    LaunchChoice wide = rows(width, outputs_per_sm <= 20'000 ? 1 : 2, 4);
    if (!problem.has_map()) {
      // Half lanes may leave none: 4.1 instead of 4.5 us (H100, 2026-11-27, columns/768 cold).
      if (leaves_lanes_idle(wide) && !leaves_lanes_idle(rows(8, 1, 4)) && !fast_memory && !chained &&
          problem.has_x_scale() && outputs_per_sm <= 15'000)
        prefer(rows(8, 1, 4));
      // Blocks of rows leave none at the end of a row that is no multiple of a chunk.
      if (outputs_per_sm >= 8'000 && (leaves_lanes_idle(wide) || (!fast_memory && outputs_per_sm >= 150'000)))
        prefer({Schedule::tiles, width, 2, 2, 0, false});
    }
    wide.warps_per_cta = warps_of_wide_lanes();
    prefer(wide);
  }

  // Large CTAs where most warps have nothing to do, and larger ones where CTAs start slowly, 1.43 instead of 1.59 us
  // hot (H100, 2026-11-26, parallel-32/128 with metadata read early); small ones where instructions are the limit:
  // their warps then wait for nobody's end. Not under programmatic dependent launch, which starts CTAs more slowly:
  // 16384 tokens took 318 instead of 228 us (H200, 2026-11-23).
  std::int32_t warps_of_wide_lanes() const {
    if (entries_per_live_row >= 4) return chained ? 16 : 8;
    if (!problem.has_x_scale() || chained || outputs_per_sm < 40'000) return 4;
    return fast_memory ? 1 : 4;
  }
};

}  // namespace

LaunchChoice choose_launch(const Problem& problem, const DeviceInfo& device) {
  if (!problem.is_simple()) return choose_for_any_rows(problem, device);
  OrderedRows rows{problem, device};
  rows.prefer_marks();
  rows.prefer_shares();
  if (rows.starts_slowly())
    rows.prefer_for_slow_starts();
  else
    rows.prefer_for_few_rows();
  rows.prefer_wide_lanes();
  rows.prefer(OrderedRows::rows(4, 1, 4));
  for (const LaunchChoice& choice : rows.preferred)
    if (possible(problem, choice)) return choice;
  return {Schedule::loop, 1, 4, 4, 0, false};
}

}  // namespace moe_act

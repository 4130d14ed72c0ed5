// What can be, and what it covers; which of it is chosen is in cuda_tuning*.cpp.
#include <algorithm>
#include <bit>

#include "core/cuda_geometry.hpp"
#include "core/error.hpp"
#include "core/options.hpp"
#include "core/scale_spec.hpp"
#include "core/text.hpp"

namespace moe_act {
namespace {

constexpr std::int64_t max_grid_x = (std::int64_t{1} << 31) - 1;
constexpr std::int64_t max_grid_y = 65535;  // and z

// Of the kernels that know enough, the one that knows least.
KernelKey key_of(const Problem& problem, const LaunchChoice& choice) {
  KernelKey key{problem.input(),         problem.kernel_output(), choice.schedule,
                choice.columns_per_lane, choice.vectors_per_lane, problem.reach()};
  key.marked = choice.marks_rows && choice.schedule == Schedule::rows && has_marked_kernel(key.input);
  if (!knows_any_rows(choice.schedule)) return key;
  key.reach = problem.any_rows_reach();
  if (!supported(key)) key.reach = Reach::models;  // any alignment
  if (key.reach == Reach::models && key.output == OutputKind::plain) key.output = OutputKind::scaled;
  return key;
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

// Rows in the order of a map or of ids can be done in their own, where many are in hand.
bool can_mark_rows(const Problem& problem, const LaunchChoice& choice) {
  const bool by_id =
      problem->row_kind == MOE_ACT_ROWS_SORTED_TOKEN_IDS && problem->sorted_rows == MOE_ACT_SORTED_ROWS_ID;
  return (choice.schedule == Schedule::rows || choice.schedule == Schedule::tiles) && choice.vectors_per_lane > 1 &&
         (problem.has_map() || by_id) && has_entry_rule(addressing_of(problem.description(), {})) &&
         problem.reach() == Reach::plain && !problem.pads_with_zero() &&
         mark_bytes(problem->rows) <= problem->workspace_limit;
}

// Entries that kernels of one entry can look at: an index and a count of 32 bits, and strides likewise that the launch
// knows.
bool has_narrow_entries(const Problem& problem) {
  const bool has_count = row_count_name(problem->row_kind) != nullptr;
  return row_index_name(problem->row_kind) != nullptr && problem->index_bits == 32 &&
         (!has_count || problem->count_bits == 32) && problem.has_narrow_strides() && !problem.stride_on_device();
}

// Rows that are brought into L2 while rows are being marked: what memory delivers in that time, 1.5 us. 74.0 instead of
// 74.8 us; from 900 to 1600 rows of 4 KB were alike (H100, 2026-11-28, routed/4096).
std::int32_t rows_ahead(const Problem& problem, const DeviceInfo& device) {
  const std::int64_t bytes = std::int64_t{device.memory_gigabytes_per_second} * 1'500;
  const std::int64_t rows = bytes / (2 * problem->columns * bytes_per_element(problem.input()));
  return static_cast<std::int32_t>(std::min(rows, problem->rows));
}

// Map entries, or rows.
std::int64_t units_of(const Problem& problem, const LaunchChoice& choice) {
  return choice.marks_rows ? problem->rows : problem.units();
}

// Do warps loop over the columns that their grid does not cover?
bool loops_over_columns(const Problem& problem, const LaunchChoice& choice) {
  if (choice.schedule == Schedule::sparse) return !shares_chunks(problem.input(), choice.columns_per_lane);
  return choice.schedule != Schedule::rows && choice.schedule != Schedule::entry;
}

// Is every chunk covered by a grid that the device takes? Rows and entries are few enough, by has_row_source() and
// has_entry_rule().
bool grid_covers(const Problem& problem, const LaunchChoice& choice) {
  return loops_over_columns(problem, choice) ||
         ceil_div(problem->columns, warps_along_row(problem, choice) * chunk_columns(choice)) <= max_grid_y;
}

}  // namespace

bool knows_form_of_dense_rows(const Problem& problem, const LaunchChoice& choice) {
  const auto together = [](std::int32_t format) { return format == MOE_ACT_FORMAT_UE8M0 ? math::quad_blocks : 1; };
  const bool even_x =
      !problem.has_x_scale() || problem->columns % (problem->x_block * together(problem->x_scale_format)) == 0;
  const bool has_blocks = problem.has_out_scale() && !problem.scale_per_row() && problem.output() == Format::e4m3 &&
                          !view_of(out_scale_spec(problem.description())).fills_quads;
  return problem->row_kind == MOE_ACT_ROWS_DENSE && problem->columns % chunk_columns(choice) == 0 && even_x &&
         (has_blocks || problem.output_kind() == OutputKind::plain);
}

bool possible(const Problem& problem, const LaunchChoice& choice) {
  const KernelKey key = key_of(problem, choice);
  if (!supported(key) || !can_vectorize(problem, choice.columns_per_lane)) return false;
  if (choice.warps_per_cta > max_warps_of(problem.input(), key.reach)) return false;
  if (choice.marks_rows ? !can_mark_rows(problem, choice) : knows_any_rows(choice.schedule) == problem.is_simple())
    return false;
  if (choice.schedule == Schedule::segments && !has_segments(problem)) return false;
  const bool entry = choice.schedule == Schedule::entry;
  if ((entry || choice.schedule == Schedule::list) && has_segments(problem)) return false;
  if (entry && !has_narrow_entries(problem)) return false;
  if (choice.schedule == Schedule::span && !has_span(problem)) return false;
  if (has_span_instead(key) && has_span(problem)) return false;
  // One scale for a row: its warps all work on it.
  if (problem.scale_per_row() && choice.warps_per_cta != warps_along_row(problem, choice)) return false;
  if (has_own_entries(key) && choice.entries_per_cta != choice.warps_per_cta / warps_along_row(problem, choice))
    return false;
  // Layouts' lanes of one vector address scales in 31 bits.
  const bool far_scales = std::max(problem.x_scale_bytes(), problem.out_scale_bytes()) > INT32_MAX;
  if (key.reach == Reach::layouts && key.vectors_per_lane == 1 && far_scales) return false;
  if (has_search_for_cta(key) && choice.entries_per_cta != 1) return false;
  // Rows of warps take turns, or there is one.
  if (choice.schedule > Schedule::list &&
      choice.entries_per_cta % (choice.warps_per_cta / warps_along_row(problem, choice)) != 0)
    return false;
  const bool tiles = choice.schedule == Schedule::tiles;
  // Row-major scales of a row are adjacent already.
  if (tiles && problem->x_scale_layout != MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR) return false;
  if (choice.schedule == Schedule::sparse &&
      (!problem.has_map() || choice.warps_per_cta != sparse_warps(problem.input(), choice.columns_per_lane)))
    return false;
  if (tiles && problem.has_map() && !choice.marks_rows) return false;
  return grid_covers(problem, choice);
}

std::vector<LaunchChoice> launch_choices(const Problem& problem) {
  std::vector<LaunchChoice> choices;
  const auto add = [&](const LaunchChoice& choice) {
    if (possible(problem, choice)) choices.push_back(choice);
  };
  for (const KernelKey& key : kernel_keys) {
    for (std::int32_t warps = 1; warps <= max_warps_per_cta; warps *= 2) {
      LaunchChoice choice{key.schedule, key.columns_per_lane, key.vectors_per_lane, warps, 0, key.marked};
      if (key != key_of(problem, choice)) continue;
      if (const std::int32_t most = max_entries_per_cta(key.schedule); most > 0) {
        // Entries of any rows may all be live: at least one for each row that the CTA has in hand.
        const bool any_rows = knows_any_rows(key.schedule);
        choice.entries_per_cta = any_rows ? warps / warps_along_row(problem, choice) : most / 8;
        for (; choice.entries_per_cta <= most; choice.entries_per_cta *= 2) add(choice);
      } else {
        add(choice);
        choice.marks_rows = true;
        if (key == key_of(problem, choice) && !key.marked) add(choice);
      }
    }
  }
  return choices;
}

void require_choice(const Problem& problem, const LaunchChoice& choice) {
  const auto warps = static_cast<std::uint32_t>(choice.warps_per_cta);
  if (choice.warps_per_cta < 1 || choice.warps_per_cta > max_warps_per_cta || !std::has_single_bit(warps))
    invalid("warps_per_cta",
            "expected a power of two up to " + number(max_warps_per_cta) + ", got " + number(choice.warps_per_cta));
  const int fixed_warps = sparse_warps(problem.input(), choice.columns_per_lane);
  if (choice.schedule == Schedule::sparse && choice.warps_per_cta != fixed_warps)
    invalid("warps_per_cta",
            "expected " + number(fixed_warps) + " for this schedule, got " + number(choice.warps_per_cta));
  const std::int32_t most = max_entries_per_cta(choice.schedule);
  if (choice.entries_per_cta < (most > 0 ? 1 : 0) || choice.entries_per_cta > most)
    invalid("entries_per_cta", "expected " +
                                   (most > 1    ? "1 to " + number(most)
                                    : most == 1 ? "1 for this schedule"
                                                : "0 for this schedule") +
                                   ", got " + number(choice.entries_per_cta));
  if (!possible(problem, choice))
    invalid("choice", "schedule " + number(static_cast<int>(choice.schedule)) + " with " +
                          number(choice.columns_per_lane) + " columns x " + number(choice.vectors_per_lane) +
                          " vectors per lane cannot run this problem");
}

namespace {

// CTAs of a kernel that loops over what they do not cover: as many as the rows that are expected need, and where the
// device alone knows how many there are, no more than are at work at the same time, or nearly so.
std::int32_t grid_for_any_rows(const Problem& problem, const CudaLaunch& launch, std::int64_t ctas_along_row,
                               const DeviceInfo& device) {
  const bool segments = has_segments(problem);
  const std::int32_t warps = launch.warps_per_row * launch.row_warps;
  const bool device_knows = segments || row_count_name(problem->row_kind) != nullptr;
  const bool is_told = problem->expected_rows >= 0 && counts_live_rows(problem);
  const std::int64_t units = is_told ? std::min(problem->expected_rows, problem.units()) : problem.units();
  const std::int64_t needed = ceil_div(std::max<std::int64_t>(units, 1), launch.units_per_cta);
  // 32 warps fit a multiprocessor at 64 registers a thread.
  const std::int64_t resident =
      ceil_div(std::int64_t{device.multiprocessors} * std::max(32 / warps, 1), ctas_along_row);
  // Going on behind the grid costs more than CTAs for nothing, unless most of them would be.
  const bool most_are_live = problem->expected_rows >= 0 && expected_units(problem) >= problem.units() / 4;
  const std::int64_t most = is_told || most_are_live || !device_knows ? max_grid_x : segments ? resident : 8 * resident;
  return static_cast<std::int32_t>(std::min(std::min(needed, most), max_grid_x));
}

// How many CTAs apart the entries of a list lie that CTAs side by side look at: about one live row for as many. At most
// an eighth more CTAs than there is work for.
std::int32_t ctas_apart(const Problem& problem, const CudaLaunch& launch) {
  if (counts_live_rows(problem)) return 1;
  constexpr std::int64_t most = 1 << 15;  // a power of two that the grid's z takes
  const auto entries = static_cast<std::uint32_t>(std::min(entries_per_live_row(problem), most));
  const auto wanted = static_cast<std::int32_t>(std::bit_ceil(entries)) / launch.row_warps;
  const auto at_most = static_cast<std::int32_t>(std::bit_floor(static_cast<std::uint32_t>(launch.grid_x / 8)));
  return std::clamp(wanted, 1, std::max(at_most, 1));
}

// CTAs that look at the same entries of a map: as many as nearly always have all live ones in hand at once, 85 rows
// where 64 are expected. No more than are at work at the same time, or nearly so, unless more rows are expected: what
// one CTA then does after another is not the end of the launch, 9.2 instead of 9.8 us (parallel-8/4096 in L2). With one
// whole vector a lane registers leave room for nine on each multiprocessor, or more, and ten take 5.12 where eight take
// 5.32 us, chained in L2 3.3 and 3.8 (H100, 2026-11-28, parallel-32/4096); for four of eight warps.
std::int32_t ctas_per_share(const Problem& problem, const CudaLaunch& launch, const DeviceInfo& device) {
  const std::int64_t entries = std::min<std::int64_t>(launch.units_per_cta, problem.units());
  const double live = static_cast<double>(entries) / static_cast<double>(entries_per_live_row(problem));
  const auto ctas_for = [&](double rows) {
    const auto at_once = std::min(static_cast<std::int64_t>(rows), entries);
    return static_cast<std::int32_t>(ceil_div(std::max<std::int64_t>(at_once, 1), launch.row_warps));
  };
  const bool by_chunk = shares_chunks(launch.key.input, launch.key.columns_per_lane);
  const std::int32_t at_work = by_chunk ? 4 : launch.key.vectors_per_lane == 1 ? 10 : 8;
  const std::int64_t sharing = std::int64_t{launch.grid_x} * launch.grid_y;
  const auto at_most =
      static_cast<std::int32_t>(std::int64_t{at_work} * device.multiprocessors / std::max<std::int64_t>(sharing, 1));
  return std::clamp(at_most, ctas_for(live), ctas_for(1.25 * live + 5.5));
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
  if (knows_any_rows(choice.schedule)) {
    const bool entry = choice.schedule == Schedule::entry;
    launch.grid_x =
        entry ? static_cast<std::int32_t>(problem.units()) : grid_for_any_rows(problem, launch, chunks, device);
    // Where there is work enough, warps go along the row: what a row costs beside its columns is paid less often.
    const bool along_row = problem.scale_per_row() || outputs_per_multiprocessor(problem, device) >= 20'000;
    launch.grid_y = along_row && !entry ? 1 : static_cast<std::int32_t>(std::min(chunks, max_grid_y));
    launch.grid_z = 1;
    launch.looks_once = (entry || choice.schedule == Schedule::list) && launch.units_per_cta == launch.row_warps &&
                        std::int64_t{launch.grid_x} * launch.units_per_cta >= problem.units();
    if (launch.looks_once) {
      launch.grid_z = ctas_apart(problem, launch);
      launch.grid_x = static_cast<std::int32_t>(ceil_div(launch.grid_x, launch.grid_z));
    }
    launch.has_dense_rows = launch.looks_once && launch.grid_y == chunks && may_have_dense_rows(launch.key) &&
                            problem->row_kind == MOE_ACT_ROWS_DENSE && !problem.stride_on_device() &&
                            problem.has_narrow_strides();
    launch.knows_scale_forms = launch.has_dense_rows && knows_form_of_dense_rows(problem, choice);
  } else if (choice.schedule == Schedule::tiles) {
    // Columns fastest: CTAs that run together read adjacent memory.
    const std::int64_t tiles = ceil_div(problem->rows, launch.units_per_cta);
    launch.grid_x = static_cast<std::int32_t>(chunks);
    launch.grid_y = static_cast<std::int32_t>(std::min(tiles, max_grid_y));
    launch.grid_z = static_cast<std::int32_t>(ceil_div(tiles, std::max<std::int64_t>(launch.grid_y, 1)));
  } else {
    launch.grid_x = static_cast<std::int32_t>(ceil_div(units_of(problem, choice), launch.units_per_cta));
    const bool whole_rows = choice.schedule == Schedule::sparse && loops_over_columns(problem, choice);
    launch.grid_y = whole_rows ? 1 : static_cast<std::int32_t>(std::min(chunks, max_grid_y));
    launch.grid_z = choice.schedule == Schedule::sparse ? ctas_per_share(problem, launch, device) : 1;
  }
  launch.marks_rows = choice.marks_rows;
  if (choice.marks_rows) {
    launch.workspace_bytes = mark_bytes(problem->rows);
    launch.rows_ahead = rows_ahead(problem, device);
  }
  return launch;
}

}  // namespace moe_act

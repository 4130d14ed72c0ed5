#include "core/plan.hpp"

#include <algorithm>
#include <bit>
#include <limits>

#include "core/error.hpp"
#include "core/options.hpp"

namespace moe_act {
namespace {

constexpr int warp_lanes = 32;

std::int64_t ceil_div(std::int64_t value, std::int64_t divisor) {
  return value / divisor + (value % divisor != 0 ? 1 : 0);
}

// Columns that one warp handles without looping.
std::int64_t chunk_columns(const KernelKey& key) {
  return std::int64_t{warp_lanes} * key.columns_per_lane * key.vectors_per_lane;
}

// May lanes load and store `columns` adjacent columns at once? Loads and stores are at most 16 bytes wide each, so the
// promise of 16 bytes serves every width.
bool can_vectorize(const Problem& problem, int columns) {
  const int load_bytes = std::min(16, columns * bytes_per_element(problem.input()));
  const int store_bytes = std::min(16, columns * bytes_per_element(problem.output()));
  const std::int64_t second_half_bytes = problem->columns * bytes_per_element(problem.input());
  return problem->columns % columns == 0 && second_half_bytes % load_bytes == 0 && problem->x_alignment >= load_bytes &&
         problem->out_alignment >= store_bytes;
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

struct LaneShape {
  std::int8_t columns;
  std::int8_t vectors;
  std::int64_t outputs_per_sm;  // up to which it is the fastest
};

// Few outputs: the time is one chain of dependent loads plus the arithmetic of one lane, so few columns per lane and
// many warps. Many outputs: as many independent full-width loads per lane as registers allow.
// H100, 2026-11-22, bench/results/lanes, block-FP8 through a map, H 2048, hot: 4 x 1 is fastest to 8 tokens (1.86 us at
// one), 16 x 1 to 128 (3.72 against 3.90 us), 16 x 2 from 256 on (5.24 against 5.89 us; 303 us at 16384, where 16 x 4
// takes 307).
LaneShape choose_lanes(const Problem& problem, const Rows& rows, std::int32_t multiprocessors) {
  const auto full_width = static_cast<std::int8_t>(16 / bytes_per_element(problem.input()));  // a 16-byte load
  const LaneShape shapes[] = {
      {4, 1, 2048}, {full_width, 1, 24000}, {full_width, 2, std::numeric_limits<std::int64_t>::max()}};
  LaneShape choice{1, 4, 0};
  for (const LaneShape& shape : shapes) {
    const KernelKey key{problem.input(), problem.output_kind(), Schedule::span, shape.columns, shape.vectors};
    if (!supported(key) || !can_vectorize(problem, shape.columns)) continue;
    choice = shape;
    // The kernel without a loop starts a CTA for every unit, live or not: few of them may be for nothing.
    const std::int64_t started = runs_once(shape.columns, shape.vectors) ? ceil_div(rows.units, 4) : 0;
    if (std::max(rows.live, started) * problem->columns / multiprocessors <= shape.outputs_per_sm) break;
  }
  return choice;
}

// The launch with these lanes: which kernel, and a grid for it.
CudaLaunch cover(const Problem& problem, const Rows& rows, const DeviceInfo& device, const LaneShape& lanes) {
  CudaLaunch launch{};
  launch.key = {problem.input(), problem.output_kind(), problem.has_map() ? Schedule::list : Schedule::span,
                lanes.columns, lanes.vectors};
  launch.kernel_index =
      static_cast<std::size_t>(std::ranges::find(kernel_keys, launch.key) - std::ranges::begin(kernel_keys));
  if (launch.kernel_index == kernel_count)
    fail(MOE_ACT_INTERNAL_ERROR, "plan", "no kernel is compiled for the chosen lanes");

  // Four warps per CTA: along the row as far as it goes, then several rows. One warp is as fast at one token and twice
  // as slow from 128 on, where the rate of starting CTAs is the limit (H100, 2026-11-22).
  constexpr std::int64_t warps_per_cta = 4;
  const std::int64_t chunks = ceil_div(problem->columns, chunk_columns(launch.key));
  launch.warps_per_row =
      static_cast<std::int32_t>(std::min<std::int64_t>(std::bit_ceil(std::uint64_t(chunks)), warps_per_cta));
  launch.rows_per_cta = static_cast<std::int32_t>(warps_per_cta / launch.warps_per_row);

  // A warp reads several map entries at once when there are several times more than the device can hold warps for, or
  // when most are expected to be -1: about one live row for each warp, as long as every SM has a few CTAs. Expert
  // parallel, 1 row in 8 (in 32) live, H100, 2026-11-22, bench/results/lanes: 6.1 (3.6) us at 1024 tokens with 8
  // entries, 8.4 (7.2) with one.
  launch.entries_per_warp = 1;
  if (launch.key.schedule == Schedule::list && !runs_once(lanes.columns, lanes.vectors)) {
    const std::int64_t units_per_sm = rows.units / device.multiprocessors;
    const std::int64_t units_per_live_row = rows.units / std::max<std::int64_t>(rows.live, 1);
    const std::int64_t entries = std::max(units_per_sm / 256, std::min(units_per_live_row, units_per_sm / 4));
    launch.entries_per_warp =
        static_cast<std::int32_t>(std::bit_floor(std::uint64_t(std::clamp<std::int64_t>(entries, 1, warp_lanes))));
  }

  constexpr std::int64_t max_grid_x = (std::int64_t{1} << 31) - 1;
  constexpr std::int64_t max_grid_y = 65535;
  const std::int64_t grid_x = ceil_div(rows.units, std::int64_t{launch.rows_per_cta} * launch.entries_per_warp);
  const std::int64_t grid_y = ceil_div(chunks, launch.warps_per_row);
  launch.grid_x = static_cast<std::int32_t>(std::min(grid_x, max_grid_x));
  launch.grid_y = static_cast<std::int32_t>(std::min(grid_y, max_grid_y));
  launch.covers = grid_x <= max_grid_x && grid_y <= max_grid_y;
  return launch;
}

CudaLaunch plan_cuda(const Problem& problem, const DeviceInfo& device) {
  if (device.multiprocessors < 1)
    invalid("device", "expected at least 1 multiprocessor, got " + std::to_string(device.multiprocessors));
  const int capability = device.compute_capability_major * 10 + device.compute_capability_minor;
  const std::string capability_text =
      std::to_string(device.compute_capability_major) + "." + std::to_string(device.compute_capability_minor);
  if (capability < 80)
    fail(MOE_ACT_UNSUPPORTED, "device", "expected compute capability 8.0 or above, got " + capability_text);
  if (problem.pdl() != Pdl::off && capability < 90)
    fail(MOE_ACT_UNSUPPORTED, "pdl",
         "expected 'off' below compute capability 9.0, got '" + std::string(option_name("pdl", problem->pdl)) +
             "' on " + capability_text);

  const Rows rows = rows_of(problem);
  const LaneShape lanes = choose_lanes(problem, rows, device.multiprocessors);

  CudaLaunch launch = cover(problem, rows, device, lanes);
  // The kernel without a loop needs a grid that covers everything; where none does, the one that takes anything loops.
  if (!launch.covers && runs_once(lanes.columns, lanes.vectors)) launch = cover(problem, rows, device, {1, 4, 0});
  return launch;
}

std::string describe_text(const Problem& problem, const DeviceInfo& device, const CudaLaunch& launch) {
  const auto name = [](const char* option, std::int32_t value) { return std::string(option_name(option, value)); };
  const auto number = [](std::int64_t value) { return std::to_string(value); };
  std::string text = "Problem: " + name("activation", problem->activation) + ", " + name("format", problem->x_format) +
                     " [" + number(problem->rows) + ", 2 x " + number(problem->columns) + "] -> " +
                     name("format", problem->out_format);
  if (is_scaled(problem.output())) text += " (" + name("out_scaling", problem->out_scaling) + " scale)";
  text += ", gate in the " + std::string(problem->gate == MOE_ACT_GATE_FIRST_HALF ? "first" : "second") + " half";
  text += "\nRows:    " + name("row_kind", problem->row_kind);
  if (problem.has_map()) text += ", " + number(problem->expanded_rows) + " entries";
  if (problem.stride_on_device()) text += ", scale stride on the device";
  if (!problem.on_cuda()) return text + "\nPlan:    CPU";
  text += "\nDevice:  cuda:" + number(problem->device_id) + ", compute capability " +
          number(device.compute_capability_major) + "." + number(device.compute_capability_minor) + ", " +
          number(device.multiprocessors) + " SMs";
  text += "\nPlan:    grid " + number(launch.grid_x) + " x " + number(launch.grid_y) + ", " +
          number(launch.rows_per_cta) + " rows x " + number(launch.warps_per_row) + " warps per CTA, " +
          number(launch.key.columns_per_lane) + " columns x " + number(launch.key.vectors_per_lane) +
          " vectors per lane";
  if (problem.has_map()) text += ", " + number(launch.entries_per_warp) + " map entries per warp";
  return text + ", pdl " + name("pdl", problem->pdl);
}

math::ScaleStrides scale_strides(std::int32_t layout, std::int64_t stride) {
  if (layout == MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR) return {1, stride};
  return {stride, 1};
}

}  // namespace

Plan::Plan(const Problem& problem, const DeviceInfo& device) : problem_(problem), device_(device) {
  if (problem_.on_cuda()) cuda_ = plan_cuda(problem_, device_);
}

std::string Plan::text() const {
  return describe_text(problem_, device_, cuda_);
}

moe_act_plan_info Plan::info() const {
  moe_act_plan_info info{};
  info.struct_size = sizeof(info);
  if (!problem_.on_cuda()) return info;
  info.grid_x = cuda_.grid_x;
  info.grid_y = cuda_.grid_y;
  info.warps_per_row = cuda_.warps_per_row;
  info.rows_per_cta = cuda_.rows_per_cta;
  info.threads_per_cta = warp_lanes * cuda_.warps_per_row * cuda_.rows_per_cta;
  info.columns_per_lane = cuda_.key.columns_per_lane;
  info.vectors_per_lane = cuda_.key.vectors_per_lane;
  info.entries_per_warp = cuda_.entries_per_warp;
  return info;
}

KernelArguments Plan::arguments(const moe_act_buffers& buffers) const {
  const bool gate_first = problem_->gate == MOE_ACT_GATE_FIRST_HALF;
  KernelArguments arguments{};
  arguments.source = {static_cast<RowKind>(problem_->row_kind), buffers.expanded_idx_to_permuted_idx, problem_.units(),
                      problem_->rows};
  arguments.x = buffers.x;
  arguments.x_scale = buffers.x_scale;
  arguments.out = buffers.out;
  arguments.out_scale = buffers.out_scale;
  arguments.static_scale = buffers.static_scale;
  arguments.total_num_padded_tokens = buffers.total_num_padded_tokens;
  arguments.columns = problem_->columns;
  arguments.gate_offset = gate_first ? 0 : problem_->columns;
  arguments.up_offset = gate_first ? problem_->columns : 0;
  arguments.x_row_stride = problem_->x_row_stride;
  arguments.out_row_stride = problem_->out_row_stride;
  arguments.x_scale_strides = scale_strides(problem_->x_scale_layout, problem_->x_scale_stride);
  arguments.out_scale_strides = scale_strides(problem_->out_scale_layout, problem_->out_scale_stride);
  arguments.out_format = problem_.output();
  arguments.pdl = problem_.pdl();
  arguments.entries_per_warp = cuda_.entries_per_warp;
  return arguments;
}

}  // namespace moe_act

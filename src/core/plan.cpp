#include "core/plan.hpp"

#include "core/error.hpp"
#include "core/model.hpp"
#include "core/options.hpp"
#include "core/presets.hpp"
#include "core/scale_spec.hpp"
#include "core/text.hpp"

namespace moe_act {
namespace {

constexpr std::int32_t max_multiprocessors = 1 << 16;  // grids are multiples of it

CudaLaunch plan_cuda(const Problem& problem, const DeviceInfo& device, const std::optional<LaunchChoice>& choice) {
  if (device.multiprocessors < 1 || device.multiprocessors > max_multiprocessors)
    invalid("device",
            "expected 1 to " + number(max_multiprocessors) + " multiprocessors, got " + number(device.multiprocessors));
  if (device.memory_gigabytes_per_second < 0)
    invalid("device",
            "expected memory_gigabytes_per_second of at least 0, got " + number(device.memory_gigabytes_per_second));
  const auto capability = [&] {
    return number(device.compute_capability_major) + "." + number(device.compute_capability_minor);
  };
  if (device.capability() < 80)
    fail(MOE_ACT_UNSUPPORTED, "device", "expected compute capability 8.0 or above, got " + capability());
  if (problem.pdl() != Pdl::off && device.capability() < 90)
    fail(MOE_ACT_UNSUPPORTED, "pdl",
         "expected 'off' below compute capability 9.0, got " + quoted("pdl", problem->pdl) + " on " + capability());
  if (!choice) return cover(problem, choose_launch(problem, device), device);
  require_choice(problem, *choice);
  return cover(problem, *choice, device);
}

std::string gate_text(const Problem& problem) {
  if (problem->gate == MOE_ACT_GATE_INTERLEAVED) return "interleaved by " + number(problem->interleave);
  return problem->gate == MOE_ACT_GATE_FIRST_HALF ? "in the first half" : "in the second half";
}

std::string describe_text(const Problem& problem, const DeviceInfo& device, const CudaLaunch& launch) {
  const auto name = [](const char* option, std::int32_t value) { return std::string(option_name(option, value)); };
  std::string text = "Problem: " + name("activation", problem->activation) + ", " + name("format", problem->x_format) +
                     " [" + number(problem->rows) + (is_gated(problem.description()) ? ", 2 x " : ", ") +
                     number(problem->columns) + "] -> " + name("format", problem->out_format);
  if (is_scaled(problem.output())) text += " (" + name("out_scaling", problem->out_scaling) + " scale)";
  if (is_gated(problem.description())) text += ", gate " + gate_text(problem);
  if (problem->alpha_from != 0) text += ", alpha";
  if (problem->beta_from != 0) text += ", beta";
  if (problem->limit_from != 0) text += ", limit";
  if (problem->bias_format != 0) text += ", bias";
  if (problem->has_weight != 0) text += ", weight";
  if (problem.has_unquantized()) text += ", unquantized copy in " + name("format", problem->unquantized_format);
  if (problem->preset != MOE_ACT_PRESET_FLASHINFER) text += ", numerics of " + name("preset", problem->preset);
  text += "\nRows:    " + name("row_kind", problem->row_kind);
  if (problem->entries > 0) text += ", " + number(problem->entries) + " entries";
  if (problem->experts > 0) text += ", " + number(problem->experts) + " experts";
  if (problem.stride_on_device()) text += ", scale stride on the device";
  if (!problem.on_cuda()) return text + "\nPlan:    CPU";
  text += "\nDevice:  cuda:" + number(problem->device_id) + ", compute capability " +
          number(device.compute_capability_major) + "." + number(device.compute_capability_minor) + ", " +
          number(device.multiprocessors) + " SMs";
  text += "\nPlan:    " + name("schedule", static_cast<std::int32_t>(launch.key.schedule)) + ", grid " +
          number(launch.grid_x) + " x " + number(launch.grid_y) + " x " + number(launch.grid_z) + ", " +
          number(launch.rows_per_cta) + " rows x " + number(launch.warps_per_row) + " warps per CTA, " +
          number(launch.key.columns_per_lane) + " columns x " + number(launch.key.vectors_per_lane) +
          " vectors per lane";
  if (launch.key.schedule == Schedule::sparse) text += ", " + number(launch.units_per_cta) + " map entries per CTA";
  if (launch.marks_rows) text += ", rows marked in " + number(launch.workspace_bytes) + " bytes of workspace";
  return text + ", pdl " + name("pdl", problem->pdl);
}

// Of what has strides of 32 bits: else nobody looks at them.
math::ScaleStrides scale_strides(std::int32_t layout, std::int64_t stride) {
  constexpr std::uint32_t adjacent = sizeof(float);
  const std::uint32_t apart =
      stride == MOE_ACT_STRIDE_ON_DEVICE ? 0 : static_cast<std::uint32_t>(stride) * std::uint32_t{sizeof(float)};
  if (layout == MOE_ACT_SCALE_LAYOUT_ROW_MAJOR) return {apart, adjacent};
  return {adjacent, apart};
}

// What a launch reads of the union at the head of its arguments.
enum class RowReading { source, entries, segments, span, dense, addressing };

RowReading row_reading(const Problem& problem, const CudaLaunch& cuda) {
  if (!problem.on_cuda()) return RowReading::addressing;
  if (cuda.has_dense_rows) return RowReading::dense;
  if (cuda.marks_rows || cuda.key.schedule == Schedule::list || cuda.key.schedule == Schedule::entry)
    return RowReading::entries;
  if (cuda.key.schedule == Schedule::span) return RowReading::span;
  if (cuda.key.schedule != Schedule::segments) return RowReading::source;
  return cuda.key.reach == Reach::models ? RowReading::addressing : RowReading::segments;
}

// Rows that nothing is looked up for, in a kernel that waits for no other.
bool starts_at_once(const Problem& problem, const CudaLaunch& cuda) {
  return cuda.key.schedule == Schedule::rows && problem->row_kind == MOE_ACT_ROWS_DENSE && !cuda.marks_rows &&
         !problem.pads_with_zero() && !problem.stride_on_device() && problem.pdl() == Pdl::off;
}

// What the code for dense rows in any layout is told, and which of it that is.
void set_dense_rows(KernelArguments& arguments, bool knows_scale_forms) {
  arguments.dense = {};
  arguments.dense.rows = static_cast<std::uint32_t>(arguments.rows.units);
  arguments.entries_per_cta = dense_rows_any_form;
  if (!knows_scale_forms) return;
  const math::NarrowScaleView &x = arguments.x_scale_layout, &out = arguments.out_scale_layout;
  const bool x_ue8m0 = x.format == Format::ue8m0, out_ue8m0 = out.format == Format::ue8m0;
  arguments.entries_per_cta = x_ue8m0 && out_ue8m0 ? dense_rows_ue8m0_both
                              : x_ue8m0            ? dense_rows_ue8m0_x
                              : out_ue8m0          ? dense_rows_ue8m0_out
                                                   : dense_rows;
  const auto scales_of = [](const math::NarrowScaleView& view) {
    return DenseScales{static_cast<std::uint32_t>(view.block_log2), view.swizzled,
                       static_cast<std::uint32_t>(view.block_stride)};
  };
  const auto strides_of = [](const math::NarrowScaleView& view) {
    return math::ScaleStrides{
        static_cast<std::uint32_t>(view.row_stride),
        static_cast<std::uint32_t>(view.format == Format::ue8m0 ? view.quad_stride : view.block_stride)};
  };
  const auto offset_of = [&](std::uint32_t stored_column) {
    return static_cast<std::uint32_t>(x.block_offset(static_cast<std::int32_t>(stored_column >> x.block_log2)));
  };
  arguments.dense = {static_cast<std::uint32_t>(arguments.rows.units),
                     arguments.numerics.rounds_to_power_of_two,
                     scales_of(x),
                     scales_of(out),
                     offset_of(arguments.gate_offset),
                     offset_of(arguments.up_offset)};
  arguments.x_scale_strides = strides_of(x);
  arguments.out_scale_strides = strides_of(out);
}

KernelArguments arguments_without_pointers(const Problem& problem, const CudaLaunch& cuda) {
  const bool gate_first = problem->gate != MOE_ACT_GATE_SECOND_HALF || !is_gated(problem.description());
  KernelArguments arguments{};
  arguments.columns = static_cast<std::uint32_t>(problem->columns);
  arguments.gate_offset = gate_first ? 0 : arguments.columns;
  arguments.up_offset = gate_first ? arguments.columns : 0;
  // Of what has narrow strides: nobody else looks at these.
  const auto in_bytes = [](std::int64_t stride, int element_bytes) {
    return static_cast<std::uint32_t>(static_cast<std::uint64_t>(stride) * static_cast<std::uint64_t>(element_bytes));
  };
  arguments.x_row_bytes = in_bytes(problem->x_row_stride, bytes_per_element(problem.input()));
  arguments.out_row_bytes = in_bytes(problem->out_row_stride, bytes_per_element(problem.output()));
  arguments.x_expert_bytes = in_bytes(problem->x_expert_stride, bytes_per_element(problem.input()));
  arguments.out_expert_bytes = in_bytes(problem->out_expert_stride, bytes_per_element(problem.output()));
  arguments.x_scale_expert_bytes = in_bytes(problem->x_scale_expert_stride, sizeof(float));
  arguments.out_scale_expert_bytes = in_bytes(problem->out_scale_expert_stride, sizeof(float));
  arguments.x_row_stride = problem->x_row_stride;
  arguments.out_row_stride = problem->out_row_stride;
  arguments.x_scale_strides = scale_strides(problem->x_scale_layout, problem->x_scale_stride);
  arguments.out_scale_strides = scale_strides(problem->out_scale_layout, problem->out_scale_stride);
  arguments.out_format = problem.output();
  arguments.pdl = problem.pdl();
  const bool starts_with_rows = cuda.looks_once || starts_at_once(problem, cuda);
  arguments.entries_per_cta = starts_with_rows ? 0 : cuda.units_per_cta;
  arguments.rows = addressing_of(problem.description(), {});
  switch (row_reading(problem, cuda)) {
    case RowReading::source:
      arguments.source = {nullptr, static_cast<std::uint32_t>(problem.units()),
                          static_cast<std::uint32_t>(problem->rows)};
      break;
    case RowReading::entries:
      arguments.entries = has_entry_rule(arguments.rows) ? entry_rule_of(arguments.rows) : EntryRule{};
      break;
    case RowReading::segments: arguments.segments = arguments.rows.segment_rule<std::int32_t>(); break;
    case RowReading::span:
    case RowReading::dense:
    case RowReading::addressing: break;
  }
  if (problem.has_x_scale()) arguments.x_scale_view = view_of(x_scale_spec(problem.description()));
  if (problem.has_out_scale()) arguments.out_scale_view = view_of(out_scale_spec(problem.description()));
  arguments.x_scale_layout = narrow(arguments.x_scale_view);
  arguments.out_scale_layout = narrow(arguments.out_scale_view);
  arguments.x_expert_stride = problem->x_expert_stride;
  arguments.out_expert_stride = problem->out_expert_stride;
  arguments.out_padded_rows =
      problem->out_scale_layout == MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4 ? problem->out_scale_stride : problem->rows;
  arguments.numerics = numerics_of(problem.description());
  arguments.is_general = problem.is_general() || (problem.on_cuda() && cuda.key.reach == Reach::models);
  if (arguments.is_general) arguments.model = model_of(problem.description());
  arguments.scale_per_row = problem.scale_per_row();
  if (cuda.has_dense_rows) set_dense_rows(arguments, cuda.knows_scale_forms);
  return arguments;
}

}  // namespace

Plan::Plan(const Problem& problem, const DeviceInfo& device, const std::optional<LaunchChoice>& choice)
    : problem_(problem), device_(device), buffer_rules_(moe_act::buffer_rules(problem)) {
  if (problem_.on_cuda())
    cuda_ = plan_cuda(problem_, device_, choice);
  else if (choice)
    invalid("choice", "expected a problem on CUDA: on the CPU there is nothing to choose");
  without_pointers_ = arguments_without_pointers(problem_, cuda_);
}

std::string Plan::text() const {
  return describe_text(problem_, device_, cuda_);
}

moe_act_plan_info Plan::info() const {
  moe_act_plan_info info{};
  info.struct_size = sizeof(info);
  if (!problem_.on_cuda()) return info;
  info.schedule = static_cast<std::int32_t>(cuda_.key.schedule);
  info.grid_x = cuda_.grid_x;
  info.grid_y = cuda_.grid_y;
  info.grid_z = cuda_.grid_z;
  info.warps_per_row = cuda_.warps_per_row;
  info.rows_per_cta = cuda_.rows_per_cta;
  info.units_per_cta = cuda_.units_per_cta;
  info.threads_per_cta = 32 * cuda_.warps_per_row * cuda_.row_warps;
  info.columns_per_lane = cuda_.key.columns_per_lane;
  info.vectors_per_lane = cuda_.key.vectors_per_lane;
  info.workspace_bytes = cuda_.workspace_bytes;
  info.kernel = static_cast<std::int32_t>(cuda_.kernel_index);
  info.kernels = static_cast<std::int32_t>(kernel_count);
  return info;
}

KernelArguments Plan::arguments(const moe_act_buffers& buffers) const {
  KernelArguments arguments = without_pointers_;
  arguments.x = buffers.x;
  arguments.x_scale = buffers.x_scale;
  arguments.out = buffers.out;
  arguments.out_scale = buffers.out_scale;
  arguments.static_scale = buffers.static_scale;
  arguments.total_num_padded_tokens = buffers.total_num_padded_tokens;
  arguments.rows.index.data = buffers.row_index;
  arguments.rows.count.data = buffers.row_count;
  switch (row_reading(problem_, cuda_)) {
    case RowReading::source: arguments.source.map = static_cast<const std::int32_t*>(buffers.row_index); break;
    case RowReading::entries:
      arguments.entries.values = buffers.row_index;
      arguments.entries.count = buffers.row_count;
      break;
    case RowReading::segments: arguments.segments.index = buffers.row_index; break;
    case RowReading::span: arguments.span = span_of(arguments.rows); break;
    case RowReading::dense:
    case RowReading::addressing: break;
  }
  arguments.rows.tile_to_expert.data = buffers.tile_to_expert;
  arguments.rows.permuted_to_expanded.data = buffers.permuted_to_expanded;
  if (arguments.is_general) point_to(arguments.model, buffers);
  return arguments;
}

}  // namespace moe_act

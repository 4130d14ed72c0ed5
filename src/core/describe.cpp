#include "core/describe.hpp"

#include <initializer_list>
#include <optional>

#include "core/error.hpp"
#include "core/model.hpp"
#include "core/options.hpp"
#include "core/rows.hpp"
#include "core/scale_spec.hpp"
#include "core/tensor_view.hpp"
#include "core/text.hpp"

namespace moe_act {
namespace {

using OptionalTensor = std::optional<TensorView>;

template <typename Value>
Value or_default(Value value, Value fallback) {
  return value == 0 ? fallback : value;
}

// The format of x or out, or an error that tells apart unknown dtypes and dtypes that need their format said.
Format require_format(const TensorView& tensor, const char* argument, std::int32_t given, const char* option) {
  const Format format = tensor.format(static_cast<Format>(given));
  if (format != Format::none) return format;
  const char* name = option_name(option, given);
  fail(
      MOE_ACT_WRONG_TYPE, argument,
      (name != nullptr ? std::string("expected ") + name + " or an integer view of it (" + option + "='" + name + "')"
                       : std::string("expected float32, float16, bfloat16 or float8_e4m3fn, or an integer view with ") +
                             option + " naming its format") +
          ", got " + tensor.text());
}

// What the problem states of a scale tensor: its own strides, or those of a compact one that is still to be made.
void read_scale(ScaleSpec spec, const OptionalTensor& tensor, bool stride_on_device, std::int64_t& stride,
                std::int64_t& expert_stride) {
  const bool on_device =
      stride_on_device && !spec.per_row() && spec.layout == MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR && !spec.masked;
  if (on_device) {
    spec.stride = MOE_ACT_STRIDE_ON_DEVICE;
    if (tensor) {
      // The host cannot know the stride: the buffer has to hold the largest one.
      tensor->require_dtype(code_float, 32, "float32");
      tensor->require_contiguous();
      if (tensor->elements() / spec.blocks < spec.rows)
        tensor->mismatch("float32 with at least " + number(spec.blocks) + " x " + number(spec.rows) + " elements");
    }
  } else if (tensor) {
    read_strides(spec, *tensor);
  } else {
    spec.stride = spec.compact_stride();
    spec.expert_stride = spec.compact_expert_stride();
  }
  stride = spec.stride;
  expert_stride = spec.expert_stride;
}

std::int32_t output_scaling(Format output, std::int32_t given, bool has_static_scale) {
  if (given != MOE_ACT_SCALING_DEFAULT) return given;
  if (!is_scaled(output)) return MOE_ACT_SCALING_NONE;
  return has_static_scale ? MOE_ACT_SCALING_TENSOR : MOE_ACT_SCALING_BLOCK;
}

std::int32_t row_kind_of(const moe_act_tensors& tensors, const moe_act_options& options) {
  if (options.row_kind == 0)
    return tensors.row_index != nullptr ? MOE_ACT_ROWS_EXPANDED_TO_PERMUTED : MOE_ACT_ROWS_DENSE;
  require_option("row_kind", options.row_kind);
  return options.row_kind;
}

// "[4, 128, 512]"
std::string shape_text(const moe_act_problem& problem, std::int64_t columns) {
  const std::string part = number(problem.rows) + ", " + number(columns) + "]";
  return (problem.row_kind == MOE_ACT_ROWS_MASKED ? "[" + number(problem.experts) + ", " : "[") + part;
}

// A tensor that the problem needs and one that it has no use for are both errors. why: pieces of one text.
void require_presence(const char* name, bool expected, bool given, std::initializer_list<const char*> why) {
  if (expected == given) return;
  std::string text = expected ? "expected a tensor, got none: " : "expected none: ";
  for (const char* piece : why) text += piece;
  invalid(name, text);
}

}  // namespace

Description describe(const moe_act_tensors& tensors, const moe_act_options& options) {
  if (tensors.x == nullptr) fail(MOE_ACT_WRONG_TYPE, "x", "expected a tensor, got none");
  const TensorView x("x", *tensors.x);
  const OptionalTensor x_scale = view("x_scale", tensors.x_scale);
  const OptionalTensor out = view("out", tensors.out);
  const OptionalTensor out_scale = view("out_scale", tensors.out_scale);
  const OptionalTensor static_scale = view("static_scale", tensors.static_scale);
  const std::int32_t row_kind = row_kind_of(tensors, options);
  const OptionalTensor row_index = view(row_index_argument(row_kind), tensors.row_index);
  const OptionalTensor row_count = view(row_count_argument(row_kind), tensors.row_count);
  const OptionalTensor total = view("total_num_padded_tokens", tensors.total_num_padded_tokens);

  moe_act_problem problem{};
  problem.struct_size = sizeof(problem);
  problem.device_type = x.device_type();
  problem.device_id = x.device_id();
  problem.activation = or_default<std::int32_t>(options.activation, MOE_ACT_ACTIVATION_SWIGLU);
  require_option("activation", problem.activation);
  problem.gate = or_default<std::int32_t>(options.gate, MOE_ACT_GATE_SECOND_HALF);
  problem.padding = or_default<std::int32_t>(options.padding, MOE_ACT_PADDING_SKIP);
  problem.pdl = or_default<std::int32_t>(options.pdl, MOE_ACT_PDL_OFF);
  problem.x_scale_layout = or_default<std::int32_t>(options.x_scale_layout, MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR);
  problem.out_scale_layout = or_default<std::int32_t>(options.out_scale_layout, MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR);
  problem.out_format = or_default<std::int32_t>(options.out_format, MOE_ACT_FORMAT_E4M3);
  problem.expected_rows = options.has_expected_rows != 0 ? options.expected_rows : -1;
  problem.workspace_limit = options.workspace_limit;
  problem.row_kind = row_kind;
  const bool masked = row_kind == MOE_ACT_ROWS_MASKED;

  for (const OptionalTensor* other : {&x_scale, &out, &out_scale, &static_scale, &row_index, &total, &row_count})
    if (*other) (*other)->require_device_of(x);
  const ModelTensors model = model_tensors(tensors);
  model.require_device_of(x);

  // Before what the formats imply: whoever asks for one that has no kernel should read that, not how it is scaled.
  if (options.x_format != MOE_ACT_FORMAT_NONE) {
    require_option("x_format", options.x_format);
    require_input_kernel(static_cast<Format>(options.x_format));
  }
  require_option("out_format", problem.out_format);
  const auto output = static_cast<Format>(problem.out_format);
  require_output_kernel(output);
  const Format input = require_format(x, "x", options.x_format, "x_format");
  require_input_kernel(input);
  problem.x_format = static_cast<std::int32_t>(input);
  const bool gated = is_gated(problem);
  const char* shape = masked  ? (gated ? "[experts, rows, 2H]" : "[experts, rows, H]")
                      : gated ? "[rows, 2H]"
                              : "[rows, H]";
  x.require_rank(masked ? 3 : 2, shape);
  const int row_axis = masked ? 1 : 0;
  const std::int64_t x_columns = x.dimension(row_axis + 1);
  if ((gated && x_columns % 2 != 0) || x_columns == 0)
    x.mismatch(std::string(shape) + (gated ? " with an even, positive number of columns" : " with columns"));
  x.require_lines(row_axis, row_axis + 1);
  if (masked) x.require_parts();
  problem.experts = masked ? x.dimension(0) : 0;
  problem.rows = x.dimension(row_axis);
  problem.columns = gated ? x_columns / 2 : x_columns;
  require_columns("x", problem.columns);
  problem.x_row_stride = x.row_stride();
  problem.x_expert_stride = masked ? x.stride(0) : 0;
  problem.x_alignment =
      alignment_bytes(x.data(), problem.x_row_stride | problem.x_expert_stride, bytes_per_element(input));

  problem.out_scaling = output_scaling(output, options.out_scaling, static_scale.has_value());
  problem.out_row_stride = problem.columns;
  problem.out_expert_stride = masked ? problem.rows * problem.columns : 0;
  if (out) {
    require_format(*out, "out", problem.out_format, "out_format");
    if (out->rank() != row_axis + 2 || (masked && out->dimension(0) != problem.experts) ||
        out->dimension(row_axis) != problem.rows || out->dimension(row_axis + 1) != problem.columns)
      out->mismatch(shape_text(problem, problem.columns));
    out->require_lines(row_axis, row_axis + 1);
    if (masked) out->require_parts();
    out->require_writable();
    problem.out_row_stride = out->row_stride();
    problem.out_expert_stride = masked ? out->stride(0) : 0;
  }
  problem.out_alignment = alignment_bytes(
      out ? out->data() : nullptr, problem.out_row_stride | problem.out_expert_stride, bytes_per_element(output));

  problem.tile_tokens = options.tile_tokens;
  problem.expert_alignment = options.expert_alignment;
  problem.num_valid_ids = options.num_valid_ids;
  problem.sorted_rows = options.sorted_rows;
  read_rows(problem, row_index, row_count);
  require_presence(row_index_argument(row_kind), row_index_name(row_kind) != nullptr, row_index.has_value(),
                   {"rows are '", option_name("row_kind", row_kind), "'"});
  if (row_count_name(row_kind) == nullptr || requires_row_count(row_kind))
    require_presence(row_count_argument(row_kind), row_count_name(row_kind) != nullptr, row_count.has_value(),
                     {"rows are '", option_name("row_kind", row_kind), "'"});

  problem.x_scale_format = options.x_scale_format;
  problem.out_scale_format = options.out_scale_format;
  problem.x_block = options.x_block;
  problem.out_block = options.out_block;
  problem.scale_rounding = options.scale_rounding;
  read_model(problem, model, options);
  problem = normalized(problem);

  require_presence("x_scale", is_scaled(input), x_scale.has_value(),
                   {traits(input).name, is_scaled(input) ? " input needs its scales" : " input has no scale"});
  require_presence("static_scale", problem.out_scaling == MOE_ACT_SCALING_TENSOR, static_scale.has_value(),
                   {"only out_scaling='tensor' takes a given scale"});
  const bool delivers_scales =
      problem.out_scaling == MOE_ACT_SCALING_BLOCK || problem.out_scaling == MOE_ACT_SCALING_ROW;
  if (!delivers_scales)
    require_presence("out_scale", false, out_scale.has_value(),
                     {"only out_scaling='block' and out_scaling='row' deliver scales"});
  if (static_scale) {
    static_scale->require_dtype(code_float, 32, "float32");
    static_scale->require_one_element("float32 with one element");
  }
  if (total) {
    total->require_dtype(code_int, 32, "int32");
    total->require_one_element("int32 with one element");
  }
  if (is_scaled(input)) {
    require_scale_options("x_scale_layout", problem.x_scale_layout, "x_scale_format", problem.x_scale_format, "x_block",
                          problem.x_block);
    read_scale(x_scale_spec(problem), x_scale, total.has_value(), problem.x_scale_stride,
               problem.x_scale_expert_stride);
  }
  if (delivers_scales) {
    require_scale_options("out_scale_layout", problem.out_scale_layout, "out_scale_format", problem.out_scale_format,
                          "out_block", problem.out_block);
    read_scale(out_scale_spec(problem), out_scale, total.has_value(), problem.out_scale_stride,
               problem.out_scale_expert_stride);
    if (out_scale) out_scale->require_writable();
  }

  const Problem validated(problem);
  require_presence("total_num_padded_tokens", validated.stride_on_device(), total.has_value(),
                   {"it is the stride of column_major scales, and this problem has none"});

  moe_act_buffers buffers{};
  buffers.struct_size = sizeof(buffers);
  const auto data = [](const OptionalTensor& tensor) { return tensor ? tensor->data() : nullptr; };
  buffers.x = x.data();
  buffers.x_scale = data(x_scale);
  buffers.out = data(out);
  buffers.out_scale = data(out_scale);
  buffers.static_scale = static_cast<const float*>(data(static_scale));
  buffers.row_index = data(row_index);
  buffers.total_num_padded_tokens = static_cast<const std::int32_t*>(data(total));
  buffers.row_count = data(row_count);
  const auto floats = [&](const OptionalTensor& tensor) { return static_cast<const float*>(data(tensor)); };
  buffers.bias = data(model.bias);
  buffers.alpha = floats(model.alpha);
  buffers.beta = floats(model.beta);
  buffers.limit = floats(model.limit);
  buffers.weight = floats(model.weight);
  buffers.tile_to_expert = data(model.tile_to_expert);
  buffers.permuted_to_expanded = data(model.permuted_to_expanded);
  buffers.out_unquantized = data(model.out_unquantized);
  return {problem, buffers};
}

}  // namespace moe_act

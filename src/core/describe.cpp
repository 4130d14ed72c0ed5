#include "core/describe.hpp"

#include <initializer_list>
#include <optional>

#include "core/error.hpp"
#include "core/options.hpp"
#include "core/tensor_view.hpp"

namespace moe_act {
namespace {

constexpr std::uint8_t dlpack_int = 0;
constexpr std::uint8_t dlpack_float = 2;

using OptionalTensor = std::optional<TensorView>;

OptionalTensor view(const char* name, const moe_act_tensor* tensor) {
  return tensor == nullptr ? OptionalTensor{} : OptionalTensor{TensorView(name, *tensor)};
}

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

struct ScaleArgument {
  const char* name;
  std::int64_t rows;
  std::int64_t blocks;
  std::int32_t layout;
  bool stride_on_device;
};

// The stride that the problem states for a scale tensor of these sizes.
std::int64_t scale_stride(const ScaleArgument& scale, const OptionalTensor& tensor) {
  const bool column_major = scale.layout == MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR;
  const bool on_device = column_major && scale.stride_on_device;
  if (!tensor) return on_device ? MOE_ACT_STRIDE_ON_DEVICE : column_major ? scale.rows : scale.blocks;
  tensor->require_dtype(dlpack_float, 32, "float32");
  if (on_device) {
    // The host cannot know the stride: the buffer has to hold the largest one.
    tensor->require_contiguous();
    if (tensor->elements() / scale.blocks < scale.rows)
      tensor->mismatch("float32 with at least " + std::to_string(scale.blocks) + " x " + std::to_string(scale.rows) +
                       " elements");
    return MOE_ACT_STRIDE_ON_DEVICE;
  }
  const bool fits = tensor->rank() == 2 &&
                    (column_major ? tensor->dimension(0) == scale.blocks && tensor->dimension(1) >= scale.rows
                                  : tensor->dimension(0) == scale.rows && tensor->dimension(1) == scale.blocks);
  if (!fits) tensor->mismatch(expected_scale(scale.rows, scale.blocks, scale.layout));
  tensor->require_addressable_rows();
  return tensor->row_stride();
}

std::int32_t output_scaling(Format output, std::int32_t given, bool has_static_scale) {
  if (given != MOE_ACT_SCALING_DEFAULT) return given;
  if (!is_scaled(output)) return MOE_ACT_SCALING_NONE;
  return has_static_scale ? MOE_ACT_SCALING_TENSOR : MOE_ACT_SCALING_BLOCK;
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
  const OptionalTensor map = view("expanded_idx_to_permuted_idx", tensors.expanded_idx_to_permuted_idx);
  const OptionalTensor total = view("total_num_padded_tokens", tensors.total_num_padded_tokens);

  moe_act_problem problem{};
  problem.struct_size = sizeof(problem);
  problem.device_type = x.device_type();
  problem.device_id = x.device_id();
  problem.activation = or_default<std::int32_t>(options.activation, MOE_ACT_ACTIVATION_SWIGLU);
  problem.gate = or_default<std::int32_t>(options.gate, MOE_ACT_GATE_SECOND_HALF);
  problem.padding = or_default<std::int32_t>(options.padding, MOE_ACT_PADDING_SKIP);
  problem.pdl = or_default<std::int32_t>(options.pdl, MOE_ACT_PDL_OFF);
  problem.x_scale_layout = or_default<std::int32_t>(options.x_scale_layout, MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR);
  problem.out_scale_layout = or_default<std::int32_t>(options.out_scale_layout, MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR);
  problem.out_format = or_default<std::int32_t>(options.out_format, MOE_ACT_FORMAT_E4M3);
  problem.expected_rows = options.has_expected_rows != 0 ? options.expected_rows : -1;
  problem.workspace_limit = options.workspace_limit;

  for (const OptionalTensor* other : {&x_scale, &out, &out_scale, &static_scale, &map, &total})
    if (*other) (*other)->require_device_of(x);

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
  x.require_rank(2, "[rows, 2H]");
  if (x.dimension(1) % 2 != 0 || x.dimension(1) == 0) x.mismatch("[rows, 2H] with an even, positive number of columns");
  x.require_addressable_rows();
  problem.rows = x.dimension(0);
  problem.columns = x.dimension(1) / 2;
  require_columns("x", problem.columns);
  problem.x_row_stride = x.row_stride();
  problem.x_alignment = alignment_bytes(x.data(), problem.x_row_stride, bytes_per_element(input));

  problem.out_scaling = output_scaling(output, options.out_scaling, static_scale.has_value());
  problem.out_row_stride = problem.columns;
  if (out) {
    require_format(*out, "out", problem.out_format, "out_format");
    if (out->rank() != 2 || out->dimension(0) != problem.rows || out->dimension(1) != problem.columns)
      out->mismatch("[" + std::to_string(problem.rows) + ", " + std::to_string(problem.columns) + "]");
    out->require_addressable_rows();
    out->require_writable();
    problem.out_row_stride = out->row_stride();
  }
  problem.out_alignment =
      alignment_bytes(out ? out->data() : nullptr, problem.out_row_stride, bytes_per_element(output));

  problem.row_kind = map ? MOE_ACT_ROWS_EXPANDED_TO_PERMUTED : MOE_ACT_ROWS_DENSE;
  if (map) {
    map->require_dtype(dlpack_int, 32, "int32");
    if (map->rank() != 1 && map->rank() != 2) map->mismatch("int32 [expanded_rows] or [tokens, top_k]");
    map->require_contiguous();
    problem.expanded_rows = map->elements();
  }

  require_presence("x_scale", is_scaled(input), x_scale.has_value(),
                   {traits(input).name, is_scaled(input) ? " input needs its scales" : " input has no scale"});
  require_presence("static_scale", problem.out_scaling == MOE_ACT_SCALING_TENSOR, static_scale.has_value(),
                   {"only out_scaling='tensor' takes a given scale"});
  if (problem.out_scaling != MOE_ACT_SCALING_BLOCK)
    require_presence("out_scale", false, out_scale.has_value(), {"only out_scaling='block' delivers scales"});
  if (static_scale) {
    static_scale->require_dtype(dlpack_float, 32, "float32");
    static_scale->require_one_element("float32 with one element");
  }
  if (total) {
    total->require_dtype(dlpack_int, 32, "int32");
    total->require_one_element("int32 with one element");
  }
  if (is_scaled(input))
    problem.x_scale_stride = scale_stride(
        {"x_scale", problem.rows, blocks(2 * problem.columns), problem.x_scale_layout, total.has_value()}, x_scale);
  if (problem.out_scaling == MOE_ACT_SCALING_BLOCK) {
    problem.out_scale_stride = scale_stride(
        {"out_scale", problem.rows, blocks(problem.columns), problem.out_scale_layout, total.has_value()}, out_scale);
    if (out_scale) out_scale->require_writable();
  }

  const Problem validated(problem);
  require_presence("total_num_padded_tokens", validated.stride_on_device(), total.has_value(),
                   {"it is the stride of column_major scales, and this problem has none"});

  moe_act_buffers buffers{};
  buffers.struct_size = sizeof(buffers);
  const auto data = [](const OptionalTensor& tensor) { return tensor ? tensor->data() : nullptr; };
  buffers.x = x.data();
  buffers.x_scale = static_cast<const float*>(data(x_scale));
  buffers.out = data(out);
  buffers.out_scale = static_cast<float*>(data(out_scale));
  buffers.static_scale = static_cast<const float*>(data(static_scale));
  buffers.expanded_idx_to_permuted_idx = static_cast<const std::int32_t*>(data(map));
  buffers.total_num_padded_tokens = static_cast<const std::int32_t*>(data(total));
  return {problem, buffers};
}

}  // namespace moe_act

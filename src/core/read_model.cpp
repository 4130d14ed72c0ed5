// From the tensors that only general problems have to what the problem says of them.
#include "core/error.hpp"
#include "core/model.hpp"
#include "core/options.hpp"
#include "core/rows.hpp"
#include "core/text.hpp"

namespace moe_act {
namespace {

// alpha, beta or limit: a tensor, or the options' number.
std::int32_t read_parameter(const char* name, const std::optional<TensorView>& tensor, std::int32_t given_from,
                            std::int64_t& experts) {
  if (!tensor) {
    if (given_from == MOE_ACT_PARAMETER_PER_EXPERT) invalid(name, "expected a tensor, got none");
    return given_from;
  }
  if (given_from == MOE_ACT_PARAMETER_SCALAR) invalid(name, "expected a number or a tensor, got both");
  tensor->require_dtype(code_float, 32, "float32");
  tensor->require_rank(1, "float32 [experts]");
  tensor->require_contiguous();
  if (experts != 0 && experts != tensor->dimension(0))
    tensor->mismatch("float32 [" + number(experts) + "], as the parameters before it");
  experts = tensor->dimension(0);
  if (experts == 0) tensor->mismatch("float32 [experts], at least one");
  return MOE_ACT_PARAMETER_PER_EXPERT;
}

void read_bias(moe_act_problem& problem, const TensorView& bias) {
  const Format format = bias.has_dtype(code_float, 32) ? Format::fp32 : bias.format(Format::bf16);
  const std::int64_t columns = stored_columns(problem);
  if (format != Format::fp32 && format != Format::bf16)
    fail(MOE_ACT_WRONG_TYPE, "bias", "expected float32 or bfloat16, got " + bias.text());
  if (bias.rank() != 2 || bias.dimension(1) != columns || bias.dimension(0) < 1)
    bias.mismatch("[experts, " + number(columns) + "], columns arranged as those of x");
  bias.require_lines(0, 1);
  problem.bias_format = static_cast<std::int32_t>(format);
  problem.bias_expert_stride = bias.row_stride();
  problem.bias_alignment = alignment_bytes(bias.data(), problem.bias_expert_stride, bytes_per_element(format));
  problem.parameter_experts = bias.dimension(0);
}

void read_weight(moe_act_problem& problem, const TensorView& weight) {
  weight.require_dtype(code_float, 32, "float32");
  weight.require_contiguous();
  problem.has_weight = 1;
  problem.weights = weight.elements();
}

void read_unquantized(moe_act_problem& problem, const TensorView& copy, std::int32_t given) {
  if (given != MOE_ACT_FORMAT_NONE) require_option("unquantized_format", given);
  const Format format = copy.format(static_cast<Format>(given));
  if (format != Format::fp32 && format != Format::fp16 && format != Format::bf16)
    fail(MOE_ACT_WRONG_TYPE, "out_unquantized",
         "expected float32, float16 or bfloat16, or an integer view with unquantized_format naming its format, got " +
             copy.text());
  const bool masked = problem.row_kind == MOE_ACT_ROWS_MASKED;
  const int row_axis = masked ? 1 : 0;
  if (copy.rank() != row_axis + 2 || (masked && copy.dimension(0) != problem.experts) ||
      copy.dimension(row_axis) != problem.rows || copy.dimension(row_axis + 1) != problem.columns)
    copy.mismatch("[" + (masked ? number(problem.experts) + ", " : std::string()) + number(problem.rows) + ", " +
                  number(problem.columns) + "]");
  copy.require_lines(row_axis, row_axis + 1);
  if (masked) copy.require_parts();
  copy.require_writable();
  problem.unquantized_format = static_cast<std::int32_t>(format);
  problem.unquantized_row_stride = copy.row_stride();
  problem.unquantized_expert_stride = masked ? copy.stride(0) : 0;
  problem.unquantized_alignment = alignment_bytes(
      copy.data(), problem.unquantized_row_stride | problem.unquantized_expert_stride, bytes_per_element(format));
}

}  // namespace

ModelTensors model_tensors(const moe_act_tensors& tensors) {
  return {view("bias", tensors.bias),
          view("alpha", tensors.alpha),
          view("beta", tensors.beta),
          view("limit", tensors.limit),
          view("weight", tensors.weight),
          view("tile_to_expert", tensors.tile_to_expert),
          view("permuted_to_expanded", tensors.permuted_to_expanded),
          view("out_unquantized", tensors.out_unquantized)};
}

void ModelTensors::require_device_of(const TensorView& x) const {
  for (const std::optional<TensorView>* tensor :
       {&bias, &alpha, &beta, &limit, &weight, &tile_to_expert, &permuted_to_expanded, &out_unquantized})
    if (*tensor) (*tensor)->require_device_of(x);
}

void read_model(moe_act_problem& problem, const ModelTensors& tensors, const moe_act_options& options) {
  problem.interleave = options.interleave;
  problem.alpha = options.alpha;
  problem.beta = options.beta;
  problem.limit = options.limit;
  problem.gate_bound = options.gate_bound;
  problem.up_bound = options.up_bound;
  problem.preset = options.preset;
  problem.product_rounding = options.product_rounding;
  problem.quantization = options.quantization;
  problem.clamp_rounding = options.clamp_rounding;
  problem.smallest_amax = options.smallest_amax;
  problem.smallest_scale = options.smallest_scale;
  if (tensors.bias) read_bias(problem, *tensors.bias);
  problem.alpha_from = read_parameter("alpha", tensors.alpha, options.alpha_from, problem.parameter_experts);
  problem.beta_from = read_parameter("beta", tensors.beta, options.beta_from, problem.parameter_experts);
  problem.limit_from = read_parameter("limit", tensors.limit, options.limit_from, problem.parameter_experts);
  if (tensors.weight) read_weight(problem, *tensors.weight);
  if (tensors.tile_to_expert) {
    problem.tile_to_expert_bits = index_bits(*tensors.tile_to_expert);
    tensors.tile_to_expert->require_rank(1, "int32 or int64 [tiles]");
    tensors.tile_to_expert->require_contiguous();
    problem.expert_tiles = tensors.tile_to_expert->elements();
  }
  if (tensors.permuted_to_expanded) {
    problem.permuted_to_expanded_bits = index_bits(*tensors.permuted_to_expanded);
    tensors.permuted_to_expanded->require_contiguous();
    if (tensors.permuted_to_expanded->elements() != problem.rows)
      tensors.permuted_to_expanded->mismatch("int32 or int64 [" + number(problem.rows) + "]");
  }
  if (tensors.out_unquantized) read_unquantized(problem, *tensors.out_unquantized, options.unquantized_format);
}

}  // namespace moe_act

#include "core/model.hpp"

#include <cmath>
#include <limits>

#include "core/error.hpp"
#include "core/options.hpp"
#include "core/presets.hpp"
#include "core/rows.hpp"
#include "core/scale_spec.hpp"
#include "core/text.hpp"

namespace moe_act {
namespace {

bool is_situ(const moe_act_problem& problem) {
  return problem.activation == MOE_ACT_ACTIVATION_SITU;
}

bool takes_limit(const moe_act_problem& problem) {
  return problem.activation == MOE_ACT_ACTIVATION_SWIGLU || problem.activation == MOE_ACT_ACTIVATION_SWIGLU_STEP;
}

bool has_segments(const moe_act_problem& problem) {
  return problem.row_kind >= MOE_ACT_ROWS_EXPERT_OFFSETS;
}

bool weighs_by_expanded(const moe_act_problem& problem) {
  switch (problem.row_kind) {
    case MOE_ACT_ROWS_TILE_LIMITS:
    case MOE_ACT_ROWS_ROW_TO_EXPERT:
    case MOE_ACT_ROWS_EXPERT_OFFSETS:
    case MOE_ACT_ROWS_EXPERT_ENDS: return true;
    default: return false;
  }
}

// alpha, beta or limit.
struct Parameter {
  const char* name;
  std::int32_t from;
  float value;
  bool taken;  // by the activation
};

void require_parameter(const Parameter& parameter, const moe_act_problem& problem, bool (*possible)(float),
                       const char* expected) {
  const bool given = parameter.from != MOE_ACT_PARAMETER_NONE;
  if (parameter.from < 0 || parameter.from > MOE_ACT_PARAMETER_PER_EXPERT)
    invalid(parameter.name,
            "expected none (0), a scalar (1) or one for each expert (2), got " + number(parameter.from));
  if (given && !parameter.taken)
    invalid(parameter.name,
            "expected none: the activation " + quoted("activation", problem.activation) + " takes none");
  const bool scalar = parameter.from == MOE_ACT_PARAMETER_SCALAR;
  if (scalar ? !possible(parameter.value) : parameter.value != 0.0f)
    invalid(parameter.name, std::string("expected ") + (scalar ? expected : "0 where it is not a scalar") + ", got " +
                                number(parameter.value));
}

// The reciprocal of a bound is a normal number, which a GPU does not flush to zero.
void require_bound(const char* name, float bound, bool taken) {
  const bool possible = taken ? bound >= 0x1p-126f && bound <= 0x1p125f : bound == 0.0f;
  if (!possible)
    invalid(name, std::string(taken ? "expected a positive number, from 2^-126 to 2^125"
                                    : "expected none: only 'situ' has bounds") +
                      ", got " + number(bound));
}

void require_activation(const moe_act_problem& problem) {
  require_option("activation", problem.activation);
  require_option("gate", problem.gate);
  if (!is_gated(problem) && problem.gate != MOE_ACT_GATE_SECOND_HALF)
    invalid("gate", "expected none: " + quoted("activation", problem.activation) +
                        " has no gate order, x holds H columns; got " + quoted("gate", problem.gate));
  const bool interleaved = problem.gate == MOE_ACT_GATE_INTERLEAVED;
  const std::int32_t group = problem.interleave;
  if (interleaved ? group != 1 && group != 8 && group != 32 : group != 0)
    invalid("interleave", std::string("expected ") +
                              (interleaved ? "1, 8 or 32 columns" : "none: the gate is not 'interleaved'") + ", got " +
                              number(group));
  if (interleaved && problem.columns % group != 0)
    invalid("interleave",
            "expected a divisor of the " + number(problem.columns) + " columns of a result, got " + number(group));
  const bool swiglu = problem.activation == MOE_ACT_ACTIVATION_SWIGLU;
  require_parameter({"alpha", problem.alpha_from, problem.alpha, swiglu}, problem, &is_alpha, alpha_text);
  require_parameter({"beta", problem.beta_from, problem.beta, swiglu}, problem, &is_beta, beta_text);
  require_parameter({"limit", problem.limit_from, problem.limit, takes_limit(problem)}, problem, &is_limit, limit_text);
  require_bound("gate_bound", problem.gate_bound, is_situ(problem));
  require_bound("up_bound", problem.up_bound, is_situ(problem));
}

void require_experts(const moe_act_problem& problem) {
  const bool per_expert = problem.alpha_from == MOE_ACT_PARAMETER_PER_EXPERT ||
                          problem.beta_from == MOE_ACT_PARAMETER_PER_EXPERT ||
                          problem.limit_from == MOE_ACT_PARAMETER_PER_EXPERT;
  const bool has_bias = problem.bias_format != MOE_ACT_FORMAT_NONE;
  const char* name = has_bias                                             ? "bias"
                     : problem.alpha_from == MOE_ACT_PARAMETER_PER_EXPERT ? "alpha"
                     : problem.beta_from == MOE_ACT_PARAMETER_PER_EXPERT  ? "beta"
                                                                          : "limit";
  if (problem.expert_tiles < 0)
    invalid("tile_to_expert", "expected at least 0 tiles, got " + number(problem.expert_tiles));
  const bool known_by_rows = has_segments(problem) || problem.row_kind == MOE_ACT_ROWS_ROW_TO_EXPERT;
  if (problem.expert_tiles > 0 && known_by_rows)
    invalid("tile_to_expert", "expected none: rows are " + quoted("row_kind", problem.row_kind) +
                                  ", which say themselves whose they are");
  if (problem.expert_tiles > 0 && problem.tile_tokens < 1)
    invalid("tile_tokens",
            "expected the rows of a tile of tile_to_expert, at least 1, got " + number(problem.tile_tokens));
  if (!per_expert && !has_bias) {
    if (problem.parameter_experts != 0)
      invalid("parameter_experts",
              "expected 0 without bias and per-expert parameters, got " + number(problem.parameter_experts));
    return;
  }
  if (problem.parameter_experts < 1)
    invalid(name, "expected at least one expert, got " + number(problem.parameter_experts));
  if (has_segments(problem) && problem.parameter_experts != problem.experts)
    invalid(name, "expected one for each of the " + number(problem.experts) + " experts of the rows, got " +
                      number(problem.parameter_experts));
  if (!known_by_rows && problem.expert_tiles == 0)
    invalid(name, "rows are " + quoted("row_kind", problem.row_kind) +
                      ", which do not say whose they are: expected tile_to_expert with them");
  if (!has_bias) return;
  if (problem.bias_format != MOE_ACT_FORMAT_FP32 && problem.bias_format != MOE_ACT_FORMAT_BF16)
    invalid("bias", "expected fp32 or bf16, got format " + number(problem.bias_format));
  if (problem.bias_expert_stride < stored_columns(problem))
    invalid("bias", "expected experts at least " + number(stored_columns(problem)) + " elements apart, got " +
                        number(problem.bias_expert_stride));
  require_alignment("bias", problem.bias_alignment, static_cast<Format>(problem.bias_format),
                    problem.parameter_experts > 1 ? problem.bias_expert_stride : 0);
}

void require_weight(const moe_act_problem& problem) {
  if (problem.permuted_to_expanded_bits != 0 && problem.permuted_to_expanded_bits != 32 &&
      problem.permuted_to_expanded_bits != 64)
    invalid("permuted_to_expanded", "expected 32 or 64 bits, got " + number(problem.permuted_to_expanded_bits));
  if (problem.has_weight == 0) {
    if (problem.weights != 0)
      invalid("weight", "expected 0 weights where there are none, got " + number(problem.weights));
    if (problem.permuted_to_expanded_bits != 0)
      invalid("permuted_to_expanded", "expected none: it says which weight is a row's, and there is no weight");
    return;
  }
  const bool by_expanded = weighs_by_expanded(problem);
  if (by_expanded != (problem.permuted_to_expanded_bits != 0))
    invalid(by_expanded ? "weight" : "permuted_to_expanded",
            "rows are " + quoted("row_kind", problem.row_kind) +
                (by_expanded ? ", which do not say which weight is a row's: expected permuted_to_expanded with them"
                             : ", which say themselves which weight is a row's: expected none"));
  const bool sorted = problem.row_kind == MOE_ACT_ROWS_SORTED_TOKEN_IDS;
  const std::int64_t expected = sorted                                                  ? problem.num_valid_ids
                                : problem.row_kind == MOE_ACT_ROWS_EXPANDED_TO_PERMUTED ? problem.entries
                                                                                        : total_rows(problem);
  const bool fits = by_expanded || (sorted ? problem.weights >= expected : problem.weights == expected);
  if (problem.weights < 0 || !fits)
    invalid("weight", std::string("expected ") + (sorted ? "at least " : "") + number(expected) + " weights, got " +
                          number(problem.weights));
}

void require_unquantized(const moe_act_problem& problem) {
  const std::int32_t format = problem.unquantized_format;
  if (format == MOE_ACT_FORMAT_NONE) return;
  if (format != MOE_ACT_FORMAT_FP32 && format != MOE_ACT_FORMAT_FP16 && format != MOE_ACT_FORMAT_BF16)
    invalid("out_unquantized", "expected fp32, fp16 or bf16, got format " + number(format));
  if (!is_scaled(static_cast<Format>(problem.out_format)))
    invalid("out_unquantized", std::string("expected none: the result in ") +
                                   traits(static_cast<Format>(problem.out_format)).name + " is not quantized itself");
  if (problem.unquantized_row_stride < problem.columns)
    invalid("out_unquantized", "expected rows at least " + number(problem.columns) + " elements apart, got " +
                                   number(problem.unquantized_row_stride));
  const bool masked = problem.row_kind == MOE_ACT_ROWS_MASKED;
  const std::int64_t part =
      extent_bytes("out_unquantized", problem.rows, problem.unquantized_row_stride, problem.columns, 1);
  if (masked && problem.experts > 1 && problem.unquantized_expert_stride < part)
    invalid("out_unquantized", "expected experts at least " + number(part) + " elements apart, got " +
                                   number(problem.unquantized_expert_stride));
  const std::int64_t strides = (total_rows(problem) > 1 ? problem.unquantized_row_stride : 0) |
                               (masked && problem.experts > 1 ? problem.unquantized_expert_stride : 0);
  require_alignment("out_unquantized", problem.unquantized_alignment, static_cast<Format>(format), strides & -strides);
}

}  // namespace

bool is_alpha(float value) {
  return std::isfinite(value) && value != 0.0f;
}

bool is_beta(float value) {
  return std::isfinite(value);
}

bool is_limit(float value) {
  return value > 0.0f;
}

bool is_gated(const moe_act_problem& problem) {
  return problem.activation < MOE_ACT_ACTIVATION_SILU;
}

std::int64_t stored_columns(const moe_act_problem& problem) {
  return is_gated(problem) ? 2 * problem.columns : problem.columns;
}

void resolve_model(moe_act_problem& problem) {
  if (problem.gate == MOE_ACT_GATE_INTERLEAVED && problem.interleave == 0) problem.interleave = 1;
  if (problem.activation == MOE_ACT_ACTIVATION_SWIGLU_STEP && problem.limit_from == MOE_ACT_PARAMETER_NONE) {
    problem.limit_from = MOE_ACT_PARAMETER_SCALAR;
    problem.limit = 7.0f;
  }
  resolve_numerics(problem);
  const auto element_bytes = [](std::int32_t format) { return bytes_per_element(static_cast<Format>(format)); };
  const auto resolve_alignment = [&](std::int32_t format, std::int32_t& alignment) {
    if (alignment == 0 && option_name("format", format) != nullptr) alignment = element_bytes(format);
  };
  resolve_alignment(problem.bias_format, problem.bias_alignment);
  resolve_alignment(problem.unquantized_format, problem.unquantized_alignment);
  if (problem.tile_to_expert_bits == 0) problem.tile_to_expert_bits = 32;
}

void require_model(const moe_act_problem& problem) {
  require_activation(problem);
  require_numerics(problem);
  require_experts(problem);
  require_weight(problem);
  require_unquantized(problem);
}

bool is_general(const moe_act_problem& problem) {
  const bool model = problem.activation != MOE_ACT_ACTIVATION_SWIGLU || problem.gate == MOE_ACT_GATE_INTERLEAVED ||
                     problem.alpha_from != MOE_ACT_PARAMETER_NONE || problem.beta_from != MOE_ACT_PARAMETER_NONE ||
                     problem.limit_from != MOE_ACT_PARAMETER_NONE || problem.parameter_experts > 0 ||
                     problem.has_weight != 0 || problem.unquantized_format != MOE_ACT_FORMAT_NONE;
  return model || problem.clamp_rounding != MOE_ACT_CLAMP_ROUNDING_NONE || !has_default_numerics(problem);
}

Model model_of(const moe_act_problem& problem) {
  constexpr GateFunction functions[] = {GateFunction::silu,      GateFunction::silu, GateFunction::gelu,
                                        GateFunction::gelu_tanh, GateFunction::relu, GateFunction::situ,
                                        GateFunction::silu,      GateFunction::gelu, GateFunction::gelu_tanh,
                                        GateFunction::relu,      GateFunction::relu2};
  Model model{};
  model.function = functions[problem.activation - MOE_ACT_ACTIVATION_SWIGLU];
  model.gated = is_gated(problem);
  model.rounds_clamped = problem.clamp_rounding == MOE_ACT_CLAMP_ROUNDING_INPUT;
  const bool step = problem.activation == MOE_ACT_ACTIVATION_SWIGLU_STEP;
  const bool limited = problem.limit_from != MOE_ACT_PARAMETER_NONE;
  model.limits_gate = limited && !step;
  model.limits_result = limited && step;
  model.interleave = problem.interleave;
  if (problem.alpha_from == MOE_ACT_PARAMETER_SCALAR) model.parameters.alpha = problem.alpha;
  if (problem.beta_from == MOE_ACT_PARAMETER_SCALAR) model.parameters.beta = problem.beta;
  if (problem.limit_from == MOE_ACT_PARAMETER_SCALAR) model.parameters.limit = problem.limit;
  if (is_situ(problem)) {
    model.parameters.gate_bound = problem.gate_bound;
    model.parameters.up_bound = problem.up_bound;
  }
  model.experts = problem.parameter_experts;
  model.bias_format = static_cast<Format>(problem.bias_format);
  model.bias_expert_stride = problem.bias_expert_stride;
  model.weights = problem.weights;
  model.unquantized_format = static_cast<Format>(problem.unquantized_format);
  model.unquantized_row_stride = problem.unquantized_row_stride;
  model.unquantized_expert_stride = problem.unquantized_expert_stride;
  return model;
}

void point_to(Model& model, const moe_act_buffers& buffers) {
  model.alpha = buffers.alpha;
  model.beta = buffers.beta;
  model.limit = buffers.limit;
  model.bias = buffers.bias;
  model.weight = buffers.weight;
  model.unquantized = buffers.out_unquantized;
}

}  // namespace moe_act

// Everything beyond SwiGLU without parameters in the default numerics, as one plain struct that kernels read at run
// time.
#pragma once

#include "math/activation.hpp"
#include "math/formats.hpp"
#include "math/numerics.hpp"
#include "math/row_addressing.hpp"

namespace moe_act {

struct Model {
  GateFunction function;
  bool gated;                       // else x has H columns and there is no up
  bool rounds_clamped;              // gate and up are rounded to the format of x when they are clamped
  bool limits_gate;                 // are gate and up clamped,
  bool limits_result;               // or the activation and up?
  std::int32_t interleave;          // columns of a group where gate and up take turns; 0: halves
  ActivationParameters parameters;  // of every expert that the arrays say nothing of
  std::int64_t experts;             // of the arrays and of bias
  const float* alpha;               // [experts]; null: parameters'
  const float* beta;                // likewise
  const float* limit;               // likewise
  const void* bias;                 // [experts, stored columns]; null: none
  Format bias_format;               // fp32 or bf16
  std::int64_t bias_expert_stride;  // elements
  const float* weight;              // [weights]; null: none
  std::int64_t weights;
  void* unquantized;  // [rows, H]; null: no copy
  Format unquantized_format;
  std::int64_t unquantized_row_stride;     // elements
  std::int64_t unquantized_expert_stride;  // likewise

  // The last expert stands for those after it: nothing is read beyond the arrays.
  MOE_ACT_HOST_DEVICE std::int64_t known_expert(std::int64_t expert) const { return within(expert, experts - 1); }

  MOE_ACT_HOST_DEVICE bool needs_expert() const { return experts > 0; }

  // expert: a known one.
  MOE_ACT_HOST_DEVICE ActivationParameters parameters_of(std::int64_t expert) const {
    ActivationParameters own = parameters;
    if (alpha != nullptr) own.alpha = alpha[expert];
    if (beta != nullptr) own.beta = beta[expert];
    if (limit != nullptr) own.limit = limit[expert];
    return own;
  }

  MOE_ACT_HOST_DEVICE float weight_at(std::int64_t index) const {
    if (index < 0 || index >= weights) return math::from_bits(math::canonical_nan_bits);
    return weight[index];
  }
};

// The model as one row sees it.
struct RowModel {
  ActivationParameters parameters;
  std::int64_t bias;  // offset of the expert's, elements
  float weight;
  std::int64_t unquantized;  // offset of the row, elements
};

// entry: of a list; expert: of a segment.
MOE_ACT_HOST_DEVICE RowModel row_model(const Model& model, const RowAddressing& rows, std::int64_t entry,
                                       std::int64_t expert, std::int64_t row) {
  RowModel own;
  own.parameters = model.parameters;
  own.bias = 0;
  own.weight = 1.0f;
  if (model.needs_expert()) {
    const std::int64_t known = model.known_expert(rows.is_list() ? rows.expert_of(entry, row) : expert);
    own.parameters = model.parameters_of(known);
    own.bias = known * model.bias_expert_stride;
  }
  if (model.weight != nullptr) own.weight = model.weight_at(rows.weight_index_of(entry, expert, row));
  const std::int64_t part = rows.kind == RowKind::masked ? expert : 0;
  own.unquantized = part * model.unquantized_expert_stride + row * model.unquantized_row_stride;
  return own;
}

}  // namespace moe_act

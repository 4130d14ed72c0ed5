// What a problem says of activation, parameters, bias, weight and the unquantized copy: what its fields may be, and how
// kernels see it.
#pragma once

#include <optional>

#include "core/tensor_view.hpp"
#include "math/model.hpp"

namespace moe_act {

// Columns of a row of x: 2H, or H where there is no up.
bool is_gated(const moe_act_problem& problem);
std::int64_t stored_columns(const moe_act_problem& problem);

// What alpha, beta and limit may be.
inline constexpr const char* alpha_text = "a finite number other than 0";
inline constexpr const char* beta_text = "a finite number";
inline constexpr const char* limit_text = "a positive number";
bool is_alpha(float value);
bool is_beta(float value);
bool is_limit(float value);

// With what fields left at 0 mean, by preset and activation.
void resolve_model(moe_act_problem& problem);

// Throws Error naming the field unless they fit together and to rows and formats, which have been checked.
void require_model(const moe_act_problem& problem);

// Is there anything beyond SwiGLU without parameters in the default numerics?
bool is_general(const moe_act_problem& problem);

// The tensors that only general problems have.
struct ModelTensors {
  std::optional<TensorView> bias, alpha, beta, limit, weight, tile_to_expert, permuted_to_expanded, out_unquantized;

  void require_device_of(const TensorView& x) const;
};
ModelTensors model_tensors(const moe_act_tensors& tensors);

// Fills in what the tensors say; rows and columns are known.
void read_model(moe_act_problem& problem, const ModelTensors& tensors, const moe_act_options& options);

// Without pointers, and those of a launch.
Model model_of(const moe_act_problem& problem);
void point_to(Model& model, const moe_act_buffers& buffers);

}  // namespace moe_act

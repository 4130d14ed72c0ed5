// One call: its tensors, its options, and the way from them to a finished launch.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>

#include "bindings/tensor.hpp"
#include "moe_act/c_api.h"

namespace moe_act::python {

// Raises the Python exception that belongs to a status: ValueError, NotImplementedError, RuntimeError or TypeError.
void check(moe_act_status status);

// What `if value` does in Python.
bool truth(nb::handle value);

// Are all fields equal? By bytes: ones that are no field's, and zeros of either sign, can only make equal structs look
// different, and then what was found before is found again.
template <typename Struct>
bool same(const Struct& a, const Struct& b) {
  static_assert(std::is_trivially_copyable_v<Struct>);
  return std::memcmp(&a, &b, sizeof(Struct)) == 0;
}

// A moe_act.Result.
class Result : public nb::object {
  NB_OBJECT(Result, nb::object, "moe_act._frameworks.Result", PyTuple_Check)
};

struct PlanDeleter {
  void operator()(moe_act_plan* plan) const { moe_act_plan_destroy(plan); }
};
using PlanHandle = std::unique_ptr<moe_act_plan, PlanDeleter>;

// The tensor arguments under their public names; None where there is none. Held by the caller.
struct Arguments {
  nb::handle x, x_scale, out, out_scale, static_scale, expanded_idx_to_permuted_idx, total_num_padded_tokens, rows,
      bias, alpha, beta, limit, weight, out_unquantized;
  static constexpr std::array names{"x",
                                    "x_scale",
                                    "out",
                                    "out_scale",
                                    "static_scale",
                                    "expanded_idx_to_permuted_idx",
                                    "total_num_padded_tokens",
                                    "rows",
                                    "bias",
                                    "alpha",
                                    "beta",
                                    "limit",
                                    "weight",
                                    "out_unquantized"};
};

// The options under their public names: first those that are a str each, then ints, floats, and a str or a
// moe_act.Numerics; None for the default.
struct OptionNames {
  nb::handle x_format, x_scale_layout, out_format, out_scaling, out_scale_layout, activation, gate, padding, pdl,
      x_scale_format, out_scale_format, scale_rounding, unquantized_format, x_block, out_block, expected_rows,
      interleave, gate_bound, up_bound, numerics;
  static constexpr std::array names{"x_format",
                                    "x_scale_layout",
                                    "out_format",
                                    "out_scaling",
                                    "out_scale_layout",
                                    "activation",
                                    "gate",
                                    "padding",
                                    "pdl",
                                    "x_scale_format",
                                    "out_scale_format",
                                    "scale_rounding",
                                    "unquantized_format",
                                    "x_block",
                                    "out_block",
                                    "expected_rows",
                                    "interleave",
                                    "gate_bound",
                                    "up_bound",
                                    "numerics"};
};

// What operators have in the place of moe_act.rows and moe_act.Numerics objects, and of parameters that may be tensors.
struct FlatArguments {
  nb::handle row_kind, row_index, row_count, buffer_row, tile_to_expert, permuted_to_expanded, tile_tokens,
      expert_alignment, num_valid_ids, product_rounding, quantization, clamp_rounding, smallest_amax, smallest_scale,
      alpha_of_expert, beta_of_expert, limit_of_expert;
  static constexpr std::array names{"row_kind",         "row_index",        "row_count",
                                    "buffer_row",       "tile_to_expert",   "permuted_to_expanded",
                                    "tile_tokens",      "expert_alignment", "num_valid_ids",
                                    "product_rounding", "quantization",     "clamp_rounding",
                                    "smallest_amax",    "smallest_scale",   "alpha_of_expert",
                                    "beta_of_expert",   "limit_of_expert"};
};

// What a moe_act.rows object says, or a map, or nothing.
struct RowArguments {
  std::int32_t kind = 0;  // moe_act_row_kind; 0: dense, or a map's
  std::int32_t sorted_rows = 0;
  const char *index_name = "expanded_idx_to_permuted_idx", *count_name = "row_count";
  nb::object index, count, tile_to_expert, permuted_to_expanded;  // null: none
  std::int64_t tile_tokens = 0, expert_alignment = 0, num_valid_ids = 0;

  explicit RowArguments(const Arguments& arguments);
  RowArguments(const FlatArguments& arguments, nb::handle map);
  void apply_to(moe_act_options& options) const;

 private:
  nb::object said_;  // holds the names
};

moe_act_options parse(const OptionNames& names);

// Those parts of numerics that are given.
void parse_parts(moe_act_options& options, const FlatArguments& arguments);

// Those of alpha, beta and limit that are numbers.
void parse_parameters(moe_act_options& options, const Arguments& arguments);

// The options under which tensors give this problem again.
moe_act_options options_of(const moe_act_problem& problem);

// What plans may ask for: anything where x's framework can allocate it, else nothing.
std::int64_t workspace_limit_of(nb::handle x);

class Call {
 public:
  // stream: an int, an object with __cuda_stream__, a framework's stream, or None for the current stream of x's
  // framework.
  Call(const Arguments& arguments, const RowArguments& rows, nb::handle stream);

  // The problem that the tensors and options give. Results that are not given are described as contiguous.
  moe_act_problem describe(const moe_act_options& options);

  // Does a tensor require grad?
  bool requires_grad();

  // Where gradients are off, it does not matter which tensors would have one.
  void ignore_gradients();

  // Are there results that are not given?
  bool allocates(const moe_act_problem& problem) const;

  // Allocates them, with the framework of x. False: all are given.
  bool allocate(const moe_act_problem& problem);

  // Runs a plan for the described problem, without holding the GIL. workspace_bytes: what the plan asks for.
  Result launch(const moe_act_plan* plan, std::int64_t workspace_bytes, bool validate);

 private:
  bool allocates_out_scale(const moe_act_problem& problem) const;
  std::array<Tensor*, 16> imported();

  Arguments arguments_;
  nb::object allocated_out_, allocated_out_scale_;
  void* stream_ = nullptr;
  Tensor x_, x_scale_, out_, out_scale_, static_scale_, row_index_, total_, row_count_;
  Tensor bias_, alpha_, beta_, limit_, weight_, tile_to_expert_, permuted_to_expanded_, out_unquantized_;
  moe_act_buffers buffers_{};
};

// Null: the problem's own device, the planner's own choice.
PlanHandle make_plan(const moe_act_problem& problem, const moe_act_device_info* device,
                     const moe_act_launch_choice* choice = nullptr);

std::int64_t workspace_bytes_of(const moe_act_plan* plan);

// A plan for the problem's own device: that of the last call, if it was for the same problem.
std::shared_ptr<const moe_act_plan> recent_plan(const moe_act_problem& problem);

}  // namespace moe_act::python

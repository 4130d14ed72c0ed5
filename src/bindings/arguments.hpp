// What a call is given, under its public names: tensors, options, rows.
#pragma once

#include <nanobind/nanobind.h>

#include <array>

#include "moe_act/c_api.h"

namespace moe_act::python {

namespace nb = nanobind;

// What `if value` does in Python.
bool truth(nb::handle value);

// Is it a number, and no tensor?
bool is_number(nb::handle value);

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

}  // namespace moe_act::python

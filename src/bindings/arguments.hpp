// What a call is given, under its public names: tensors, options, rows.
#pragma once

#include <nanobind/nanobind.h>

#include <array>
#include <bit>
#include <cstdint>

#include "moe_act/c_api.h"

namespace moe_act::python {

namespace nb = nanobind;

// What `if value` does in Python.
[[gnu::hot]] bool truth(nb::handle value);

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

// Options that come with the tensors: what a moe_act.rows object says beside its own, ...
struct RowOptions {
  std::int32_t kind;  // moe_act_row_kind; 0: dense, or a map's
  std::int32_t sorted_rows;
  std::int64_t tile_tokens, expert_alignment, num_valid_ids;

  bool operator==(const RowOptions&) const = default;
  void apply_to(moe_act_options& options) const;
};

// ... and those of alpha, beta and limit that are numbers.
struct ParameterOptions {
  struct Parameter {
    bool is_given;
    std::int32_t from;  // moe_act_parameter_source; a tensor's: NONE, which takes the place of a plan's number
    float number;

    bool operator==(const Parameter& other) const {  // of the number's bits
      return is_given == other.is_given && from == other.from &&
             std::bit_cast<std::uint32_t>(number) == std::bit_cast<std::uint32_t>(other.number);
    }
  } alpha, beta, limit;

  static ParameterOptions of(const Arguments& arguments) {
    if (arguments.alpha.is_none() && arguments.beta.is_none() && arguments.limit.is_none()) return {};
    return of_some(arguments);
  }
  bool operator==(const ParameterOptions&) const = default;
  void apply_to(moe_act_options& options) const;

 private:
  static ParameterOptions of_some(const Arguments& arguments);
};

// What a moe_act.rows object says, or a map, or nothing.
struct RowArguments {
  RowOptions options{};
  const char *index_name = "expanded_idx_to_permuted_idx", *count_name = "row_count";
  nb::object index, count, tile_to_expert, permuted_to_expanded;  // null: none

  [[gnu::hot]] explicit RowArguments(const Arguments& arguments);
  RowArguments(const FlatArguments& arguments, nb::handle map);

 private:
  nb::object said_;  // holds the names
};

[[gnu::hot]] moe_act_options parse(const OptionNames& names);

// Those parts of numerics that are given.
void parse_parts(moe_act_options& options, const FlatArguments& arguments);

// The options under which tensors give this problem again.
moe_act_options options_of(const moe_act_problem& problem);

}  // namespace moe_act::python

// Part of moe_act/moe_act.hpp: from DLPack tensors to a problem.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <optional>

#include "moe_act/c_api.h"
#include "moe_act/error.hpp"
#include "moe_act/plan.hpp"
#include "moe_act/problem.hpp"

namespace moe_act {

// DLPack tensors of one call, null where there is none; out and out_scale may be allocated once they are described.
struct Tensors {
  std::uint64_t struct_size = sizeof(moe_act_tensors);
  const moe_act_tensor* x = nullptr;             // [rows, 2H]; fp32, fp16, bf16, e4m3, or an integer view of one
  const moe_act_tensor* x_scale = nullptr;       // as its layout says; flat with a total
  const moe_act_tensor* out = nullptr;           // [rows, H]
  const moe_act_tensor* out_scale = nullptr;     // as its layout says; flat with a total
  const moe_act_tensor* static_scale = nullptr;  // fp32, one element
  const moe_act_tensor* row_index = nullptr;     // int32 or int64, as the row kind says; a map without one
  const moe_act_tensor* total_num_padded_tokens = nullptr;  // int32, one element: the scales' stride
  const moe_act_tensor* row_count = nullptr;                // int32 or int64, one element, as the row kind says
  const moe_act_tensor* bias = nullptr;                     // fp32 or bf16 [experts, columns of x]
  const moe_act_tensor* alpha = nullptr;                    // fp32 [experts]
  const moe_act_tensor* beta = nullptr;                     // likewise
  const moe_act_tensor* limit = nullptr;                    // likewise
  const moe_act_tensor* weight = nullptr;                   // fp32, a shape as the rows say
  const moe_act_tensor* tile_to_expert = nullptr;           // int32 or int64 [tiles]
  const moe_act_tensor* permuted_to_expanded = nullptr;     // int32 or int64 [rows]
  const moe_act_tensor* out_unquantized = nullptr;          // fp32, fp16 or bf16 [rows, H]
};

// What tensors cannot say. Left out, each has the default of the C interface.
struct Options {
  std::optional<Format> x_format = {};  // names the format behind an integer view
  std::optional<ScaleLayout> x_scale_layout = {};
  std::optional<Format> out_format = {};
  std::optional<Scaling> out_scaling = {};
  std::optional<ScaleLayout> out_scale_layout = {};
  std::optional<Activation> activation = {};
  std::optional<Gate> gate = {};
  std::optional<Padding> padding = {};
  std::optional<Pdl> pdl = {};
  std::optional<std::int64_t> expected_rows = {};
  std::int64_t workspace_limit = 0;
  std::optional<Format> x_scale_format = {};
  std::optional<Format> out_scale_format = {};
  std::int32_t x_block = 0;  // columns that share a scale; 0 = 128
  std::int32_t out_block = 0;
  std::optional<ScaleRounding> scale_rounding = {};
  std::optional<RowKind> row_kind = {};
  std::optional<SortedRows> sorted_rows = {};
  std::int64_t tile_tokens = 0;
  std::int64_t expert_alignment = 0;
  std::int64_t num_valid_ids = 0;
  std::int32_t interleave = 0;
  std::optional<float> alpha = {};  // per-expert values are tensors
  std::optional<float> beta = {};
  std::optional<float> limit = {};
  float gate_bound = 0.0f;
  float up_bound = 0.0f;
  std::optional<Preset> preset = {};
  std::optional<ProductRounding> product_rounding = {};
  std::optional<Quantization> quantization = {};
  std::optional<ClampRounding> clamp_rounding = {};
  float smallest_amax = 0.0f;  // 0 = the preset's
  float smallest_scale = 0.0f;
  std::optional<Format> unquantized_format = {};
};

struct Description {
  Problem problem;
  Buffers buffers;  // out and out_scale are null where no tensor was given
};

namespace detail {

template <typename Enum>
std::int32_t value_or_default(const std::optional<Enum>& option) {
  return option ? static_cast<std::int32_t>(*option) : 0;
}

}  // namespace detail

// Tensors and options to a validated problem and its pointers.
inline Description describe(const Tensors& tensors, const Options& options = {}) {
  const auto given = std::bit_cast<moe_act_tensors>(tensors);
  auto chosen = detail::sized<moe_act_options>();
  chosen.x_format = detail::value_or_default(options.x_format);
  chosen.x_scale_layout = detail::value_or_default(options.x_scale_layout);
  chosen.out_format = detail::value_or_default(options.out_format);
  chosen.out_scaling = detail::value_or_default(options.out_scaling);
  chosen.out_scale_layout = detail::value_or_default(options.out_scale_layout);
  chosen.activation = detail::value_or_default(options.activation);
  chosen.gate = detail::value_or_default(options.gate);
  chosen.padding = detail::value_or_default(options.padding);
  chosen.pdl = detail::value_or_default(options.pdl);
  chosen.has_expected_rows = options.expected_rows.has_value();
  chosen.expected_rows = options.expected_rows.value_or(0);
  chosen.workspace_limit = options.workspace_limit;
  chosen.x_scale_format = detail::value_or_default(options.x_scale_format);
  chosen.out_scale_format = detail::value_or_default(options.out_scale_format);
  chosen.x_block = options.x_block;
  chosen.out_block = options.out_block;
  chosen.scale_rounding = detail::value_or_default(options.scale_rounding);
  chosen.row_kind = detail::value_or_default(options.row_kind);
  chosen.sorted_rows = detail::value_or_default(options.sorted_rows);
  chosen.tile_tokens = options.tile_tokens;
  chosen.expert_alignment = options.expert_alignment;
  chosen.num_valid_ids = options.num_valid_ids;
  chosen.interleave = options.interleave;
  chosen.alpha_from = options.alpha ? MOE_ACT_PARAMETER_SCALAR : MOE_ACT_PARAMETER_NONE;
  chosen.alpha = options.alpha.value_or(0.0f);
  chosen.beta_from = options.beta ? MOE_ACT_PARAMETER_SCALAR : MOE_ACT_PARAMETER_NONE;
  chosen.beta = options.beta.value_or(0.0f);
  chosen.limit_from = options.limit ? MOE_ACT_PARAMETER_SCALAR : MOE_ACT_PARAMETER_NONE;
  chosen.limit = options.limit.value_or(0.0f);
  chosen.gate_bound = options.gate_bound;
  chosen.up_bound = options.up_bound;
  chosen.preset = detail::value_or_default(options.preset);
  chosen.product_rounding = detail::value_or_default(options.product_rounding);
  chosen.quantization = detail::value_or_default(options.quantization);
  chosen.clamp_rounding = detail::value_or_default(options.clamp_rounding);
  chosen.smallest_amax = options.smallest_amax;
  chosen.smallest_scale = options.smallest_scale;
  chosen.unquantized_format = detail::value_or_default(options.unquantized_format);
  auto problem = detail::sized<moe_act_problem>();
  auto buffers = detail::sized<moe_act_buffers>();
  detail::check(moe_act_describe(&given, &chosen, &problem, &buffers));
  return {Problem(problem), std::bit_cast<Buffers>(buffers)};
}

}  // namespace moe_act

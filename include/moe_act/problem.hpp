// Part of moe_act/moe_act.hpp: what to compute.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "moe_act/c_api.h"
#include "moe_act/error.hpp"

namespace moe_act {

// What the values mean is said at the C enums, which these are.
enum class Format { fp32 = 1, fp16 = 2, bf16 = 3, e4m3 = 4, e5m2 = 5, e2m1 = 6, ue8m0 = 7 };
enum class Scaling { none = 1, block = 2, tensor = 3, row = 4 };
enum class ScaleLayout { column_major = 1, row_major = 2, tma_column_major = 3, packed_ue8m0 = 4, swizzled_128x4 = 5 };
enum class ScaleRounding { none = 1, power_of_two = 2 };
enum class RowKind {
  dense = 1,
  expanded_to_permuted = 2,
  valid_prefix = 3,
  tile_limits = 4,
  row_to_expert = 5,
  sorted_token_ids = 6,
  expert_offsets = 7,
  expert_ends = 8,
  masked = 9,
};
enum class SortedRows { position = 1, id = 2 };
enum class Gate { second_half = 1, first_half = 2, interleaved = 3 };
enum class Activation {
  swiglu = 1,
  swiglu_step = 2,
  geglu = 3,
  geglu_tanh = 4,
  reglu = 5,
  situ = 6,
  silu = 7,  // from here on x is [rows, H]
  gelu = 8,
  gelu_tanh = 9,
  relu = 10,
  relu2 = 11,
};
enum class Preset {
  flashinfer = 1,
  deepgemm = 2,
  vllm_block = 3,
  vllm_masked = 4,
  sglang = 5,
  lmdeploy = 6,
  te_mxfp8 = 7,
};
enum class ProductRounding { none = 1, product = 2, activation_and_product = 3 };
enum class Quantization { divide = 1, multiply = 2, multiply_bf16 = 3 };
enum class ClampRounding { none = 1, input = 2 };
enum class Padding { skip = 1, zero = 2 };
enum class Pdl { off = 1, on = 2, metadata_ready = 3 };

// What to compute, pointer-free: moe_act_problem, its fields open, with names for the usual ways to fill them.
struct Problem : moe_act_problem {
  explicit Problem(const moe_act_problem& problem) : moe_act_problem(problem) {}

  // Dense rows on the CPU, x [rows, 2H] to out [rows, H], all contiguous, scales column major, e4m3 output block
  // scaled, every pointer aligned to 16 bytes as far as its rows are. The calls below state what differs.
  static Problem contiguous(Format x, Format out, std::int64_t rows, std::int64_t columns) {
    moe_act_problem problem;
    detail::check(
        moe_act_problem_init(&problem, static_cast<std::int32_t>(x), static_cast<std::int32_t>(out), rows, columns));
    return Problem(problem);
  }

  Problem& on_cuda(std::int32_t device) { return put(device_type, MOE_ACT_DEVICE_CUDA).put(device_id, device); }
  // The rows are those named by an int32 map [entries], expanded_idx_to_permuted_idx; -1 is skipped.
  Problem& rows_of_map(std::int64_t count) {
    return put(row_kind, MOE_ACT_ROWS_EXPANDED_TO_PERMUTED).put(entries, count);
  }
  // Other conventions; what each means is said at moe_act_row_kind. Indices and counts are int32 unless set otherwise.
  Problem& rows_of_prefix() { return put(row_kind, RowKind::valid_prefix); }
  Problem& rows_of_tiles(std::int64_t tiles, std::int64_t tokens) {
    return put(row_kind, RowKind::tile_limits).put(entries, tiles).put(tile_tokens, tokens);
  }
  Problem& rows_of_experts() { return put(row_kind, RowKind::row_to_expert).put(entries, rows); }
  Problem& rows_of_sorted_ids(std::int64_t positions, std::int64_t valid_ids, SortedRows buffer_row) {
    put(row_kind, RowKind::sorted_token_ids).put(entries, positions);
    return put(num_valid_ids, valid_ids).put(sorted_rows, buffer_row);
  }
  Problem& rows_of_offsets(std::int64_t expert_count) {
    return put(row_kind, RowKind::expert_offsets).put(experts, expert_count);
  }
  Problem& rows_of_ends(std::int64_t expert_count, std::int64_t alignment) {
    return put(row_kind, RowKind::expert_ends).put(experts, expert_count).put(expert_alignment, alignment);
  }
  // Every buffer has a part for each expert, one directly after the other; state it before the scales' layouts.
  Problem& rows_masked(std::int64_t expert_count) {
    put(row_kind, RowKind::masked).put(experts, expert_count);
    put(x_expert_stride, rows * x_row_stride).put(out_expert_stride, rows * out_row_stride);
    scales_of_x(static_cast<ScaleLayout>(x_scale_layout), x_block);
    return scales_of_out(static_cast<ScaleLayout>(out_scale_layout), out_block);
  }
  Problem& index_of(std::int32_t bits) { return put(index_bits, bits).put(count_bits, bits); }
  // Bytes that launches may ask for: large problems run faster with some, see Plan::info().workspace_bytes.
  Problem& allow_workspace(std::int64_t bytes) { return put(workspace_limit, bytes); }
  Problem& expect_rows(std::int64_t count) { return put(expected_rows, count); }  // a hint, never a limit
  Problem& set(Gate value) { return put(gate, value); }
  // Without a gate x is [rows, H]: state it before the scales' layouts.
  Problem& set(Activation value) {
    if (value >= Activation::silu) put(x_row_stride, columns);
    return put(activation, value);
  }
  Problem& set(Preset value) { return put(preset, value); }
  Problem& set(ProductRounding value) { return put(product_rounding, value); }
  Problem& set(Quantization value) { return put(quantization, value); }
  Problem& set(ClampRounding value) { return put(clamp_rounding, value); }
  // Gate and up take turns, so many columns of each.
  Problem& interleaved_by(std::int32_t group) { return set(Gate::interleaved).put(interleave, group); }
  // One number for all rows; the per-expert calls below are for buffers [experts] instead.
  Problem& alpha_of(float value) { return put(alpha_from, MOE_ACT_PARAMETER_SCALAR).put(alpha, value); }
  Problem& beta_of(float value) { return put(beta_from, MOE_ACT_PARAMETER_SCALAR).put(beta, value); }
  Problem& limit_of(float value) { return put(limit_from, MOE_ACT_PARAMETER_SCALAR).put(limit, value); }
  Problem& bounds_of(float gate_value, float up_value) { return put(gate_bound, gate_value).put(up_bound, up_value); }
  Problem& alpha_per_expert(std::int64_t count) {
    return put(alpha_from, MOE_ACT_PARAMETER_PER_EXPERT).put(parameter_experts, count);
  }
  Problem& beta_per_expert(std::int64_t count) {
    return put(beta_from, MOE_ACT_PARAMETER_PER_EXPERT).put(parameter_experts, count);
  }
  Problem& limit_per_expert(std::int64_t count) {
    return put(limit_from, MOE_ACT_PARAMETER_PER_EXPERT).put(parameter_experts, count);
  }
  // A bias [experts, columns of x], fp32 or bf16, compact and aligned to `alignment` bytes.
  Problem& bias_of(Format format, std::int64_t count, std::int32_t alignment) {
    const bool gated = activation < static_cast<std::int32_t>(Activation::silu);
    put(bias_format, format).put(bias_alignment, alignment).put(bias_expert_stride, gated ? 2 * columns : columns);
    return put(parameter_experts, count);
  }
  // Routing weights, applied here: the rows must not be weighed again after the second GEMM.
  Problem& weigh_by(std::int64_t count) { return put(has_weight, 1).put(weights, count); }
  // Which expert a tile of rows (or of sorted positions) belongs to, where the rows do not say.
  Problem& experts_of_tiles(std::int64_t tiles, std::int64_t tokens) {
    return put(expert_tiles, tiles).put(tile_tokens, tokens);
  }
  // A compact copy of the result before it is quantized; state it after the rows.
  Problem& copy_unquantized(Format format, std::int32_t alignment) {
    put(unquantized_format, format).put(unquantized_alignment, alignment).put(unquantized_row_stride, columns);
    return put(unquantized_expert_stride, row_kind == MOE_ACT_ROWS_MASKED ? rows * columns : 0);
  }
  Problem& set(Padding value) { return put(padding, value); }
  Problem& set(Pdl value) { return put(pdl, value); }
  Problem& set(Scaling value) { return put(out_scaling, value); }
  Problem& set(ScaleRounding value) { return put(scale_rounding, value); }
  // Compact scales, one for so many columns: [blocks, rows] when column major, [rows, blocks] when row major.
  Problem& scales_of_x(ScaleLayout layout, std::int32_t block = 128) {
    put(x_scale_layout, layout).put(x_block, block);
    const bool gated = activation < static_cast<std::int32_t>(Activation::silu);
    return compact(layout, block, gated ? 2 * columns : columns, x_scale_stride, x_scale_expert_stride);
  }
  Problem& scales_of_out(ScaleLayout layout, std::int32_t block = 128) {
    put(out_scale_layout, layout).put(out_block, block);
    return compact(layout, block, columns, out_scale_stride, out_scale_expert_stride);
  }
  // All scales column major with the stride total_num_padded_tokens[0], which only the device knows.
  Problem& scale_strides_on_device() {
    put(x_scale_layout, ScaleLayout::column_major).put(x_scale_stride, MOE_ACT_STRIDE_ON_DEVICE);
    return put(out_scale_layout, ScaleLayout::column_major).put(out_scale_stride, MOE_ACT_STRIDE_ON_DEVICE);
  }

 private:
  template <typename Field, typename Value>
  Problem& put(Field& field, Value value) {
    field = static_cast<Field>(value);
    return *this;
  }
  Problem& compact(ScaleLayout layout, std::int32_t block, std::int64_t scaled_columns, std::int64_t& stride,
                   std::int64_t& expert_stride) {
    const auto up = [](std::int64_t value, std::int64_t step) { return (value + step - 1) / step * step; };
    const std::int64_t width = block > 0 ? block : 128;
    const std::int64_t blocks = (scaled_columns + width - 1) / width;
    const std::int64_t segments = row_kind == MOE_ACT_ROWS_MASKED || experts == 0 ? 0 : std::min(experts, rows);
    const std::int64_t quads = (blocks + 3) / 4;
    std::int64_t part = rows * blocks;
    stride = layout == ScaleLayout::row_major ? blocks : rows;
    if (layout == ScaleLayout::tma_column_major || layout == ScaleLayout::packed_ue8m0) {
      stride = up(rows, 4);
      part = stride * (layout == ScaleLayout::packed_ue8m0 ? quads : blocks);
    } else if (layout == ScaleLayout::swizzled_128x4) {
      stride = segments > 0 ? (rows + 127 * segments) / 128 * 128 : up(rows, 128);
      part = stride * quads * 4;
    }
    expert_stride = row_kind == MOE_ACT_ROWS_MASKED ? part : 0;
    return *this;
  }
};

}  // namespace moe_act

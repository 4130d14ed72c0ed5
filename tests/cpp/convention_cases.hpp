// Cases of every row convention and scale layout, what of their rows is live, and their problems; included once by a
// test's only source file.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "moe_act/moe_act.hpp"

namespace conventions {

using moe_act::Format;
using moe_act::RowKind;
using moe_act::ScaleLayout;
using moe_act::Scaling;

inline constexpr std::int64_t capacity = 48;   // rows of all buffers
inline constexpr std::int64_t columns = 1088;  // a partial chunk for every shape, and a partial block

struct Case {
  RowKind kind;
  Format input = Format::e4m3;
  Format output = Format::e4m3;
  Scaling scaling = Scaling::block;
  ScaleLayout layout = ScaleLayout::column_major;
  std::int32_t block = 32;  // not 128 where rows are dense: plain scales are the other kernels' work
  moe_act::Padding padding = moe_act::Padding::skip;
  std::int32_t index_bits = 32;
  bool by_id = false;
  bool many_experts = false;
  bool general = false;  // a bias and an alpha for each expert, a weight for each row, an unquantized copy
  moe_act::Activation activation = moe_act::Activation::swiglu;
  std::int32_t interleave = 0;  // 0: halves
  moe_act::Preset preset = moe_act::Preset::flashinfer;
  bool has_tile_experts = false;  // tiles of 8 rows, of which the third is no expert's
  moe_act::Pdl pdl = moe_act::Pdl::off;
};

inline bool is_gated(const Case& test) {
  return test.activation < moe_act::Activation::silu;
}

// Columns of a row of x.
inline std::int64_t stored_columns(const Case& test) {
  return is_gated(test) ? 2 * columns : columns;
}

// Do rows have to be told which weight is theirs?
inline bool needs_permuted_to_expanded(const Case& test) {
  return test.kind == RowKind::tile_limits || test.kind == RowKind::row_to_expert ||
         test.kind == RowKind::expert_offsets || test.kind == RowKind::expert_ends;
}

inline const std::vector<std::int64_t> tile_experts = {0, 2, -1, 6, 5, 3};
inline constexpr std::int64_t tile_tokens = 8;

// Of alpha and bias; row to expert names the last of seven.
inline std::int64_t parameter_experts(const Case& test) {
  return test.kind == RowKind::expert_offsets ? 4 : 7;
}

// The index of a case, and the rows that it says are live.
struct Rows {
  std::vector<std::int64_t> index;
  std::optional<std::int64_t> count;
  std::set<std::int64_t> live;

  void add(std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) live.insert(row);
  }
};

inline Rows rows_of(const Case& test) {
  Rows rows;
  switch (test.kind) {
    case RowKind::dense: rows.add(0, capacity); break;
    case RowKind::expanded_to_permuted:
      for (std::int64_t row = 0; row < capacity; row += 2) rows.index.insert(rows.index.end(), {-1, row, -1});
      for (std::int64_t row = 0; row < capacity; row += 2) rows.live.insert(row);
      break;
    case RowKind::valid_prefix:
      rows.count = 29;
      rows.add(0, 29);
      break;
    case RowKind::tile_limits:
      rows.index = {5, 8, 24, 27, 40, 48};
      rows.count = 5;
      for (const auto& [begin, end] : {std::pair{0, 5}, {16, 24}, {24, 27}, {32, 40}}) rows.add(begin, end);
      break;
    case RowKind::row_to_expert:
      for (std::int64_t row = 0; row < capacity; ++row) rows.index.push_back(row % 3 == 0 ? -1 : row / 7);
      for (std::int64_t row = 0; row < capacity; ++row)
        if (row % 3 != 0) rows.live.insert(row);
      break;
    case RowKind::sorted_token_ids:
      rows.count = 41;
      for (std::int64_t position = 0; position < capacity; ++position) {
        const std::int64_t id = position % 4 == 0 ? 1000 : position * 5 % capacity;
        rows.index.push_back(id);
        if (position < 41 && id < 45) rows.live.insert(test.by_id ? id : position);
      }
      break;
    case RowKind::expert_offsets:
      if (test.many_experts) {  // more than a CTA counts at once
        for (std::int64_t expert = 0; expert <= 700; ++expert) rows.index.push_back((expert + 15) / 16);
        rows.add(0, rows.index.back());
      } else {
        rows.index = {0, 5, 5, 30, 41};
        rows.add(0, 41);
      }
      break;
    case RowKind::expert_ends:  // from 0, 4, 12, which is behind its end, and 12
      rows.index = {3, 9, 9, 33};
      for (const auto& [begin, end] : {std::pair{0, 3}, {4, 9}, {12, 33}}) rows.add(begin, end);
      break;
    case RowKind::masked:  // three experts of 16 rows
      rows.index = {5, 0, 16};
      rows.add(0, 5);
      rows.add(32, 48);
      break;
  }
  if (test.has_tile_experts)
    std::erase_if(rows.live, [](std::int64_t row) { return tile_experts[row / tile_tokens] < 0; });
  return rows;
}

inline std::int64_t weights(const Case& test, const Rows& rows) {
  return test.kind == RowKind::expanded_to_permuted ? static_cast<std::int64_t>(rows.index.size()) : capacity;
}

inline moe_act::Problem problem_of(const Case& test, const Rows& rows) {
  const auto entries = static_cast<std::int64_t>(rows.index.size());
  const bool masked = test.kind == RowKind::masked;
  auto problem = moe_act::Problem::contiguous(test.input, test.output, masked ? capacity / entries : capacity, columns);
  switch (test.kind) {
    case RowKind::dense: break;
    case RowKind::expanded_to_permuted: problem.rows_of_map(entries); break;
    case RowKind::valid_prefix: problem.rows_of_prefix(); break;
    case RowKind::tile_limits: problem.rows_of_tiles(entries, tile_tokens); break;
    case RowKind::row_to_expert: problem.rows_of_experts(); break;
    case RowKind::sorted_token_ids:
      problem.rows_of_sorted_ids(entries, 45, test.by_id ? moe_act::SortedRows::id : moe_act::SortedRows::position);
      break;
    case RowKind::expert_offsets: problem.rows_of_offsets(entries - 1); break;
    case RowKind::expert_ends: problem.rows_of_ends(entries, 4); break;
    case RowKind::masked: problem.rows_masked(entries); break;
  }
  problem.set(test.activation).set(test.preset).set(test.scaling).set(test.padding).index_of(test.index_bits);
  problem.scales_of_x(test.layout, test.block).scales_of_out(test.layout, test.block);
  if (test.scaling == Scaling::row && masked) problem.out_scale_expert_stride = problem.rows;
  if (test.general) {
    const std::int64_t experts = parameter_experts(test);
    if (is_gated(test)) problem.alpha_per_expert(experts);
    problem.bias_of(Format::fp32, experts, 16).weigh_by(weights(test, rows));
    if (needs_permuted_to_expanded(test)) problem.permuted_to_expanded_bits = test.index_bits;
    if (test.scaling != Scaling::none) problem.copy_unquantized(Format::bf16, 16);
  }
  if (test.interleave != 0) problem.interleaved_by(test.interleave);
  if (test.has_tile_experts) {
    problem.experts_of_tiles(static_cast<std::int64_t>(tile_experts.size()), tile_tokens);
    problem.tile_to_expert_bits = test.index_bits;
  }
  return problem;
}

inline bool is_ue8m0(ScaleLayout layout) {
  return layout == ScaleLayout::packed_ue8m0 || layout == ScaleLayout::swizzled_128x4;
}

}  // namespace conventions

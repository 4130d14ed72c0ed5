// A scale tensor as a problem describes it: what its fields may be, how large it is, and how kernels see it.
#pragma once

#include <string>

#include "core/tensor_view.hpp"
#include "math/row_source.hpp"
#include "math/scale_view.hpp"

namespace moe_act {

struct ScaleSpec {
  const char* name;       // "x_scale" or "out_scale"
  std::int32_t layout;    // moe_act_scale_layout
  Format format;          // fp32 or ue8m0
  std::int32_t block;     // columns that share a scale; 0: one for the whole row
  std::int64_t rows;      // that have scales: of each expert where rows are masked
  std::int64_t blocks;    // of a row
  bool masked;            // every expert has a part of its own
  std::int64_t parts;     // experts of masked rows, else 1
  std::int64_t segments;  // experts whose rows the swizzled layout pads each for itself, else 0
  std::int64_t stride;
  std::int64_t expert_stride;

  bool column_like() const;  // rows adjacent: column major, TMA column major, packed
  bool packed() const { return layout == MOE_ACT_SCALE_LAYOUT_PACKED_UE8M0; }
  bool swizzled() const { return layout == MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4; }
  bool for_tma() const { return packed() || layout == MOE_ACT_SCALE_LAYOUT_TMA_COLUMN_MAJOR; }
  bool per_row() const { return block == 0; }
  std::int64_t quads() const { return (blocks + math::quad_blocks - 1) / math::quad_blocks; }
  int element_bytes() const { return packed() ? 4 : bytes_per_element(format); }
  // Rows that the swizzled layout has room for: whole tiles, for each segment.
  std::int64_t padded_rows() const;
  // The distances of a compact tensor.
  std::int64_t compact_stride() const;
  std::int64_t compact_expert_stride() const;
  std::int64_t part_elements() const;  // from the first to past the last element of one expert's part
};

ScaleSpec x_scale_spec(const moe_act_problem& problem);
ScaleSpec out_scale_spec(const moe_act_problem& problem);

// Throws Error naming the tensor unless the fields fit together.
void require_scale(const ScaleSpec& spec);

// Bytes from the first to past the last element.
std::int64_t scale_bytes(const ScaleSpec& spec);

math::ScaleView view_of(const ScaleSpec& spec);

// Sets stride and expert_stride to the tensor's, whose shape it checks.
void read_strides(ScaleSpec& spec, const TensorView& tensor);

// outer * stride + inner elements in bytes, or an error naming the argument if that leaves the address space.
std::int64_t extent_bytes(const char* argument, std::int64_t outer, std::int64_t stride, std::int64_t inner, int bytes);

}  // namespace moe_act

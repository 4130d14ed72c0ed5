// The one argument struct of every kernel, CPU and CUDA. A device file includes this and src/math, nothing else of
// ours.
#pragma once

#include <cstdint>

#include "math/entry_rule.hpp"
#include "math/formats.hpp"
#include "math/marks.hpp"
#include "math/model.hpp"
#include "math/scale_view.hpp"

namespace moe_act {

// waits: no caller's choice, but that of the last kernel of a chain of ours, whose dependents are none of ours.
enum class Pdl : std::int32_t { off = 1, on = 2, metadata_ready = 3, waits = 4 };

// Before anything is read: on and waits. One instruction.
MOE_ACT_HOST_DEVICE bool waits_first(Pdl pdl) {
  return static_cast<std::int32_t>(pdl) % 2 == 0;
}

// Dense rows in any scale layout, by straight code, and which of it, in place of entries_per_cta: for scales of x and
// of results that are ue8m0, the others fp32, or for any.
inline constexpr std::int32_t dense_rows = -1;
inline constexpr std::int32_t dense_rows_ue8m0_x = -2;
inline constexpr std::int32_t dense_rows_ue8m0_out = -3;
inline constexpr std::int32_t dense_rows_ue8m0_both = -4;
inline constexpr std::int32_t dense_rows_any_form = -5;

// What such code needs to know beside strides, for any form the rows alone: for fp32 scales those of a row and a block,
// for ue8m0 ones those of a row (swizzled: of 128) and of four blocks. Bytes.
struct DenseScales {
  std::uint32_t block_log2;  // columns that share a scale: 5, 6, 7
  bool swizzled;
  std::uint32_t block_stride;  // ue8m0
};
struct DenseRule {
  std::uint32_t rows;
  bool rounds_to_power_of_two;
  DenseScales x_scale, out_scale;
  std::uint32_t gate_scale, up_scale;  // from a row's first scale of x to that of the half
};

// In the order of use: a CUDA kernel's parameters arrive in lines of 64 bytes, the first look at each line is a miss,
// and one miss after the other takes 55 ns (H100, 2026-11-26, bench/NOTES.md). Few rows take 2000 in all.
struct KernelArguments {
  // What says which rows there are: one of these, by schedule. CPU kernels read `rows`, below, and general ones do, but
  // of lists that have a rule.
  union {
    RowSource source;                    // rows, tiles, sparse, loop
    EntryRule entries;                   // list, entry, and marked rows
    SegmentRule<std::int32_t> segments;  // segments
    SpanRule span;                       // span
    DenseRule dense;                     // list of dense rows, where the grid covers all of their columns
  };
  Pdl pdl;
  std::int32_t entries_per_cta;  // that a CTA looks at, or rows that it takes (span: one); list: 0 where the grid
                                 // covers all entries, one for each row of warps, negative where these are rows
                                 // and it covers their columns, too; rows: 0 where they are dense and no kernel is
                                 // waited for
  const std::int32_t* total_num_padded_tokens;  // [1] when a scale's block stride lies on the device; else null
  const void* x;                                // [rows, 2H], input format of the key
  const void* x_scale;                          // e4m3 input: one per row and block of stored columns
  // Strides of 32 bits, so that an address is one multiplication: 64 bits of product, added to the pointer.
  std::uint32_t x_row_bytes;
  std::uint32_t columns;               // H
  std::uint32_t gate_offset;           // stored column where the gate begins: 0 or H
  std::uint32_t up_offset;             // and the up projection: H or 0
  math::ScaleStrides x_scale_strides;  // a block stride of 0 stands for total_num_padded_tokens[0] scales; dense: above
  math::ScaleStrides out_scale_strides;  // likewise
  void* out_scale;                       // block or row scaling; else null
  void* out;                             // [rows, H], out_format
  std::uint32_t out_row_bytes;
  Format out_format;
  const float* static_scale;  // [1] tensor scaling; else null
  MarkHead* marks;  // [1], and a mark for each row of x and out: marked rows, which `entries` names; else null
  // From here on what the kernels for rows as in `source` never look at.
  std::uint32_t x_expert_bytes;  // masked rows only, and the next three
  std::uint32_t out_expert_bytes;
  std::uint32_t x_scale_expert_bytes;
  std::uint32_t out_scale_expert_bytes;
  // And from here on those for fp32 scales of 128 columns.
  math::NarrowScaleView x_scale_layout;  // in any layout and form, where 31 bits address them
  math::NarrowScaleView out_scale_layout;
  Numerics numerics;
  // And those for strides of 32 bits.
  std::int64_t x_row_stride;  // elements
  std::int64_t out_row_stride;
  std::int64_t x_expert_stride;
  std::int64_t out_expert_stride;
  math::ScaleView x_scale_view;  // the same for everybody else
  math::ScaleView out_scale_view;
  RowAddressing rows;
  std::int64_t out_padded_rows;  // rows that out_scale has room for, of each part
  bool scale_per_row;            // one scale of out for a whole row
  bool is_general;               // is there a model?
  Model model;                   // general kernels only
};

// The block stride that a kernel uses, once total_num_padded_tokens[0] is known.
MOE_ACT_HOST_DEVICE math::ScaleStrides resolve(math::ScaleStrides strides, std::int32_t total_num_padded_tokens) {
  const auto scales = static_cast<std::uint32_t>(total_num_padded_tokens);
  return {strides.row, strides.block == 0 ? scales * std::uint32_t{sizeof(float)} : strides.block};
}

}  // namespace moe_act

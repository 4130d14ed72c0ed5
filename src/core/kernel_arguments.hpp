// The one argument struct of every kernel, CPU and CUDA. A device file includes this and src/math, nothing else of
// ours.
#pragma once

#include <cstdint>

#include "math/entry_rule.hpp"
#include "math/formats.hpp"
#include "math/model.hpp"
#include "math/scale_view.hpp"

namespace moe_act {

// waits: no caller's choice, but that of the last kernel of a chain of ours, whose dependents are none of ours.
enum class Pdl : std::int32_t { off = 1, on = 2, metadata_ready = 3, waits = 4 };

// In the order of use: a CUDA kernel's parameters arrive in lines of 64 bytes, and the first look at each line is a
// miss. Spread over 400 bytes they cost 0.2 us of the 1.6 that one token takes (H100, 2026-11-22, bench/NOTES.md).
struct KernelArguments {
  RowSource source;
  const std::int32_t* total_num_padded_tokens;  // [1] when a scale's block stride lies on the device; else null
  Pdl pdl;
  Format out_format;
  const void* x;                         // [rows, 2H], input format of the key
  const void* x_scale;                   // e4m3 input: one per row and block of stored columns
  std::int64_t x_row_stride;             // elements
  std::uint32_t columns;                 // H
  std::uint32_t gate_offset;             // stored column where the gate begins: 0 or H
  std::uint32_t up_offset;               // and the up projection: H or 0
  std::int32_t entries_per_cta;          // that a CTA looks at, or rows that it takes; list: 0 where the grid covers
                                         // all entries, one for each row of warps
  math::ScaleStrides x_scale_strides;    // a negative block stride stands for total_num_padded_tokens[0]
  math::ScaleStrides out_scale_strides;  // likewise
  void* out;                             // [rows, H], out_format
  void* out_scale;                       // block or row scaling; else null
  std::int64_t out_row_stride;           // elements
  const float* static_scale;             // [1] tensor scaling; else null
  // From here on what the kernels for rows as in `source` never look at.
  math::ScaleView x_scale_view;  // in any layout and form
  math::ScaleView out_scale_view;
  EntryRule entries;  // lists that have one
  RowAddressing rows;
  std::int64_t x_expert_stride;  // elements; masked rows only, and the next three
  std::int64_t out_expert_stride;
  std::int64_t x_scale_expert_stride;
  std::int64_t out_scale_expert_stride;
  // And from here on those for fp32 scales of 128 columns.
  std::int64_t out_padded_rows;  // rows that out_scale has room for, of each part
  bool scale_per_row;            // one scale of out for a whole row
  bool is_general;               // is there a model?
  Numerics numerics;
  Model model;  // general kernels only
};

// The block stride that a kernel uses, once total_num_padded_tokens[0] is known.
MOE_ACT_HOST_DEVICE math::ScaleStrides resolve(math::ScaleStrides strides, std::int64_t total_num_padded_tokens) {
  return {strides.row, strides.block < 0 ? total_num_padded_tokens : strides.block};
}

}  // namespace moe_act

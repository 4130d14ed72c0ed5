// Every scale layout, as one plain struct: where the scale of a row and a block lies, and what form it has.
#pragma once

#include "math/formats.hpp"
#include "math/scale.hpp"

namespace moe_act::math {

inline constexpr int swizzle_rows_log2 = 7;
inline constexpr int swizzle_rows =
    1 << swizzle_rows_log2;  // of a tile of the swizzled layout, 4 blocks a row: 512 bytes
inline constexpr int quad_blocks_log2 = 2;
inline constexpr int quad_blocks = 1 << quad_blocks_log2;  // blocks that share a word (packed) or a tile (swizzled)

// Within a tile of the swizzled layout: from its first scale to that of a row's first block, bytes.
MOE_ACT_HOST_DEVICE std::uint32_t offset_in_tile(std::uint32_t row) {
  return row % 32 * 16 + row % swizzle_rows / 32 * 4;
}

// Strides in bytes. The layouts differ in strides alone, but for the swizzled one's order of rows within a tile:
// column and row major have a quad stride of 4 blocks, packed words one of a column of words.
template <typename Offset>
struct BasicScaleView {
  Format format;            // fp32 or ue8m0
  bool swizzled;            // row_stride is then that of 128 rows
  bool fills_quads;         // bytes behind a row's last block, up to a multiple of 4 blocks, are written as 0
  std::int32_t block_log2;  // columns that share a scale: 5, 6, 7; 31 where the whole row does
  Offset segment_stride;    // between the experts' parts of a masked tensor
  Offset row_stride;
  Offset quad_stride;
  Offset block_stride;  // negative: 4 bytes times total_num_padded_tokens[0], and 16 of them a quad

  MOE_ACT_HOST_DEVICE Offset row_offset(Offset segment, Offset row) const {
    const Offset first = segment * segment_stride;
    if (!swizzled) return first + row * row_stride;
    return first + (row >> swizzle_rows_log2) * row_stride +
           static_cast<Offset>(offset_in_tile(static_cast<std::uint32_t>(row)));
  }
  MOE_ACT_HOST_DEVICE Offset blocks_of(Offset columns) const { return ((columns - 1) >> block_log2) + 1; }
  MOE_ACT_HOST_DEVICE Offset block_offset(Offset block) const {
    return (block >> quad_blocks_log2) * quad_stride + (block & (quad_blocks - 1)) * block_stride;
  }
};
using ScaleView = BasicScaleView<std::int64_t>;
// Of tensors that 31 bits suffice to address: a third of the instructions.
using NarrowScaleView = BasicScaleView<std::int32_t>;

// Strides that 32 bits cannot hold are of axes of one element: nothing is ever multiplied by them but 0.
inline NarrowScaleView narrow(const ScaleView& view) {
  const auto cut = [](std::int64_t stride) {
    return static_cast<std::int32_t>(stride < INT32_MAX ? stride : INT32_MAX);
  };
  return {view.format,          view.swizzled,         view.fills_quads,      view.block_log2, cut(view.segment_stride),
          cut(view.row_stride), cut(view.quad_stride), cut(view.block_stride)};
}

// With the stride that lies on the device, once it is known.
template <typename Offset>
MOE_ACT_HOST_DEVICE BasicScaleView<Offset> resolve(BasicScaleView<Offset> view, Offset total_num_padded_tokens) {
  if (view.block_stride < 0) {
    view.block_stride = total_num_padded_tokens * static_cast<Offset>(sizeof(float));
    view.quad_stride = quad_blocks * view.block_stride;
  }
  return view;
}

// 2^(code - 127); 0xFF is NaN.
MOE_ACT_HOST_DEVICE float decode_ue8m0(std::uint32_t code) {
  const std::uint32_t normal = code << 23;
  return from_bits(code == 0 ? 0x00400000u : code == 0xffu ? canonical_nan_bits : normal);
}

MOE_ACT_HOST_DEVICE float load_scale(const void* scale, const ScaleView& view, std::int64_t offset) {
  const auto* place = static_cast<const unsigned char*>(scale) + offset;
  if (view.format == Format::ue8m0) return decode_ue8m0(*place);
  return *reinterpret_cast<const float*>(place);
}

// Of a power of two, or 0xFF of infinity.
MOE_ACT_HOST_DEVICE unsigned char encode_ue8m0(float scale) {
  return static_cast<unsigned char>(to_bits(scale) >> 23);
}

template <typename View>
MOE_ACT_HOST_DEVICE void store_scale(void* scale, const View& view, std::int64_t offset, float value) {
  auto* place = static_cast<unsigned char*>(scale) + offset;
  if (view.format == Format::ue8m0)
    *place = encode_ue8m0(value);
  else
    *reinterpret_cast<float*>(place) = value;
}

// Bytes of a row's scales behind its last block, up to a multiple of 4 blocks.
MOE_ACT_HOST_DEVICE void fill_quad(void* scale, const ScaleView& view, std::int64_t row_offset, std::int64_t blocks) {
  if (!view.fills_quads) return;
  for (std::int64_t block = blocks; block % quad_blocks != 0; ++block)
    static_cast<unsigned char*>(scale)[row_offset + view.block_offset(block)] = 0;
}

// What a row that is padding has for scales.
MOE_ACT_HOST_DEVICE void store_scales_of_one(void* scale, const ScaleView& view, std::int64_t row_offset,
                                             std::int64_t columns) {
  const std::int64_t blocks = view.blocks_of(columns);
  for (std::int64_t block = 0; block < blocks; ++block)
    store_scale(scale, view, row_offset + view.block_offset(block), 1.0f);
  fill_quad(scale, view, row_offset, blocks);
}

}  // namespace moe_act::math

// A warp's part of a row, moved: both halves of x, scales, codes, scales, and between loads and stores nothing but xor.
#pragma once

#include <cstdint>

#include "device_data.hpp"

namespace bench {

inline constexpr int warp_lanes = 32;
inline constexpr unsigned all_lanes = 0xffffffffu;

template <int words>
__device__ __forceinline__ void load(std::uint32_t (&target)[words], const std::uint8_t* source) {
  if constexpr (words == 1) {
    target[0] = __ldg(reinterpret_cast<const unsigned*>(source));
  } else if constexpr (words == 2) {
    const uint2 pair = __ldg(reinterpret_cast<const uint2*>(source));
    target[0] = pair.x, target[1] = pair.y;
  } else {
    static_assert(words % 4 == 0);
#pragma unroll
    for (int i = 0; i < words; i += 4) {
      const uint4 four = __ldg(reinterpret_cast<const uint4*>(source) + i / 4);
      target[i] = four.x, target[i + 1] = four.y, target[i + 2] = four.z, target[i + 3] = four.w;
    }
  }
}

template <int words>
__device__ __forceinline__ void store(std::uint8_t* target, const std::uint32_t (&source)[words]) {
  if constexpr (words == 1)
    *reinterpret_cast<unsigned*>(target) = source[0];
  else if constexpr (words == 2)
    *reinterpret_cast<uint2*>(target) = {source[0], source[1]};
  else
    *reinterpret_cast<uint4*>(target) = {source[0], source[1], source[2], source[3]};
}

// Where a row begins in each buffer, its scales in the first block's column of them.
struct MovedRow {
  const std::uint8_t* x;
  const float* x_scale;
  std::uint8_t* out;
  float* out_scale;
};

// A warp moves 32 * columns * vectors output columns of a row. A vector, the columns that the warp's lanes hold side by
// side, is whole blocks. whole: all columns lie in the row. stride: between scales of adjacent blocks.
template <int element_bytes, int columns, int vectors, bool whole>
__device__ __forceinline__ void move_chunk(const MovedRow& row, std::int64_t stride, std::uint32_t row_columns,
                                           std::uint32_t first) {
  constexpr int vector_columns = warp_lanes * columns;
  constexpr int out_words = columns / 4;
  constexpr int in_words = out_words * element_bytes;
  constexpr bool scaled = element_bytes == 1;
  static_assert(vector_columns % block_columns == 0);

  const std::uint32_t lane_column = first + threadIdx.x * columns;
  const auto inside = [&](int v) { return whole || lane_column + v * vector_columns < row_columns; };
  const std::uint8_t* up_source = row.x + std::int64_t{lane_column} * element_bytes;
  const std::uint8_t* gate_source = up_source + std::int64_t{row_columns} * element_bytes;

  std::uint32_t up[vectors][in_words], gate[vectors][in_words];
  float up_scale[vectors], gate_scale[vectors];
#pragma unroll
  for (int v = 0; v < vectors; ++v) {
    if (!inside(v)) continue;
    load(up[v], up_source + v * vector_columns * element_bytes);
    load(gate[v], gate_source + v * vector_columns * element_bytes);
  }
  if constexpr (scaled) {
#pragma unroll
    for (int v = 0; v < vectors; ++v) {
      if (!inside(v)) continue;
      const std::uint32_t column = lane_column + v * vector_columns;
      up_scale[v] = __ldg(row.x_scale + stride * (column / block_columns));
      gate_scale[v] = __ldg(row.x_scale + stride * ((row_columns + column) / block_columns));
    }
  }
#pragma unroll
  for (int v = 0; v < vectors; ++v) {
    if (!inside(v)) continue;
    const std::uint32_t column = lane_column + v * vector_columns;
    std::uint32_t out[out_words];
#pragma unroll
    for (int i = 0; i < out_words; ++i) {
      out[i] = 0;
#pragma unroll
      for (int part = 0; part < element_bytes; ++part)
        out[i] ^= up[v][i * element_bytes + part] ^ gate[v][i * element_bytes + part];
    }
    std::uint32_t scale = out[0];
    if constexpr (scaled) scale = __float_as_uint(up_scale[v]) ^ __float_as_uint(gate_scale[v]);
    if (column % block_columns == 0) row.out_scale[stride * (column / block_columns)] = __uint_as_float(scale);
    store(row.out + column, out);
  }
}

// Whole or not.
template <int element_bytes, int columns, int vectors>
__device__ __forceinline__ void move_chunk(const MovedRow& row, std::int64_t stride, std::uint32_t row_columns,
                                           std::uint32_t first) {
  if (first + warp_lanes * columns * vectors <= row_columns)
    move_chunk<element_bytes, columns, vectors, true>(row, stride, row_columns, first);
  else
    move_chunk<element_bytes, columns, vectors, false>(row, stride, row_columns, first);
}

}  // namespace bench

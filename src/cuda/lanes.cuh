// One lane's work: all loads of its vectors -> fp32 -> activation -> amax over the lanes of a block -> scale -> codes
// -> store. Only shuffles, no shared memory, no barrier. Where the vectors lie is a Place's business, not told apart
// here.
#pragma once

#include "cuda/lane_values.cuh"
#include "math/scale.hpp"

namespace moe_act::cuda {

// The block strides of a launch, once its metadata is read.
struct Strides {
  math::ScaleStrides x_scale;
  math::ScaleStrides out_scale;

  // Where none of them lies on the device.
  explicit __device__ __forceinline__ Strides(const KernelArguments& arguments)
      : x_scale(arguments.x_scale_strides), out_scale(arguments.out_scale_strides) {}
  __device__ __forceinline__ Strides(const KernelArguments& arguments, std::int32_t total)
      : x_scale(resolve(arguments.x_scale_strides, total)), out_scale(resolve(arguments.out_scale_strides, total)) {}
};

template <Format input, OutputKind output, int columns, int vectors>
struct Lanes {
  using Input = Vector<input, columns>;
  using Bits = typename Input::Bits;
  static constexpr bool scaled_input = is_scaled(input);
  static constexpr int vector_columns = warp_lanes * columns;  // of a vector along a row
  static constexpr int chunk_columns = vector_columns * vectors;
  static constexpr int lanes_per_block = block_columns / columns < warp_lanes ? block_columns / columns : warp_lanes;
  // Narrow lanes: several vectors along the row make one block.
  static constexpr int vectors_per_block = vector_columns < block_columns ? block_columns / vector_columns : 1;
  static_assert(vectors % vectors_per_block == 0);
  // One vector, and registers to spare: for few rows, of which every instruction on the way shows.
  static constexpr bool is_for_few_rows = vectors == 1 && columns < 16;

  // Where a row begins.
  struct RowStart {
    const Bits* x;
    const float* x_scale;  // of the row's first block
    float* out_scale;      // likewise
    std::int64_t out;      // offset, elements
  };

  static __device__ __forceinline__ RowStart start_of(const KernelArguments& arguments, const Strides& strides,
                                                      std::int64_t row) {
    return {static_cast<const Bits*>(arguments.x) + row * arguments.x_row_stride,
            static_cast<const float*>(arguments.x_scale) + row * strides.x_scale.row,
            static_cast<float*>(arguments.out_scale) + row * strides.out_scale.row, row * arguments.out_row_stride};
  }

  // `vectors` vectors of a row side by side, beginning at `column` in this lane. whole: the warp's chunk ends before
  // the row does. Offsets within a row fit 32 bits; the validator sees to it.
  template <bool whole>
  struct AlongRow {
    static constexpr bool is_only = false;
    std::uint32_t left;  // columns from this lane's first to the end of the row
    std::uint32_t gate_column, up_column;
    const Bits *gate, *up;
    const float* x_scale;  // of the row's first block
    float* out_scale;      // of this lane's first block
    std::int64_t x_scale_step, out_scale_step;
    std::int64_t out;  // offset of the first vector, elements

    __device__ __forceinline__ AlongRow(const KernelArguments& arguments, const Strides& strides, const RowStart& row,
                                        std::uint32_t column)
        : left(arguments.columns - column),
          gate_column(arguments.gate_offset + column),
          up_column(arguments.up_offset + column),
          gate(row.x + gate_column),
          up(gate + static_cast<std::int32_t>(arguments.up_offset - arguments.gate_offset)),
          x_scale(row.x_scale),
          out_scale(row.out_scale + column / block_columns * strides.out_scale.block),
          x_scale_step(strides.x_scale.block),
          out_scale_step(strides.out_scale.block),
          out(row.out + column) {}
    __device__ __forceinline__ bool inside(int v) const {
      return whole || (v * vector_columns < left && static_cast<std::int32_t>(left) > 0);
    }
    __device__ __forceinline__ const Bits* gate_at(int v) const { return gate + v * vector_columns; }
    __device__ __forceinline__ const Bits* up_at(int v) const { return up + v * vector_columns; }
    // Where a vector spans whole blocks, vectors are a fixed number of blocks apart, wherever in a block a half begins.
    __device__ __forceinline__ const float* x_scale_at(std::uint32_t column, int v) const {
      if constexpr (vector_columns % block_columns == 0)
        return x_scale + column / block_columns * x_scale_step + v * (vector_columns / block_columns) * x_scale_step;
      else
        return x_scale + (column + v * vector_columns) / block_columns * x_scale_step;
    }
    __device__ __forceinline__ const float* gate_scale_at(int v) const { return x_scale_at(gate_column, v); }
    __device__ __forceinline__ const float* up_scale_at(int v) const { return x_scale_at(up_column, v); }
    __device__ __forceinline__ float* out_scale_at(int v) const {
      return out_scale + v * vector_columns / block_columns * out_scale_step;
    }
    __device__ __forceinline__ std::int64_t out_at(int v) const { return out + v * vector_columns; }
  };

  // What a lane loads of the first row: what it loads of any other lies as far from there as that row does. Worked out
  // while memory says which row it is.
  struct FirstRow {
    std::uint32_t column;  // of the half
    const Bits *gate, *up;

    __device__ __forceinline__ FirstRow(const KernelArguments& arguments, std::uint32_t first)
        : column(first + threadIdx.x * columns),
          gate(static_cast<const Bits*>(arguments.x) + (arguments.gate_offset + column)),
          up(static_cast<const Bits*>(arguments.x) + (arguments.up_offset + column)) {}
    // Fetches parameters, too. What uses the row comes behind this, and so behind what is worked out here: 2.22 instead
    // of 2.31 us (H100, 2026-11-26, routed/32 in L2).
    __device__ __forceinline__ void fetch(const KernelArguments& arguments) {
      asm volatile("" : "+l"(gate), "+l"(up));
      fetch_parameters(arguments, low_word(gate), low_word(up));
    }
  };

  // One vector of a row, the only one of its warp.
  struct OnlyVector : AlongRow<false> {
    static constexpr bool is_only = true;

    __device__ __forceinline__ OnlyVector(const KernelArguments& arguments, const Strides& strides, std::uint32_t row,
                                          const FirstRow& first_row)
        : AlongRow<false>(arguments, strides, start_of(arguments, strides, row), first_row.column) {
      const std::int64_t distance = row * arguments.x_row_stride;
      this->gate = first_row.gate + distance;
      this->up = first_row.up + distance;
      __builtin_assume(__isGlobal(this->gate) && __isGlobal(this->up));
    }
  };

  // One block of columns of several consecutive rows: each vector of the warp covers that block of rows_per_vector
  // rows, the next one that of the rows below. Column-major scales are then read and written in whole sectors.
  struct DownRows {
    static constexpr bool is_only = false;
    static constexpr int rows_per_vector = warp_lanes / lanes_per_block;
    static constexpr int rows = rows_per_vector * vectors;

    unsigned live = 0;  // bit v: vector v's row is there
    const Bits *gate, *up;
    const float *gate_scale, *up_scale;
    float* out_scale;
    std::int64_t x_step, x_scale_step, out_step, out_scale_step;  // from vector to vector
    std::int64_t out;

    __device__ __forceinline__ DownRows(const KernelArguments& arguments, const Strides& strides,
                                        std::int64_t first_row, std::uint32_t first_column)
        : x_step(rows_per_vector * arguments.x_row_stride),
          x_scale_step(rows_per_vector * strides.x_scale.row),
          out_step(rows_per_vector * arguments.out_row_stride),
          out_scale_step(rows_per_vector * strides.out_scale.row) {
      const std::int64_t row = first_row + threadIdx.x / lanes_per_block;
      const std::uint32_t column = first_column + threadIdx.x % lanes_per_block * columns;
      // All marks are on their way before the first is looked at.
      const std::uint8_t* marks = arguments.source.marks;
      bool is_live[vectors];
#pragma unroll
      for (int v = 0; v < vectors; ++v)
        is_live[v] = row + v * rows_per_vector < arguments.source.units && column < arguments.columns;
      if (marks != nullptr) {
        std::uint8_t mark[vectors] = {};
#pragma unroll
        for (int v = 0; v < vectors; ++v)
          if (is_live[v]) mark[v] = marks[row + v * rows_per_vector];
#pragma unroll
        for (int v = 0; v < vectors; ++v) is_live[v] = mark[v] != 0;
      }
#pragma unroll
      for (int v = 0; v < vectors; ++v) live |= is_live[v] ? 1u << v : 0u;
      const auto* x = static_cast<const Bits*>(arguments.x) + row * arguments.x_row_stride + column;
      gate = x + arguments.gate_offset;
      up = x + arguments.up_offset;
      const float* x_scale = static_cast<const float*>(arguments.x_scale) + row * strides.x_scale.row;
      gate_scale = x_scale + (arguments.gate_offset + column) / block_columns * strides.x_scale.block;
      up_scale = x_scale + (arguments.up_offset + column) / block_columns * strides.x_scale.block;
      out_scale =
          static_cast<float*>(arguments.out_scale) + math::scale_offset(strides.out_scale, row, column / block_columns);
      out = row * arguments.out_row_stride + column;
    }
    __device__ __forceinline__ bool inside(int v) const { return (live >> v & 1u) != 0; }
    __device__ __forceinline__ const Bits* gate_at(int v) const { return gate + v * x_step; }
    __device__ __forceinline__ const Bits* up_at(int v) const { return up + v * x_step; }
    __device__ __forceinline__ const float* gate_scale_at(int v) const { return gate_scale + v * x_scale_step; }
    __device__ __forceinline__ const float* up_scale_at(int v) const { return up_scale + v * x_scale_step; }
    __device__ __forceinline__ float* out_scale_at(int v) const { return out_scale + v * out_scale_step; }
    __device__ __forceinline__ std::int64_t out_at(int v) const { return out + v * out_step; }
  };

  // Lanes outside the row or of a row that is not there hold zeros: only their loads and stores are left out, and no
  // branch keeps one vector's arithmetic apart from another's.
  template <typename Place>
  static __device__ __forceinline__ void run(const KernelArguments& arguments, const Place& place) {
    // Every load is issued before the first use: the bytes in flight are what bandwidth is made of.
    Input gate[vectors] = {}, up[vectors] = {};
    float gate_scale[vectors] = {}, up_scale[vectors] = {};
#pragma unroll
    for (int v = 0; v < vectors; ++v) {
      if (place.inside(v)) {
        up[v].load(place.up_at(v));
        gate[v].load(place.gate_at(v));
      }
    }
    if constexpr (scaled_input) {
#pragma unroll
      for (int v = 0; v < vectors; ++v) {
        // One vector's are found by all lanes: of more instructions ptxas made a branch and put a use before, 2.8
        // instead of 2.4 us; of several vectors the same costs 292 instead of 276 (H100, 2026-11-26, routed/1 cold and
        // rows/expert_offsets/e4m3/131072).
        const float *up_place = nullptr, *gate_place = nullptr;
        if (vectors == 1 || place.inside(v)) {
          up_place = place.up_scale_at(v);
          gate_place = place.gate_scale_at(v);
        }
        if (place.inside(v)) {
          up_scale[v] = *up_place;
          gate_scale[v] = *gate_place;
        }
      }
    }
    // Asked for with everything else, where there are registers to spare.
    float static_scale = 0.0f;
    if constexpr (Place::is_only && output == OutputKind::scaled)
      if (arguments.static_scale != nullptr) static_scale = *arguments.static_scale;
#pragma unroll
    for (int first = 0; first < vectors; first += vectors_per_block) {
      float values[vectors_per_block][columns];
#pragma unroll
      for (int i = 0; i < vectors_per_block; ++i) {
        const int v = first + i;
        activate<scaled_input>(gate[v], up[v], gate_scale[v], up_scale[v], values[i]);
      }
      if constexpr (output == OutputKind::plain) {
#pragma unroll
        for (int i = 0; i < vectors_per_block; ++i)
          if (place.inside(first + i))
            store_plain(arguments.out, arguments.out_format, place.out_at(first + i), values[i]);
      } else {
        store_scaled(arguments, place, first, static_scale, values);
      }
    }
  }

  // One chunk of a row: chunk_columns from `first` on.
  static __device__ __forceinline__ void run_chunk(const KernelArguments& arguments, const Strides& strides,
                                                   const RowStart& row, std::uint32_t first) {
    const std::uint32_t column = first + threadIdx.x * columns;
    if constexpr (vectors > 1) {  // one predicate costs nothing, several of them keep loads apart
      if (first + chunk_columns <= arguments.columns)
        return run(arguments, AlongRow<true>(arguments, strides, row, column));
    }
    run(arguments, AlongRow<false>(arguments, strides, row, column));
  }

 private:
  static __device__ __forceinline__ float block_scale_of(const float (&values)[vectors_per_block][columns]) {
    float amax = amax_of(values[0]);
#pragma unroll
    for (int i = 1; i < vectors_per_block; ++i) amax = fmaxf(amax, amax_of(values[i]));
    return math::block_scale(max_over_lanes<lanes_per_block>(amax));
  }

  // One block's worth of a lane's values, and its scale.
  template <typename Place>
  static __device__ __forceinline__ void store_scaled(const KernelArguments& arguments, const Place& place, int first,
                                                      float static_scale, float (&values)[vectors_per_block][columns]) {
    float inverse;
    const bool has_blocks = arguments.out_scale != nullptr;
    if constexpr (Place::is_only) {
      // Without a jump, which the lanes of a warp would take one after the other: 2.16 instead of 2.20 us (H100,
      // 2026-11-26, the rows alone of rows/valid_prefix/e4m3/256, in L2).
      const float scale = has_blocks ? block_scale_of(values) : static_scale;
      inverse = reciprocal(scale);
      store_if(has_blocks && threadIdx.x % lanes_per_block == 0 && place.inside(first), place.out_scale_at(first),
               scale);
    } else if (has_blocks) {
      const float scale = block_scale_of(values);
      inverse = reciprocal(scale);
      if (threadIdx.x % lanes_per_block == 0 && place.inside(first)) *place.out_scale_at(first) = scale;
    } else {
      inverse = reciprocal(*arguments.static_scale);
    }
#pragma unroll
    for (int i = 0; i < vectors_per_block; ++i) {
      scale_by(values[i], inverse);
      if (place.inside(first + i)) store_as<Format::e4m3>(arguments.out, place.out_at(first + i), values[i]);
    }
  }
};

}  // namespace moe_act::cuda

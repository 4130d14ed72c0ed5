// Where a lane's vectors lie: side by side along a row, or down consecutive rows; and what of that can be worked out
// before it is known which row it is.
#pragma once

#include "cuda/lane_values.cuh"
#include "cuda/marked_rows.cuh"
#include "math/scale.hpp"

namespace moe_act::cuda {

// The strides of a launch's scales, once its metadata is read.
struct Strides {
  math::ScaleStrides x_scale;
  math::ScaleStrides out_scale;

  // Where none of them lies on the device.
  explicit __device__ __forceinline__ Strides(const KernelArguments& arguments)
      : x_scale(arguments.x_scale_strides), out_scale(arguments.out_scale_strides) {}
  __device__ __forceinline__ Strides(const KernelArguments& arguments, std::int32_t total)
      : x_scale(resolve(arguments.x_scale_strides, total)), out_scale(resolve(arguments.out_scale_strides, total)) {}
};

template <Format input, int columns, int vectors>
struct Places {
  using Input = Vector<input, columns>;
  using Bits = typename Input::Bits;
  static constexpr bool scaled_input = is_scaled(input);
  static constexpr int vector_columns = warp_lanes * columns;  // of a vector along a row
  static constexpr int chunk_columns = vector_columns * vectors;
  static constexpr int lanes_per_block = block_columns / columns < warp_lanes ? block_columns / columns : warp_lanes;
  // Narrow lanes: several vectors along the row make one block.
  static constexpr int vectors_per_block = vector_columns < block_columns ? block_columns / vector_columns : 1;
  // One vector, and registers to spare: for few rows, of which every instruction on the way shows.
  static constexpr bool is_for_few_rows = vectors == 1 && columns < 16;

  // Where a row begins.
  struct RowStart {
    const Bits* x;
    const float* x_scale;  // of the row's first block
    float* out_scale;      // likewise
    unsigned char* out;
  };

  static __device__ __forceinline__ RowStart start_of(const KernelArguments& arguments, const Strides& strides,
                                                      std::uint32_t row) {
    return {behind(static_cast<const Bits*>(arguments.x), row, arguments.x_row_bytes),
            behind(static_cast<const float*>(arguments.x_scale), row, strides.x_scale.row),
            behind(static_cast<float*>(arguments.out_scale), row, strides.out_scale.row),
            behind(static_cast<unsigned char*>(arguments.out), row, arguments.out_row_bytes)};
  }

  // `vectors` vectors of a row side by side, beginning at `column` in this lane. whole: the warp's chunk ends before
  // the row does. Offsets within a row fit 32 bits; the validator sees to it.
  template <bool whole>
  struct AlongRow {
    static constexpr bool is_only = false;
    // Must no load come behind arithmetic, whatever ptxas thinks of it? It moves none across a __syncwarp(), which
    // costs nothing where lanes are together. It does it where each load asks whether its lane is inside, 111 instead
    // of 115 us (H100, 2026-11-28, mapped-2880/4096), and in too few registers (nvcc 13.0).
    static constexpr bool loads_first = vectors > 1 && !whole;
    std::uint32_t column;  // this lane's first
    std::uint32_t left;    // columns from there to the end of the row
    std::uint32_t gate_column, up_column;
    const Bits *gate, *up;
    const float* x_scale;  // of the row's first block
    float* out_scale;      // of this lane's first block
    std::uint32_t x_scale_step, out_scale_step;
    unsigned char* out;  // the row's first element

    __device__ __forceinline__ AlongRow(const KernelArguments& arguments, const Strides& strides, const RowStart& row,
                                        std::uint32_t first)
        : column(first),
          left(arguments.columns - column),
          gate_column(arguments.gate_offset + column),
          up_column(arguments.up_offset + column),
          gate(row.x + gate_column),
          up(gate + static_cast<std::int32_t>(arguments.up_offset - arguments.gate_offset)),
          x_scale(row.x_scale),
          out_scale(behind(row.out_scale, column / block_columns, strides.out_scale.block)),
          x_scale_step(strides.x_scale.block),
          out_scale_step(strides.out_scale.block),
          out(row.out) {}
    __device__ __forceinline__ bool inside(int v) const {
      return whole || (v * vector_columns < left && static_cast<std::int32_t>(left) > 0);
    }
    static constexpr __device__ bool confirm() { return true; }
    __device__ __forceinline__ const Bits* gate_at(int v) const { return gate + v * vector_columns; }
    __device__ __forceinline__ const Bits* up_at(int v) const { return up + v * vector_columns; }
    // Where a vector spans whole blocks, vectors are a fixed number of blocks apart, wherever in a block a half begins.
    __device__ __forceinline__ const float* x_scale_at(std::uint32_t stored, int v) const {
      if constexpr (vector_columns % block_columns == 0)
        return behind(behind(x_scale, stored / block_columns, x_scale_step), v * (vector_columns / block_columns),
                      x_scale_step);
      else
        return behind(x_scale, (stored + v * vector_columns) / block_columns, x_scale_step);
    }
    __device__ __forceinline__ const float* gate_scale_at(int v) const { return x_scale_at(gate_column, v); }
    __device__ __forceinline__ const float* up_scale_at(int v) const { return x_scale_at(up_column, v); }
    __device__ __forceinline__ float* out_scale_at(int v) const {
      return behind(out_scale, v * vector_columns / block_columns, out_scale_step);
    }
    __device__ __forceinline__ void* out_row(int) const { return out; }
    __device__ __forceinline__ std::int64_t out_column(int v) const {
      return std::int64_t{column} + v * vector_columns;
    }
  };

  template <bool whole>
  using AlongMarkedRow = MarkedPlace<AlongRow<whole>>;

  // What a lane loads of the first row: what it loads of any other lies as far from there as that row does. Worked out
  // while memory says which row it is.
  struct FirstRow {
    std::uint32_t column;  // of the half
    const Bits *gate, *up;

    FirstRow() = default;
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

  // And the scales, where the launch knows their strides.
  struct FirstRowAndScales : FirstRow {
    const float *gate_scale = nullptr, *up_scale = nullptr;

    FirstRowAndScales() = default;
    __device__ __forceinline__ FirstRowAndScales(const KernelArguments& arguments, std::uint32_t first)
        : FirstRow(arguments, first) {
      if constexpr (scaled_input) {
        gate_scale = scale_of(arguments, arguments.gate_offset);
        up_scale = scale_of(arguments, arguments.up_offset);
      }
    }
    __device__ __forceinline__ const float* scale_of(const KernelArguments& arguments, std::uint32_t offset) const {
      return behind(static_cast<const float*>(arguments.x_scale), (offset + this->column) / block_columns,
                    arguments.x_scale_strides.block);
    }
    __device__ __forceinline__ void fetch(const KernelArguments& arguments) {
      if constexpr (scaled_input) asm volatile("" : "+l"(gate_scale), "+l"(up_scale));
      FirstRow::fetch(arguments);
    }
  };

  // One vector of a row, the only one of its warp.
  struct OnlyVector : AlongRow<false> {
    static constexpr bool is_only = true;

    __device__ __forceinline__ OnlyVector(const KernelArguments& arguments, const Strides& strides,
                                          const RowStart& start, std::uint32_t row, const FirstRow& first_row)
        : AlongRow<false>(arguments, strides, start, first_row.column) {
      this->gate = behind(first_row.gate, row, arguments.x_row_bytes);
      this->up = behind(first_row.up, row, arguments.x_row_bytes);
      __builtin_assume(__isGlobal(this->gate) && __isGlobal(this->up));
    }
  };

  struct OnlyVectorAndScales : OnlyVector {
    const float *gate_scale, *up_scale;

    // part: the expert's, where rows are masked, else 0; row: among its rows.
    __device__ __forceinline__ OnlyVectorAndScales(const KernelArguments& arguments, const RowStart& start,
                                                   std::uint32_t part, std::uint32_t row,
                                                   const FirstRowAndScales& first_row)
        : OnlyVector(arguments, Strides(arguments), start, row, first_row) {
      this->gate = behind(this->gate, part, arguments.x_expert_bytes);
      this->up = behind(this->up, part, arguments.x_expert_bytes);
      const auto scale_behind = [&](const float* first) {
        return behind(behind(first, row, arguments.x_scale_strides.row), part, arguments.x_scale_expert_bytes);
      };
      gate_scale = scale_behind(first_row.gate_scale);
      up_scale = scale_behind(first_row.up_scale);
      if constexpr (scaled_input) __builtin_assume(__isGlobal(gate_scale) && __isGlobal(up_scale));
    }
    __device__ __forceinline__ const float* gate_scale_at(int) const { return gate_scale; }
    __device__ __forceinline__ const float* up_scale_at(int) const { return up_scale; }
  };

  // One block of columns of several consecutive rows: each vector of the warp covers that block of rows_per_vector
  // rows, the next one that of the rows below. Column-major scales are then read and written in whole sectors.
  static constexpr int rows_per_vector = warp_lanes / lanes_per_block;
  static constexpr int rows_per_tile = rows_per_vector * vectors;

  struct DownRows {
    static constexpr bool is_only = false;
    static constexpr bool loads_first = false;

    unsigned live = 0;  // bit v: vector v's row is there
    const Bits *gate, *up;
    const float *gate_scale, *up_scale;
    float* out_scale;
    std::uint32_t x_row_bytes, x_scale_row_bytes, out_row_bytes, out_scale_row_bytes;
    unsigned char* out;  // the first row's first element
    std::uint32_t column;

    // row: this lane's first; rows: how many there are.
    __device__ __forceinline__ DownRows(const KernelArguments& arguments, const Strides& strides, std::int64_t row,
                                        std::uint32_t first_column, std::uint32_t rows)
        : x_row_bytes(arguments.x_row_bytes),
          x_scale_row_bytes(strides.x_scale.row),
          out_row_bytes(arguments.out_row_bytes),
          out_scale_row_bytes(strides.out_scale.row),
          column(first_column + threadIdx.x % lanes_per_block * columns) {
#pragma unroll
      for (int v = 0; v < vectors; ++v)
        live |= row + v * rows_per_vector < rows && column < arguments.columns ? 1u << v : 0u;
      const RowStart start = start_of(arguments, strides, static_cast<std::uint32_t>(row));
      gate = start.x + (arguments.gate_offset + column);
      up = start.x + (arguments.up_offset + column);
      gate_scale = behind(start.x_scale, (arguments.gate_offset + column) / block_columns, strides.x_scale.block);
      up_scale = behind(start.x_scale, (arguments.up_offset + column) / block_columns, strides.x_scale.block);
      out_scale = behind(start.out_scale, column / block_columns, strides.out_scale.block);
      out = start.out;
    }
    __device__ __forceinline__ bool inside(int v) const { return (live >> v & 1u) != 0; }
    static constexpr __device__ bool confirm() { return true; }
    // The same place some rows down.
    template <typename Value>
    static __device__ __forceinline__ Value* down(Value* place, int v, std::uint32_t row_bytes) {
      return behind(place, v * rows_per_vector, row_bytes);
    }
    __device__ __forceinline__ const Bits* gate_at(int v) const { return down(gate, v, x_row_bytes); }
    __device__ __forceinline__ const Bits* up_at(int v) const { return down(up, v, x_row_bytes); }
    __device__ __forceinline__ const float* gate_scale_at(int v) const {
      return down(gate_scale, v, x_scale_row_bytes);
    }
    __device__ __forceinline__ const float* up_scale_at(int v) const { return down(up_scale, v, x_scale_row_bytes); }
    __device__ __forceinline__ float* out_scale_at(int v) const { return down(out_scale, v, out_scale_row_bytes); }
    __device__ __forceinline__ void* out_row(int v) const { return down(out, v, out_row_bytes); }
    __device__ __forceinline__ std::int64_t out_column(int) const { return column; }
  };

  struct DownMarkedRows : DownRows {
    using DownRows::live;
    std::uint32_t row;
    NamedRow named[vectors];

    __device__ __forceinline__ DownMarkedRows(const KernelArguments& arguments, const Strides& strides,
                                              std::int64_t own, std::uint32_t first_column, const MarkedLaunch& launch)
        : DownRows(arguments, strides, own, first_column, MarkedLaunch::rows(arguments)),
          row(static_cast<std::uint32_t>(own)) {
      // All marks are on their way before the first is looked at, and so are all entries.
      std::uint32_t mark[vectors] = {};
#pragma unroll
      for (int v = 0; v < vectors; ++v)
        if (this->inside(v)) mark[v] = arguments.marks->marks()[row + v * rows_per_vector];
#pragma unroll
      for (int v = 0; v < vectors; ++v) {
        const std::uint32_t entry = entry_of(mark[v], launch.number);
        if (!launch.is_in_use(entry)) live &= ~(1u << v);
        if (this->inside(v)) named[v] = NamedRow(arguments.entries, entry);
      }
    }
    __device__ __forceinline__ bool confirm() {
#pragma unroll
      for (int v = 0; v < vectors; ++v)
        if (!named[v].is(row + v * rows_per_vector)) live &= ~(1u << v);
      return true;
    }
  };
};

}  // namespace moe_act::cuda

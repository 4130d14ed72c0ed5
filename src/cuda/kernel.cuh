// The kernel. Lanes lie along a row, 32 * columns_per_lane columns to a vector; warps along the row, then over rows.
//
// A tensor's way through it: all loads of the lane's vectors -> fp32 -> activation -> amax over the lanes of a block ->
// scale -> codes -> store. Only shuffles, no shared memory, no barrier: a row that is not there costs its warp nothing
// but the look at its map entry, and cannot influence another row.
#pragma once

#include "core/kernel_arguments.hpp"
#include "core/kernel_key.hpp"
#include "cuda/convert.cuh"
#include "math/activation.hpp"
#include "math/scale.hpp"

namespace moe_act::cuda {

inline constexpr int warp_lanes = 32;
inline constexpr unsigned all_lanes = 0xffffffffu;
inline constexpr int max_threads_per_cta = 128;

// Programmatic dependent launch. The next kernel may start as soon as every CTA of this one has started; it waits for
// this one's results itself.
__device__ __forceinline__ void let_dependents_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

__device__ __forceinline__ void wait_for_producers() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// The largest value among groups of `lanes` adjacent lanes; fmaxf passes NaN by.
template <int lanes>
__device__ __forceinline__ float max_over_lanes(float value) {
  if constexpr (lanes == warp_lanes) {
    // Non-negative floats order like their bits, and one redux replaces five dependent shuffles.
    return __uint_as_float(__reduce_max_sync(all_lanes, __float_as_uint(value)));
  } else {
#pragma unroll
    for (int distance = lanes / 2; distance > 0; distance /= 2)
      value = fmaxf(value, __shfl_xor_sync(all_lanes, value, distance));
    return value;
  }
}

// 1 / scale within one unit in the last place: codes are value * (1 / scale), inside the contract's interval.
__device__ __forceinline__ float reciprocal(float scale) {
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(scale));
  return result;
}

template <Format format, int count>
__device__ __forceinline__ void store_as(void* out, std::int64_t offset, const float (&values)[count]) {
  Vector<format, count> vector;
  vector.encode(values);
  vector.store(static_cast<typename Vector<format, count>::Bits*>(out) + offset);
}

template <int count>
__device__ __forceinline__ void store_plain(const KernelArguments& arguments, std::int64_t offset,
                                            const float (&values)[count]) {
  if (arguments.out_format == Format::bf16)
    store_as<Format::bf16>(arguments.out, offset, values);
  else if (arguments.out_format == Format::fp16)
    store_as<Format::fp16>(arguments.out, offset, values);
  else
    store_as<Format::fp32>(arguments.out, offset, values);
}

template <Format input, OutputKind output, Schedule schedule, int columns, int vectors>
struct Kernel {
  static constexpr bool input_is_scaled = is_scaled(input);
  static constexpr bool list = schedule == Schedule::list;
  static constexpr bool one_pass = runs_once(columns, vectors);
  static constexpr int vector_columns = warp_lanes * columns;
  static constexpr int chunk_columns = vector_columns * vectors;
  static constexpr int lanes_per_block = block_columns / columns < warp_lanes ? block_columns / columns : warp_lanes;
  static constexpr int vectors_per_block = vector_columns < block_columns ? block_columns / vector_columns : 1;
  static_assert(vectors % vectors_per_block == 0);

  using Input = Vector<input, columns>;

  // What a launch knows once its metadata is read.
  struct Context {
    math::ScaleStrides x_scale;
    math::ScaleStrides out_scale;
    float static_inverse;  // 1 / static scale, or 1
  };

  // The scales of a lane's vectors: where a vector spans whole blocks, they are a fixed distance apart, wherever in a
  // block the half begins.
  static __device__ __forceinline__ const float* scale_at(const KernelArguments& arguments, const Context& context,
                                                          const RowUnit& row, std::uint32_t stored_column) {
    return arguments.x_scale + math::scale_offset(context.x_scale, row.scale_row, stored_column / block_columns);
  }

  // Columns [first, first + chunk_columns) of one row, by one warp. whole: all of them are in the row. Column offsets
  // within a row fit 32 bits (the validator sees to it).
  template <bool whole>
  static __device__ __forceinline__ void run_chunk(const KernelArguments& arguments, const Context& context,
                                                   const RowUnit& row, std::uint32_t first) {
    const std::uint32_t column = first + threadIdx.x * columns;
    const auto row_columns = static_cast<std::uint32_t>(arguments.columns);
    const auto inside = [&](int v) { return whole || column + v * vector_columns < row_columns; };
    const auto* x_row =
        static_cast<const typename Input::Bits*>(arguments.x) + row.in_row * arguments.x_row_stride + column;
    const auto* gate_source = x_row + arguments.gate_offset;
    const auto* up_source = x_row + arguments.up_offset;

    // Every load is issued before the first use: the bytes in flight are what bandwidth is made of.
    Input gate[vectors], up[vectors];
    float gate_scale[vectors], up_scale[vectors];
#pragma unroll
    for (int v = 0; v < vectors; ++v) {
      if (!inside(v)) continue;
      up[v].load(up_source + v * vector_columns);
      gate[v].load(gate_source + v * vector_columns);
    }
    if constexpr (input_is_scaled) {
      const auto gate_column = static_cast<std::uint32_t>(arguments.gate_offset) + column;
      const auto up_column = static_cast<std::uint32_t>(arguments.up_offset) + column;
#pragma unroll
      for (int v = 0; v < vectors; ++v) {
        if (!inside(v)) continue;
        gate_scale[v] = *scale_at(arguments, context, row, gate_column + v * vector_columns);
        up_scale[v] = *scale_at(arguments, context, row, up_column + v * vector_columns);
      }
    }

#pragma unroll
    for (int block = 0; block < vectors / vectors_per_block; ++block) {
      float values[vectors_per_block][columns];
      float amax = 0.0f;
#pragma unroll
      for (int i = 0; i < vectors_per_block; ++i) {
        const int v = block * vectors_per_block + i;
        if (!inside(v)) continue;
        float gate_values[columns], up_values[columns];
        gate[v].decode(gate_values);
        up[v].decode(up_values);
#pragma unroll
        for (int c = 0; c < columns; ++c) {
          if constexpr (input_is_scaled) {
            gate_values[c] *= gate_scale[v];
            up_values[c] *= up_scale[v];
          }
          values[i][c] = math::swiglu(gate_values[c], up_values[c]);
          amax = fmaxf(amax, fabsf(values[i][c]));
        }
      }

      float inverse = context.static_inverse;
      if constexpr (output == OutputKind::e4m3) {
        if (arguments.out_scale != nullptr) {
          const float scale = math::block_scale(max_over_lanes<lanes_per_block>(amax));
          inverse = reciprocal(scale);
          const std::uint32_t block_column = column + block * vectors_per_block * vector_columns;
          if (threadIdx.x % lanes_per_block == 0 && (whole || block_column < row_columns))
            arguments.out_scale[math::scale_offset(context.out_scale, row.scale_row, block_column / block_columns)] =
                scale;
        }
      }

#pragma unroll
      for (int i = 0; i < vectors_per_block; ++i) {
        const int v = block * vectors_per_block + i;
        if (!inside(v)) continue;
        const std::int64_t offset = row.out_row * arguments.out_row_stride + column + v * vector_columns;
        if constexpr (output == OutputKind::plain) {
          store_plain(arguments, offset, values[i]);
        } else {
#pragma unroll
          for (int c = 0; c < columns; ++c) values[i][c] *= inverse;
          store_as<Format::e4m3>(arguments.out, offset, values[i]);
        }
      }
    }
  }

  static __device__ __forceinline__ void run_row(const KernelArguments& arguments, const Context& context,
                                                 const RowUnit& row) {
    const auto row_columns = static_cast<std::uint32_t>(arguments.columns);
    const std::uint32_t step = chunk_columns * blockDim.y * gridDim.y;
    for (std::uint32_t first = chunk_columns * (blockIdx.y * blockDim.y + threadIdx.y); first < row_columns;
         first += step) {
      if (first + chunk_columns <= row_columns)
        run_chunk<true>(arguments, context, row, first);
      else
        run_chunk<false>(arguments, context, row, first);
    }
  }

  // The map entry that this lane of a warp at `base` looks after; -1 for none.
  static __device__ __forceinline__ std::int32_t read_entry(const KernelArguments& arguments, std::int64_t base) {
    const auto lane = static_cast<int>(threadIdx.x);
    if (lane >= arguments.entries_per_warp || base + lane >= arguments.source.units) return -1;
    return arguments.source.map[base + lane];
  }

  static __device__ __forceinline__ Context context_of(const KernelArguments& arguments, std::int64_t total) {
    Context context{resolve(arguments.x_scale_strides, total), resolve(arguments.out_scale_strides, total), 1.0f};
    if constexpr (output == OutputKind::e4m3)
      if (arguments.static_scale != nullptr) context.static_inverse = reciprocal(*arguments.static_scale);
    return context;
  }

  static __device__ __forceinline__ std::int64_t read_total(const KernelArguments& arguments) {
    return arguments.total_num_padded_tokens != nullptr ? *arguments.total_num_padded_tokens : 0;
  }

  // The grid covers everything, one chunk a warp. Nothing but the chain of loads and arithmetic that has to be: at a
  // few rows that chain is the whole time, and every loop or vote on the way shows.
  static __device__ __forceinline__ void run_once(const KernelArguments& arguments) {
    const std::int64_t unit = std::int64_t{blockIdx.x} * blockDim.z + threadIdx.z;
    const std::uint32_t first = chunk_columns * (blockIdx.y * blockDim.y + threadIdx.y);
    const auto row_columns = static_cast<std::uint32_t>(arguments.columns);
    const bool mine = unit < arguments.source.units && first < row_columns;
    const std::int64_t entry = !mine ? -1 : list ? arguments.source.map[unit] : unit;
    const std::int64_t total = read_total(arguments);
    if (arguments.pdl == Pdl::metadata_ready) wait_for_producers();
    const RowUnit row = arguments.source.unit_of(entry);
    if (!row.is_live()) return;
    if (first + chunk_columns <= row_columns)
      run_chunk<true>(arguments, context_of(arguments, total), row, first);
    else
      run_chunk<false>(arguments, context_of(arguments, total), row, first);
  }

  // Warps loop over rows, or over groups of map entries, that the grid does not cover.
  static __device__ __forceinline__ void run_loop(const KernelArguments& arguments) {
    const std::int64_t units_per_warp = list ? arguments.entries_per_warp : 1;
    const std::int64_t step = units_per_warp * blockDim.z * gridDim.x;
    std::int64_t base = units_per_warp * (std::int64_t{blockIdx.x} * blockDim.z + threadIdx.z);
    std::int32_t entry = list ? read_entry(arguments, base) : 0;
    const std::int64_t total = read_total(arguments);
    if (arguments.pdl == Pdl::metadata_ready) wait_for_producers();

    const Context context = context_of(arguments, total);
    while (base < arguments.source.units) {
      if constexpr (list) {
        // Invalid entries, and any past the capacity, are voted away before they cost anything.
        unsigned valid = __ballot_sync(all_lanes, arguments.source.unit_of(entry).is_live());
        while (valid != 0) {
          const int lane_of_row = __ffs(static_cast<int>(valid)) - 1;
          valid &= valid - 1;
          run_row(arguments, context, arguments.source.unit_of(__shfl_sync(all_lanes, entry, lane_of_row)));
        }
        base += step;
        entry = read_entry(arguments, base);
      } else {
        run_row(arguments, context, arguments.source.unit_of(base));
        base += step;
      }
    }
  }

  static __device__ __forceinline__ void run(const KernelArguments& arguments) {
    if (arguments.pdl != Pdl::off) let_dependents_start();
    if (arguments.pdl == Pdl::on) wait_for_producers();
    // Metadata first, and together: under metadata_ready it is read while the preceding kernel still runs. Every warp
    // waits before it returns: a grid that ended earlier would let its own dependents overtake the producers.
    if constexpr (one_pass)
      run_once(arguments);
    else
      run_loop(arguments);
  }
};

// threadIdx: x = lane, y = warp along the row, z = row of the CTA. The parameters are the members of a KernelKey, one
// by one: nvcc 13.0 cannot name a kernel whose template parameter is a struct, and profilers show them.
template <Format input, OutputKind output, Schedule schedule, int columns, int vectors>
__global__ void __launch_bounds__(max_threads_per_cta)
    gated_act_quant(const __grid_constant__ KernelArguments arguments) {
  Kernel<input, output, schedule, columns, vectors>::run(arguments);
}

}  // namespace moe_act::cuda

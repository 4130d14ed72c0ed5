// A warp's chunk of a row for any scale layout: load, activate, scale, store. Of general problems, whose model is
// looked up, and of rows with one scale.
#pragma once

#include "cuda/general.cuh"
#include "cuda/lane_values.cuh"
#include "cuda/row_place.cuh"

namespace moe_act::cuda {

// A live row, and the model as it sees it.
template <Format input>
struct ModelRow : RowPlace<input> {
  RowModel model;  // general problems only
};

template <Format input, OutputKind output, int columns, int vectors, Reach reach>
struct ChunkWork {
  static_assert(reach == Reach::models || output == OutputKind::row_scaled);
  using Input = Vector<input, columns>;
  using Row = ModelRow<input>;
  static constexpr bool scaled_input = is_scaled(input);
  static constexpr bool general = reach == Reach::models;
  static constexpr int vector_columns = warp_lanes * columns;
  static constexpr int chunk_columns = vector_columns * vectors;

  // The values of a warp's chunk of a row. Lanes outside the row hold zeros, or what weighing made of them.
  struct Chunk {
    float values[vectors][columns];
    std::uint32_t column;  // this lane's first

    __device__ __forceinline__ bool inside(const KernelArguments& arguments, int v) const {
      return column + v * vector_columns < arguments.columns;
    }
    __device__ __forceinline__ float amax() const {
      float largest = 0.0f;
#pragma unroll
      for (int v = 0; v < vectors; ++v) largest = fmaxf(largest, amax_of(values[v]));
      return largest;
    }
  };

  static __device__ __forceinline__ Row row_at(const KernelArguments& arguments, std::int64_t part, std::int64_t row,
                                               std::int64_t padded_scale_row) {
    return {place_of<input, output>(arguments, arguments.x_scale_view, arguments.out_scale_view, part, row,
                                    padded_scale_row),
            {}};
  }

  static __device__ __forceinline__ float scale_at(const math::ScaleView& view, const unsigned char* scale,
                                                   std::uint32_t column, std::int32_t total) {
    return math::load_scale(scale, view,
                            math::resolve<std::int64_t>(view, total).block_offset(column >> view.block_log2));
  }

  // What memory holds of a chunk. general: of each vector the two that hold its gate and up.
  struct Loaded {
    Input gate[vectors], up[vectors];
    float gate_scale[vectors], up_scale[vectors];
    std::uint32_t column;  // this lane's first

    __device__ __forceinline__ bool inside(const KernelArguments& arguments, int v) const {
      return column + v * vector_columns < arguments.columns;
    }
  };

  // The stored columns where they begin.
  static __device__ __forceinline__ void stored_columns_of(const KernelArguments& arguments, std::uint32_t column,
                                                           std::uint32_t& gate, std::uint32_t& up) {
    gate = arguments.gate_offset + column;
    up = arguments.up_offset + column;
    if constexpr (general) stored_columns<columns>(arguments.model, column, gate, up);
  }

  // All loads are issued before the first use.
  static __device__ __forceinline__ void load(const KernelArguments& arguments, const Row& row, std::uint32_t first,
                                              std::int32_t total, Loaded& loaded) {
    loaded = {};
    loaded.column = first + threadIdx.x * columns;
#pragma unroll
    for (int v = 0; v < vectors; ++v) {
      if (!loaded.inside(arguments, v)) continue;
      std::uint32_t gate, up;
      stored_columns_of(arguments, loaded.column + v * vector_columns, gate, up);
      const bool has_up = !general || arguments.model.gated;
      loaded.gate[v].load(row.x + gate);
      if (has_up) loaded.up[v].load(row.x + up);
      if constexpr (scaled_input) {
        const math::ScaleView& view = arguments.x_scale_view;
        loaded.gate_scale[v] = scale_at(view, row.x_scale, gate, total);
        if (has_up) loaded.up_scale[v] = scale_at(view, row.x_scale, up, total);
      }
    }
  }

  static __device__ __forceinline__ void activate_chunk(const KernelArguments& arguments, const Row& row,
                                                        const Loaded& loaded, Chunk& chunk) {
    chunk.column = loaded.column;
#pragma unroll
    for (int v = 0; v < vectors; ++v) {
      if constexpr (general) {
        float gates[columns], ups[columns];
        decode_scaled<scaled_input>(loaded.gate[v], loaded.gate_scale[v], gates);
        decode_scaled<scaled_input>(loaded.up[v], loaded.up_scale[v], ups);
        if (arguments.model.bias != nullptr && loaded.inside(arguments, v)) {
          std::uint32_t gate, up;
          stored_columns_of(arguments, loaded.column + v * vector_columns, gate, up);
          add_bias(arguments.model, row.model, gate, gates);
          if (arguments.model.gated) add_bias(arguments.model, row.model, up, ups);
        }
        activate_general<input>(arguments, row.model, gates, ups, chunk.values[v]);
      } else {
        activate<scaled_input>(loaded.gate[v], loaded.up[v], loaded.gate_scale[v], loaded.up_scale[v], chunk.values[v]);
      }
    }
  }

  static __device__ __forceinline__ void load_and_activate(const KernelArguments& arguments, const Row& row,
                                                           std::uint32_t first, std::int32_t total, Chunk& chunk) {
    Loaded loaded;
    load(arguments, row, first, total, loaded);
    activate_chunk(arguments, row, loaded, chunk);
  }

  static __device__ __forceinline__ math::BlockScale scale_of(const KernelArguments& arguments, float amax,
                                                              bool has_nan) {
    if constexpr (general) return math::scale_of<Unit>(arguments.numerics, arguments.out_format, amax, has_nan);
    return scale_of_amax(arguments.out_format, arguments.numerics.rounds_to_power_of_two, amax);
  }

  // Codes of values * factor[v], or, of general problems, the values where they are plain, and the unquantized copy.
  static __device__ __forceinline__ void store(const KernelArguments& arguments, const Row& row, Chunk& chunk,
                                               const float (&factor)[vectors]) {
#pragma unroll
    for (int v = 0; v < vectors; ++v) {
      const std::uint32_t column = chunk.column + v * vector_columns;
      const std::int64_t offset = row.out + column;
      if constexpr (general) {
        if (!chunk.inside(arguments, v)) continue;
        const Model& model = arguments.model;
        if (arguments.out_format != Format::e4m3 && arguments.out_format != Format::e5m2) {
          store_plain(arguments.out, arguments.out_format, offset, chunk.values[v]);
          continue;
        }
        if (model.unquantized != nullptr)
          store_plain(model.unquantized, model.unquantized_format, row.model.unquantized + column, chunk.values[v]);
      }
      scale_by(chunk.values[v], factor[v]);
      if constexpr (general)
        if (arguments.numerics.quantization == Quantization::multiply_bf16) round_to<Format::bf16>(chunk.values[v]);
      if (!chunk.inside(arguments, v)) continue;
      if (arguments.out_format == Format::e5m2)
        store_as<Format::e5m2>(arguments.out, offset, chunk.values[v]);
      else
        store_as<Format::e4m3>(arguments.out, offset, chunk.values[v]);
    }
  }

  // The larger of two amaxes; NaN is above infinity.
  static __device__ __forceinline__ float larger(float a, float b) {
    return __int_as_float(max(__float_as_int(a), __float_as_int(b)));
  }

  // The scales of the blocks of a chunk, delivered, and the factors of their codes.
  static __device__ __forceinline__ void scale_blocks(const KernelArguments& arguments, const Row& row,
                                                      const Chunk& chunk, std::int32_t total,
                                                      float (&factor)[vectors]) {
    const math::ScaleView view = math::resolve<std::int64_t>(arguments.out_scale_view, total);
    const int block = 1 << view.block_log2;
    const int lanes = block / columns < warp_lanes ? block / columns : warp_lanes;
    float amax[vectors];
#pragma unroll
    for (int v = 0; v < vectors; ++v) {
      amax[v] = amax_of(chunk.values[v]);
      if (arguments.numerics.has_scale_of_zero && chunk.inside(arguments, v) && any_nan(chunk.values[v]))
        amax[v] = math::from_bits(math::canonical_nan_bits);
#pragma unroll
      for (int distance = 1; distance < warp_lanes; distance *= 2)
        if (distance < lanes) amax[v] = larger(amax[v], __shfl_xor_sync(all_lanes, amax[v], distance));
    }
    int vectors_per_block = 1;
    if constexpr (vector_columns < block_columns) {  // narrow lanes: several vectors along the row make one block
      vectors_per_block = block > vector_columns ? block / vector_columns : 1;
#pragma unroll
      for (int step = 1; step < vectors; step *= 2) {
        if (step >= vectors_per_block) break;
#pragma unroll
        for (int v = 0; v < vectors; ++v)
          if ((v & step) == 0) amax[v] = amax[v + step] = larger(amax[v], amax[v + step]);
      }
    }
    const std::int64_t blocks = view.blocks_of(arguments.columns);
#pragma unroll
    for (int v = 0; v < vectors; ++v) {
      const math::BlockScale scale = scale_of(arguments, amax[v], amax[v] != amax[v]);
      factor[v] = scale.factor;
      const bool leads = threadIdx.x % lanes == 0 && v % vectors_per_block == 0;
      if (!leads || !chunk.inside(arguments, v)) continue;
      const std::int64_t number = (chunk.column + v * vector_columns) >> view.block_log2;
      math::store_scale(row.out_scale, view, view.block_offset(number), scale.scale);
      if (number == blocks - 1) math::fill_quad(row.out_scale, view, 0, blocks);
    }
  }

  static __device__ __forceinline__ void scale_and_store(const KernelArguments& arguments, const Row& row,
                                                         std::int32_t total, Chunk& chunk) {
    float factor[vectors] = {};
    if constexpr (output == OutputKind::scaled) {
      if (arguments.out_scale != nullptr) {
        scale_blocks(arguments, row, chunk, total, factor);
      } else if (arguments.static_scale != nullptr) {
        const float given = reciprocal(*arguments.static_scale);
#pragma unroll
        for (int v = 0; v < vectors; ++v) factor[v] = given;
      }
    }
    store(arguments, row, chunk, factor);
  }

  // Of a row with a scale for each of its blocks, or none of its own.
  static __device__ __forceinline__ void run_row(const KernelArguments& arguments, const Row& row, std::int32_t total) {
    std::uint32_t first = chunk_columns * (blockIdx.y * blockDim.y + threadIdx.y);
    const std::uint32_t step = chunk_columns * blockDim.y * gridDim.y;
    // The next chunk is on its way while this one is done: one vector a lane is too little for the memory's latency.
    Loaded next;
    load(arguments, row, first, total, next);
    for (; first < arguments.columns; first += step) {
      const Loaded loaded = next;
      if (first + step < arguments.columns) load(arguments, row, first + step, total, next);
      Chunk chunk;
      activate_chunk(arguments, row, loaded, chunk);
      scale_and_store(arguments, row, total, chunk);
    }
  }

  // Of a row with one scale: the whole CTA does it. Values stay in registers where one chunk a warp is enough.
  static __device__ __forceinline__ void run_row_with_one_scale(const KernelArguments& arguments, const Row& row,
                                                                std::int32_t total) {
    __shared__ float warp_amax[max_warps_per_cta];
    const std::uint32_t begin = chunk_columns * threadIdx.y, step = chunk_columns * blockDim.y;
    Chunk chunk;
    float amax = 0.0f;
    for (std::uint32_t first = begin; first < arguments.columns; first += step) {
      load_and_activate(arguments, row, first, total, chunk);
      amax = fmaxf(amax, chunk.amax());
    }
    amax = max_over_lanes<warp_lanes>(amax);
    __syncthreads();  // the last row's maxima have been read
    if (threadIdx.x == 0) warp_amax[threadIdx.y] = amax;
    __syncthreads();
    for (unsigned warp = 0; warp < blockDim.y; ++warp) amax = fmaxf(amax, warp_amax[warp]);
    const math::BlockScale scale = scale_of(arguments, amax, false);
    if (threadIdx.x == 0 && threadIdx.y == 0)
      math::store_scale(row.out_scale, arguments.out_scale_view, 0, scale.scale);
    float factor[vectors];
#pragma unroll
    for (int v = 0; v < vectors; ++v) factor[v] = scale.factor;
    for (std::uint32_t first = begin; first < arguments.columns; first += step) {
      if (step < arguments.columns) load_and_activate(arguments, row, first, total, chunk);
      store(arguments, row, chunk, factor);
    }
  }

  static __device__ __forceinline__ void run_any_row(const KernelArguments& arguments, const Row& row,
                                                     std::int32_t total) {
    if constexpr (output == OutputKind::row_scaled)
      run_row_with_one_scale(arguments, row, total);
    else
      run_row(arguments, row, total);
  }
};

}  // namespace moe_act::cuda

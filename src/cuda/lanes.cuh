// One lane's work: all loads of its vectors -> fp32 -> activation -> amax over the lanes of a block -> scale -> codes
// -> store. Only shuffles, no shared memory, no barrier. Where the vectors lie is a place's business, places.cuh, and
// not told apart here.
#pragma once

#include "cuda/places.cuh"
#include "math/scale.hpp"

namespace moe_act::cuda {

template <Format input, OutputKind output, int columns, int vectors>
struct Lanes : Places<input, columns, vectors> {
  using Base = Places<input, columns, vectors>;
  using Base::chunk_columns;
  using Base::lanes_per_block;
  using Base::scaled_input;
  using Base::vectors_per_block;
  using typename Base::Input;
  using typename Base::RowStart;
  static_assert(vectors % vectors_per_block == 0);

  // Lanes outside the row or of a row that is not there hold zeros: only their loads and stores are left out, and no
  // branch keeps one vector's arithmetic apart from another's.
  template <typename Place>
  static __device__ __forceinline__ void run(const KernelArguments& arguments, Place place) {
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
    if constexpr (Place::loads_first) __syncwarp();
    if (!place.confirm()) return;
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
            store_plain(place.out_row(first + i), arguments.out_format, place.out_column(first + i), values[i]);
      } else {
        store_scaled(arguments, place, first, static_scale, values);
      }
    }
  }

  // One chunk of a row: chunk_columns from `first` on. More: what else a place has to know, given to all of Place.
  template <template <bool whole> typename Place = Base::template AlongRow, typename... More>
  static __device__ __forceinline__ void run_chunk(const KernelArguments& arguments, const Strides& strides,
                                                   const RowStart& row, std::uint32_t first, const More&... more) {
    const std::uint32_t column = first + threadIdx.x * columns;
    if constexpr (vectors > 1) {  // one predicate costs nothing, several of them keep loads apart
      if (first + chunk_columns <= arguments.columns)
        return run(arguments, Place<true>(arguments, strides, row, column, more...));
    }
    run(arguments, Place<false>(arguments, strides, row, column, more...));
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
      if (place.inside(first + i))
        store_as<Format::e4m3>(place.out_row(first + i), place.out_column(first + i), values[i]);
    }
  }
};

}  // namespace moe_act::cuda

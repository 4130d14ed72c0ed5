// A warp's share of a row that a convention names, where scales are fp32 at strides: what chunk.cuh does for every
// layout, by the lanes of the kernels for dense rows and maps.
#pragma once

#include "cuda/lanes.cuh"

namespace moe_act::cuda {

template <Format input, OutputKind output, int columns, int vectors>
struct PlainRowWork {
  using Lane = Lanes<input, output, columns, vectors>;
  using Row = typename Lane::RowStart;

  // part: the expert's, where rows are masked, else 0.
  static __device__ __forceinline__ Row row_at(const KernelArguments& arguments, std::int64_t part, std::int64_t row,
                                               std::int64_t) {
    Row start{};
    start.x = static_cast<const typename Lane::Bits*>(arguments.x) + part * arguments.x_expert_stride +
              row * arguments.x_row_stride;
    start.out = part * arguments.out_expert_stride + row * arguments.out_row_stride;
    if constexpr (Lane::scaled_input)
      start.x_scale = static_cast<const float*>(arguments.x_scale) + part * arguments.x_scale_expert_stride +
                      row * arguments.x_scale_strides.row;
    if constexpr (output != OutputKind::plain)
      start.out_scale = static_cast<float*>(arguments.out_scale) + part * arguments.out_scale_expert_stride +
                        row * arguments.out_scale_strides.row;
    return start;
  }

  static __device__ __forceinline__ void run_any_row(const KernelArguments& arguments, const Row& row, std::int32_t) {
    const Strides strides(arguments);
    const std::uint32_t step = Lane::chunk_columns * blockDim.y * gridDim.y;
    for (std::uint32_t first = Lane::chunk_columns * (blockIdx.y * blockDim.y + threadIdx.y); first < arguments.columns;
         first += step)
      Lane::run_chunk(arguments, strides, row, first);
  }
};

}  // namespace moe_act::cuda

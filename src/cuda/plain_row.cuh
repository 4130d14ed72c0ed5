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

  // What a row's first chunk loads is worked out before the row is known, where that is fast.
  using FirstRow = typename Lane::FirstRow;
  static __device__ __forceinline__ void run_first_chunk(const KernelArguments& arguments, std::uint32_t row,
                                                         const FirstRow& first_row)
    requires(Lane::is_for_few_rows)
  {
    Lane::run(arguments, typename Lane::OnlyVector(arguments, Strides(arguments), row, first_row));
  }

  static __device__ __forceinline__ void run_any_row(const KernelArguments& arguments, const Row& row, std::int32_t) {
    run_row_from(arguments, row, first_column());
  }

  // The warp's first chunk of a row, then the others.
  static __device__ __forceinline__ std::uint32_t first_column() {
    return Lane::chunk_columns * (blockIdx.y * blockDim.y + threadIdx.y);
  }
  static __device__ __forceinline__ std::uint32_t columns_apart() {
    return Lane::chunk_columns * blockDim.y * gridDim.y;
  }
  static __device__ __forceinline__ void run_row_from(const KernelArguments& arguments, const Row& row,
                                                      std::uint32_t first) {
    const Strides strides(arguments);
    const std::uint32_t step = columns_apart();
    for (; first < arguments.columns; first += step) Lane::run_chunk(arguments, strides, row, first);
  }
};

}  // namespace moe_act::cuda

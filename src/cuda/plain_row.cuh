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
    Row start = Lane::start_of(arguments, Strides(arguments), static_cast<std::uint32_t>(row));
    const auto expert = static_cast<std::uint32_t>(part);
    start.x = behind(start.x, expert, arguments.x_expert_bytes);
    start.out = behind(start.out, expert, arguments.out_expert_bytes);
    if constexpr (Lane::scaled_input) start.x_scale = behind(start.x_scale, expert, arguments.x_scale_expert_bytes);
    if constexpr (output != OutputKind::plain)
      start.out_scale = behind(start.out_scale, expert, arguments.out_scale_expert_bytes);
    return start;
  }

  // A row's first chunk, straight through. What it loads may have been worked out before the row was known.
  using FirstRow = typename Lane::FirstRowAndScales;
  static __device__ __forceinline__ void run_first_chunk(const KernelArguments& arguments, std::uint32_t part,
                                                         std::uint32_t row, const FirstRow& first_row) {
    Lane::run(arguments,
              typename Lane::OnlyVectorAndScales(arguments, row_at(arguments, part, row, row), part, row, first_row));
  }
  static __device__ __forceinline__ void run_chunk(const KernelArguments& arguments, std::uint32_t row,
                                                   std::uint32_t first) {
    Lane::run_chunk(arguments, Strides(arguments), row_at(arguments, 0, row, row), first);
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

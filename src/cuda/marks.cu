#include "cuda/marks.hpp"

#include "cuda/dependent_launch.cuh"

namespace moe_act::cuda {
namespace {

__device__ __forceinline__ std::int64_t first_item() {
  return std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
}
__device__ __forceinline__ std::int64_t item_step() {
  return std::int64_t{gridDim.x} * blockDim.x;
}

constexpr int entries_per_thread = 4;  // on their way together

// Waits before it writes: the launch before may still be reading its own marks here.
__global__ void __launch_bounds__(mark_threads) clear_marks(const __grid_constant__ MarkArguments arguments) {
  wait_for_producers();
  let_dependents_start();
  for (std::int64_t i = first_item(); i < (arguments.rows.rows + 15) / 16; i += item_step())
    reinterpret_cast<uint4*>(arguments.marks)[i] = {};
}

__global__ void __launch_bounds__(mark_threads) mark_rows(const __grid_constant__ MarkArguments arguments) {
  wait_for_producers();
  let_dependents_start();
  const RowAddressing& rows = arguments.rows;
  const std::int64_t in_use = rows.entries_in_use(rows.count.data != nullptr ? rows.count[0] : 0);
  for (std::int64_t first = first_item(); first < in_use; first += item_step() * entries_per_thread) {
    std::int64_t row[entries_per_thread];
#pragma unroll
    for (int i = 0; i < entries_per_thread; ++i) {
      const std::int64_t entry = first + i * item_step();
      row[i] = entry < in_use ? rows.row_of(entry) : -1;
    }
#pragma unroll
    for (int i = 0; i < entries_per_thread; ++i)
      if (row[i] >= 0) arguments.marks[row[i]] = 1;
  }
}

}  // namespace

MarkFunction clear_marks_kernel() {
  return &clear_marks;
}
MarkFunction mark_rows_kernel() {
  return &mark_rows;
}

}  // namespace moe_act::cuda

#include "cuda/marks.hpp"

#include "cuda/dependent_launch.cuh"

namespace moe_act::cuda {
namespace {

__device__ __forceinline__ void bring_into_l2(const void* begin, std::uint32_t bytes) {
#if __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(begin), "r"(bytes) : "memory");
#endif
}

// Waits before it writes: the launch before may still be reading its own marks here.
__global__ void __launch_bounds__(mark_threads) mark_rows(const __grid_constant__ MarkArguments arguments) {
  wait_for_producers();
  let_dependents_start();
  const EntryRule& rule = arguments.entries;
  MarkHead& head = *arguments.head;
  const std::uint32_t launch = head.done + 1;
  const std::int32_t in_use = min(rule.units, rule.groups_in_use<true>());
  const auto step = static_cast<std::int32_t>(gridDim.x * blockDim.x);
  for (auto first = static_cast<std::int32_t>(blockIdx.x * blockDim.x); first < in_use; first += step) {
    const std::int32_t entry = first + static_cast<std::int32_t>(threadIdx.x);
    const std::int32_t row = entry < in_use ? rule.row_named(entry, rule.value_of<true>(entry)) : -1;
    if (row >= 0) head.marks()[row] = mark_of(static_cast<std::uint32_t>(entry), launch);
    // Not before the CTA's marks are on their way, or they come after all that: 74.0 instead of 74.3 us, and nothing
    // is gained if rows are asked for before entries have been read (H100, 2026-11-28, routed/4096).
    __syncthreads();
    if (row >= 0 && row < arguments.rows_ahead) {
      const auto* x = static_cast<const unsigned char*>(arguments.x);
      bring_into_l2(x + static_cast<std::uint64_t>(row) * arguments.x_row_bytes, arguments.bytes_per_row);
    }
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    head.launch = launch;
    head.entries = static_cast<std::uint32_t>(max(in_use, 0));
  }
}

}  // namespace

MarkFunction mark_rows_kernel() {
  return &mark_rows;
}

}  // namespace moe_act::cuda

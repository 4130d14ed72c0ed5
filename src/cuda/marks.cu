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
  for (std::int64_t i = first_item(); i < (arguments.rows.rows + 3) / 4; i += item_step())
    reinterpret_cast<int4*>(arguments.marks)[i] = {-1, -1, -1, -1};
}

// value_of: what is read of an entry; row_named: the row that it stands for then.
template <typename ValueOf, typename RowNamed>
__device__ __forceinline__ void mark(std::int32_t* marks, std::int64_t in_use, ValueOf value_of, RowNamed row_named) {
  for (std::int64_t first = first_item(); first < in_use; first += item_step() * entries_per_thread) {
    std::int64_t value[entries_per_thread] = {};
#pragma unroll
    for (int i = 0; i < entries_per_thread; ++i) {
      const std::int64_t entry = first + i * item_step();
      if (entry < in_use) value[i] = value_of(entry);
    }
#pragma unroll
    for (int i = 0; i < entries_per_thread; ++i) {
      const std::int64_t entry = first + i * item_step();
      const std::int64_t row = entry < in_use ? row_named(entry, value[i]) : -1;
      if (row >= 0) marks[row] = 0;
    }
  }
}

__global__ void __launch_bounds__(mark_threads) mark_rows(const __grid_constant__ MarkArguments arguments) {
  wait_for_producers();
  let_dependents_start();
  const RowAddressing& rows = arguments.rows;
  const EntryRule& rule = arguments.entries;
  const std::int64_t count = rows.count.data != nullptr ? rows.count[0] : 0;
  const std::int64_t in_use = rows.entries_in_use(count);
  if (rule.exists) {
    const auto narrow = [](std::int64_t number) { return static_cast<std::int32_t>(number); };
    mark(
        arguments.marks, in_use, [&](std::int64_t entry) { return rule.value_of<true>(narrow(entry)); },
        [&](std::int64_t entry, std::int64_t value) { return rule.row_named(narrow(entry), narrow(value)); });
  } else {
    mark(
        arguments.marks, in_use, [&](std::int64_t entry) { return rows.value_of(entry); },
        [&](std::int64_t entry, std::int64_t value) { return rows.row_named(entry, value); });
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

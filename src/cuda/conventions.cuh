// The kernels for every row convention: which rows a CTA does is list_rows.cuh's and expert_rows.cuh's. What a warp
// does with one is plain_row.cuh's where scales are fp32 at strides, layout_lanes.cuh's where they lie in any layout,
// chunk.cuh's for every model, and where a row has one scale.
//
// All but entry, and dense rows of a list, loop over what the grid does not cover, so that the grid may come from a
// hint. threadIdx: x = lane, y = warp along the row, z = row; blockIdx: x and z = rows, y = further along the row.
#pragma once

#include "cuda/dense_layouts.cuh"
#include "cuda/expert_rows.cuh"
#include "cuda/list_rows.cuh"

namespace moe_act::cuda {

template <Format input, OutputKind output, Schedule schedule, int columns, int vectors, Reach reach>
struct ConventionKernel {
  using Lists = ListRows<input, output, schedule, columns, vectors, reach>;
  using Experts = ExpertRows<input, output, schedule, columns, vectors, reach>;
  static constexpr bool may_be_dense = may_have_dense_rows({input, output, schedule, columns, vectors, reach});

  static __device__ __forceinline__ void run(const KernelArguments& arguments) {
    if constexpr (may_be_dense)
      if (arguments.entries_per_cta < 0) return DenseLayouts<input, output, columns>::run(arguments);
    if (waits_first(arguments.pdl)) wait_and_let_dependents_start(arguments.pdl);
    if constexpr (schedule == Schedule::entry) return Lists::run_entry(arguments);
    std::int32_t total = 0;
    if constexpr (reach != Reach::plain)
      if (arguments.total_num_padded_tokens != nullptr) total = *arguments.total_num_padded_tokens;
    if constexpr (schedule == Schedule::list)
      Lists::run_list(arguments, total);
    else if constexpr (schedule == Schedule::span)
      Experts::run_range_by_row(arguments, arguments.span, total);
    else if constexpr (Experts::search_for_cta)
      Experts::run_segments_by_row(arguments, total);
    else
      Experts::run_segments(arguments, total);
  }
};

}  // namespace moe_act::cuda

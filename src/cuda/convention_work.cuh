// What the kernels for every row convention share: what a warp does with a row, and when a kernel starts.
#pragma once

#include <type_traits>

#include "cuda/chunk.cuh"
#include "cuda/dependent_launch.cuh"
#include "cuda/entries.cuh"
#include "cuda/layout_lanes.cuh"
#include "cuda/plain_row.cuh"

namespace moe_act::cuda {

// What a warp does with a row.
template <Format input, OutputKind output, int columns, int vectors, Reach reach>
struct RowWork {
  using Type = ChunkWork<input, output, columns, vectors, reach>;
};
template <Format input, OutputKind output, int columns, int vectors>
struct RowWork<input, output, columns, vectors, Reach::plain> {
  using Type = PlainRowWork<input, output, columns, vectors>;
};
template <Format input, OutputKind output, int columns, int vectors>
  requires(output != OutputKind::row_scaled)
struct RowWork<input, output, columns, vectors, Reach::layouts> {
  using Type = LayoutLanes<input, output, columns, vectors>;
};

template <Format input, OutputKind output, Schedule schedule, int columns, int vectors, Reach reach>
struct ConventionWork {
  using Work = typename RowWork<input, output, columns, vectors, reach>::Type;

  // entry: of a list; expert: of a segment.
  static __device__ __forceinline__ void run(const KernelArguments& arguments, typename Work::Row place,
                                             std::int64_t entry, std::int64_t expert, std::int64_t row,
                                             std::int32_t total) {
    if constexpr (reach == Reach::models) place.model = row_model(arguments.model, arguments.rows, entry, expert, row);
    Work::run_any_row(arguments, place, total);
  }

  // Under metadata_ready, indices and counts are read before; nothing else is.
  static __device__ __forceinline__ void metadata_is_read(const KernelArguments& arguments) {
    // Lists have looked at the first line alone, what searches at more: 2.82 instead of 2.86 us. Two vectors' column is
    // worked out, too, 2.59 instead of 2.63; one's would take 3.0 instead of 2.8 (H100, 2026-11-27, in L2,
    // rows/tile_limits/e4m3/256, rows/sorted_token_ids_by_id/bf16/256).
    if constexpr (schedule != Schedule::list && schedule != Schedule::entry)
      fetch_parameters(arguments);
    else if constexpr (vectors > 1 && requires { Work::first_column(); })
      fetch_parameters(arguments, low_word(arguments.x), Work::first_column());
    else
      fetch_parameters(arguments, low_word(arguments.x), 0);
    constexpr bool narrow = schedule == Schedule::entry;
    if constexpr (vectors == 1 && requires { Work::template fetch_layouts<narrow>(arguments); })
      Work::template fetch_layouts<narrow>(arguments);
    start_if_metadata_is_ready(arguments.pdl);
  }

  // May what a row's first chunk loads be worked out before the row is known?
  static constexpr bool is_straight = reach == Reach::plain && vectors == 1;

  using List = Entries<reach>;
  using Number = typename List::Number;
  static constexpr bool counts_far = List::counts_far;

  // Not negative here: two instructions fewer for each offset than of a signed number.
  static __device__ __forceinline__ std::int64_t wide(Number row) {
    return static_cast<std::int64_t>(static_cast<std::make_unsigned_t<Number>>(row));
  }
};

}  // namespace moe_act::cuda

// The kernels for every row convention: which rows a CTA does. What a warp does with one is plain_row.cuh's where
// scales are fp32 at strides, layout_lanes.cuh's where they lie in any layout, chunk.cuh's for every model, and where a
// row has one scale.
//
// list: a CTA looks at up to 32 entries and shares out the live ones. segments: a CTA searches among the experts for
// the rows of its share. Both loop over what the grid does not cover, so that the grid may come from a hint. threadIdx:
// x = lane, y = warp along the row, z = row, of lists; blockIdx: x = rows, y = further along the row.
#pragma once

#include <type_traits>

#include "cuda/chunk.cuh"
#include "cuda/dependent_launch.cuh"
#include "cuda/layout_lanes.cuh"
#include "cuda/plain_row.cuh"
#include "cuda/segments.cuh"

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
struct ConventionKernel {
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
    if (arguments.pdl != Pdl::metadata_ready) return;
    wait_for_producers();
    let_dependents_start();
  }

  // Lists have a rule, and are counted in 32 bits, but for those that only general kernels are given. Plain kernels'
  // values and segments have 32 bits.
  static constexpr bool always_has_rule = schedule == Schedule::list && reach != Reach::models;
  using Number = std::conditional_t<always_has_rule || reach == Reach::plain, std::int32_t, std::int64_t>;

  // The rule where there is one: fewer instructions than the addressing takes.
  static __device__ __forceinline__ bool has_rule(const KernelArguments& arguments) {
    return always_has_rule || arguments.entries.exists;
  }
  static __device__ __forceinline__ Number units_of(const KernelArguments& arguments) {
    return static_cast<Number>(always_has_rule ? arguments.entries.units : arguments.rows.units);
  }
  static __device__ __forceinline__ Number value_of(const KernelArguments& arguments, Number entry) {
    if (has_rule(arguments)) return arguments.entries.value_of<reach != Reach::plain>(static_cast<std::int32_t>(entry));
    return static_cast<Number>(arguments.rows.value_of(entry));
  }
  static __device__ __forceinline__ Number row_named(const KernelArguments& arguments, Number entry, Number value) {
    if (has_rule(arguments))
      return arguments.entries.row_named(static_cast<std::int32_t>(entry), static_cast<std::int32_t>(value));
    return static_cast<Number>(arguments.rows.row_named(entry, value));
  }
  static __device__ __forceinline__ Number entries_in_use(const KernelArguments& arguments) {
    const IndexArray& count = always_has_rule ? arguments.entries.count : arguments.rows.count;
    const std::int64_t counted = count.data != nullptr ? count[0] : 0;
    if (has_rule(arguments)) return arguments.entries.entries_in_use(counted);
    return static_cast<Number>(arguments.rows.entries_in_use(counted));
  }

  // A list whose entries the grid covers, one for each row of warps. Nothing is shared and nothing goes on: most of
  // these warps may find that theirs is dead, and what they do until then is most of what the launch does.
  static __device__ __forceinline__ void run_entry(const KernelArguments& arguments, std::int32_t total) {
    const Number entry = static_cast<Number>(blockIdx.x) * blockDim.z + threadIdx.z;
    const bool is_entry = entry < units_of(arguments);
    // Both are asked for before either is used.
    const Number value = is_entry ? value_of(arguments, entry) : 0;
    const Number in_use = entries_in_use(arguments);
    metadata_is_read(arguments);
    if (!is_entry || entry >= in_use) return;
    const Number row = row_named(arguments, entry, value);
    if (row < 0) return;
    run(arguments, Work::row_at(arguments, 0, row, row), entry, 0, row, total);
  }

  static __device__ __forceinline__ void run_list(const KernelArguments& arguments, std::int32_t total) {
    const std::int32_t entries = arguments.entries_per_cta;
    const Number step = static_cast<Number>(gridDim.x) * entries;
    // An entry for each row of warps: each looks at its own. More of them: each lane looks at one.
    const bool shares = entries != static_cast<std::int32_t>(blockDim.z);
    const auto own = static_cast<std::int32_t>(shares ? threadIdx.x : threadIdx.z);
    Number base = static_cast<Number>(blockIdx.x) * entries;
    // Both are asked for before either is used.
    const bool is_entry = own < entries && base + own < units_of(arguments);
    Number value = is_entry ? value_of(arguments, base + own) : 0;
    const Number in_use = entries_in_use(arguments);
    metadata_is_read(arguments);
    while (base < in_use) {
      const Number mine = own < entries && base + own < in_use ? row_named(arguments, base + own, value) : -1;
      const unsigned live = __ballot_sync(all_lanes, mine >= 0);
      for (int rank = shares ? static_cast<int>(threadIdx.z) : 0;; rank += static_cast<int>(blockDim.z)) {
        Number row = mine, entry = base + own;
        if (shares) {
          // The lane whose entry is live with `rank` live ones before it.
          const bool wanted = mine >= 0 && __popc(live & ((1u << threadIdx.x) - 1u)) == rank;
          const unsigned found = __ballot_sync(all_lanes, wanted);
          if (found == 0) break;
          const int lane = __ffs(static_cast<int>(found)) - 1;
          row = __shfl_sync(all_lanes, mine, lane);
          entry = base + lane;
        } else if (live == 0 || rank > 0) {
          break;
        }
        run(arguments, Work::row_at(arguments, 0, row, row), entry, 0, row, total);
      }
      if (in_use - base <= step) return;
      base += step;
      value = own < entries && base + own < in_use ? value_of(arguments, base + own) : 0;
    }
  }

  static __device__ __forceinline__ LiveRow<Number> find(const RowAddressing& rows, std::int64_t number) {
    if constexpr (reach == Reach::plain) {
      if (rows.kind == RowKind::expert_offsets) return SegmentSearch<Number, false>::find_in_range(rows, number);
      return SegmentSearch<Number, false>::find(rows, number);
    } else {
      return SegmentSearch<Number, true>::find(rows, number);
    }
  }

  // One row of a segment, by warps side by side along it.
  static __device__ __forceinline__ void run_live(const KernelArguments& arguments, const LiveRow<Number>& live,
                                                  std::int32_t total) {
    const bool masked = arguments.rows.kind == RowKind::masked;
    const std::int64_t scale_row = masked ? live.row : live.scale_row;
    run(arguments, Work::row_at(arguments, masked ? live.expert : 0, live.row, scale_row), live.row, live.expert,
        live.row, total);
  }

  // A CTA takes so many live rows one after the other, then goes on behind the grid's. Every warp searches by itself:
  // where memory sets the pace a barrier takes more time than a search, 313 instead of 298 us for 131072 rows of e4m3
  // (H100, 2026-11-26, rows/masked).
  static __device__ __forceinline__ void run_segments(const KernelArguments& arguments, std::int32_t total) {
    const std::int32_t share = arguments.entries_per_cta;
    const std::int64_t step = (std::int64_t{gridDim.x} - 1) * share;
    std::int64_t number = std::int64_t{blockIdx.x} * share;
    std::int32_t left_of_share = share;
    for (LiveRow<Number> live{};;) {
      if (live.left == 0) {
        live = find(arguments.rows, number);
        metadata_is_read(arguments);
        if (live.left == 0) return;
      }
      run_live(arguments, live, total);
      ++number, ++live.row, ++live.scale_row, --live.left;
      if (--left_of_share == 0) {
        number += step;
        left_of_share = share;
        live.left = 0;
      }
      if (number >= live.end) return;
    }
  }

  // A CTA takes one live row, found by one of its warps: a search takes as many instructions as a chunk of a row, and
  // of few rows that shows, 4.95 instead of 5.15 us for 1024 (H100, 2026-11-26, rows/masked/bf16/1024).
  static __device__ __forceinline__ void run_segments_by_row(const KernelArguments& arguments, std::int32_t total) {
    __shared__ LiveRow<Number> found[2];
    std::int64_t number = blockIdx.x;
    for (int turn = 0;; turn ^= 1) {  // in turns: those who are late may still read the last one
      if (threadIdx.y == 0) {
        const LiveRow<Number> live = find(arguments.rows, number);
        if (threadIdx.x == 0) found[turn] = live;
      }
      metadata_is_read(arguments);
      __syncthreads();
      const LiveRow<Number> live = found[turn];
      if (live.left == 0) return;
      run_live(arguments, live, total);
      number += gridDim.x;
      if (number >= live.end) return;
    }
  }

  static __device__ __forceinline__ void run(const KernelArguments& arguments) {
    if (arguments.pdl == Pdl::on || arguments.pdl == Pdl::waits) {
      wait_for_producers();
      if (arguments.pdl == Pdl::on) let_dependents_start();
    }
    const std::int32_t total = arguments.total_num_padded_tokens != nullptr ? *arguments.total_num_padded_tokens : 0;
    if constexpr (schedule == Schedule::list)
      return arguments.entries_per_cta == 0 ? run_entry(arguments, total) : run_list(arguments, total);
    if constexpr (schedule == Schedule::segments && reach == Reach::plain)
      if (arguments.entries_per_cta == 1) return run_segments_by_row(arguments, total);
    if constexpr (schedule == Schedule::segments) run_segments(arguments, total);
  }
};

}  // namespace moe_act::cuda

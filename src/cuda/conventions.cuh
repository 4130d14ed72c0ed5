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

  static constexpr bool own_entries = has_own_entries({input, output, schedule, columns, vectors, reach});

  // What is counted in 64 bits, and lists without a rule, are left to general kernels. Plain ones' index has 32 bits.
  static constexpr bool counts_far = reach == Reach::models;
  using Number = std::conditional_t<counts_far, std::int64_t, std::int32_t>;

  // The rule where there is one: fewer instructions than the addressing takes.
  static __device__ __forceinline__ bool has_rule(const KernelArguments& arguments) {
    return !counts_far || arguments.entries.exists;
  }
  static __device__ __forceinline__ Number units_of(const KernelArguments& arguments) {
    return static_cast<Number>(counts_far ? arguments.rows.units : arguments.entries.units);
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
    const IndexArray& count = counts_far ? arguments.rows.count : arguments.entries.count;
    const std::int64_t counted = count.data != nullptr ? count[0] : 0;
    if (has_rule(arguments)) return arguments.entries.entries_in_use(counted);
    return static_cast<Number>(arguments.rows.entries_in_use(counted));
  }

  struct ListedRow {
    Number entry;
    Number row;  // negative: none
  };

  // Of each row of warps its own entry. Most of these warps may find that theirs is dead, and what they do until then
  // is most of what the launch does.
  static __device__ __forceinline__ ListedRow own_entry(const KernelArguments& arguments, Number& in_use) {
    const Number entry = static_cast<Number>(blockIdx.x) * blockDim.z + threadIdx.z;
    const bool is_entry = entry < units_of(arguments);
    // Both are asked for before either is used.
    const Number value = is_entry ? value_of(arguments, entry) : 0;
    in_use = entries_in_use(arguments);
    metadata_is_read(arguments);
    return {entry, is_entry && entry < in_use ? row_named(arguments, entry, value) : -1};
  }

  // The live rows among a CTA's entries, shared out to its rows of warps, then among those behind the grid's.
  struct SharedEntries {
    Number base, in_use, mine;  // mine: the row of the entry that this lane looks at
    unsigned live;              // lanes whose entries are
    int rank;                   // of the next row among them

    __device__ __forceinline__ ListedRow first(const KernelArguments& arguments) {
      base = static_cast<Number>(blockIdx.x) * arguments.entries_per_cta;
      const bool is_entry = looks(arguments) && own() < units_of(arguments);
      const Number value = is_entry ? value_of(arguments, own()) : 0;
      in_use = entries_in_use(arguments);
      metadata_is_read(arguments);
      look(arguments, value);
      return next(arguments);
    }
    __device__ __forceinline__ ListedRow next(const KernelArguments& arguments) {
      while (base < in_use) {
        // The lane whose entry is live with `rank` live ones before it.
        const bool wanted = mine >= 0 && __popc(live & ((1u << threadIdx.x) - 1u)) == rank;
        const unsigned found = __ballot_sync(all_lanes, wanted);
        if (found != 0) {
          rank += static_cast<int>(blockDim.z);
          const int lane = __ffs(static_cast<int>(found)) - 1;
          return {base + lane, __shfl_sync(all_lanes, mine, lane)};
        }
        const Number step = static_cast<Number>(gridDim.x) * arguments.entries_per_cta;
        if (in_use - base <= step) break;
        base += step;
        look(arguments, looks(arguments) && own() < in_use ? value_of(arguments, own()) : 0);
      }
      return {0, -1};
    }

   private:
    static __device__ __forceinline__ bool looks(const KernelArguments& arguments) {
      return static_cast<std::int32_t>(threadIdx.x) < arguments.entries_per_cta;
    }
    __device__ __forceinline__ Number own() const { return base + static_cast<Number>(threadIdx.x); }
    __device__ __forceinline__ void look(const KernelArguments& arguments, Number value) {
      mine = looks(arguments) && own() < in_use ? row_named(arguments, own(), value) : -1;
      live = __ballot_sync(all_lanes, mine >= 0);
      rank = static_cast<int>(threadIdx.z);
    }
  };

  static __device__ __forceinline__ void run_list(const KernelArguments& arguments, std::int32_t total) {
    const auto run_listed = [&](const ListedRow& listed) {
      run(arguments, Work::row_at(arguments, 0, listed.row, listed.row), listed.entry, 0, listed.row, total);
    };
    const bool looks_once = arguments.entries_per_cta == 0;
    Number in_use;
    // Straight code where entries are looked at once: 2.8 instead of 3.0 us (H100, 2026-11-26,
    // out_scale/row_major-32/256).
    if constexpr (own_entries) {
      ListedRow listed = own_entry(arguments, in_use);
      if (looks_once) {
        if (listed.row >= 0) run_listed(listed);
        return;
      }
      for (const Number step = static_cast<Number>(gridDim.x) * blockDim.z;; listed.entry += step) {
        if (listed.row >= 0) run_listed(listed);
        if (in_use - listed.entry <= step) return;
        const Number next = listed.entry + step;
        listed.row = row_named(arguments, next, value_of(arguments, next));
      }
    } else {
      SharedEntries shared;
      ListedRow listed = looks_once ? own_entry(arguments, in_use) : shared.first(arguments);
      while (listed.row >= 0) {  // one place for both: the code of a row is long
        run_listed(listed);
        if (looks_once) return;
        listed = shared.next(arguments);
      }
    }
  }

  static __device__ __forceinline__ LiveRow<Number> find(const KernelArguments& arguments, std::int64_t number) {
    const RowAddressing& rows = arguments.rows;
    using Search = SegmentSearch<Number, reach != Reach::plain, reach != Reach::plain>;
    if constexpr (reach != Reach::models) {
      const bool pads =
          reach == Reach::layouts && (arguments.x_scale_view.swizzled || arguments.out_scale_view.swizzled);
      if (rows.kind == RowKind::expert_offsets && !pads) return Search::find_in_range(rows, number);
    }
    return Search::find(rows, number);
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
        live = find(arguments, number);
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
  // of few rows that shows, 4.95 instead of 5.15 us for 1024 (H100, 2026-11-26, rows/masked/bf16/1024); 5.48 as a case
  // of the loop above.
  static __device__ __forceinline__ void run_segments_by_row(const KernelArguments& arguments, std::int32_t total) {
    __shared__ LiveRow<Number> found[2];
    std::int64_t number = blockIdx.x;
    for (int turn = 0;; turn ^= 1) {  // in turns: those who are late may still read the last one
      if (threadIdx.y == 0) {
        const LiveRow<Number> live = find(arguments, number);
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
    if constexpr (schedule == Schedule::list) return run_list(arguments, total);
    if constexpr (schedule == Schedule::segments && reach == Reach::plain)
      if (arguments.entries_per_cta == 1) return run_segments_by_row(arguments, total);
    if constexpr (schedule == Schedule::segments) run_segments(arguments, total);
  }
};

}  // namespace moe_act::cuda

// The kernels for every row convention: which rows a CTA does. What a warp does with one is plain_row.cuh's where
// scales are fp32 at strides, layout_lanes.cuh's where they lie in any layout, chunk.cuh's for every model, and where a
// row has one scale.
//
// list: a CTA looks at up to 32 entries and shares out the live ones. segments: its warps, or one of them for all,
// search among the experts for the rows of its share, unless they are one range. span: one range alone. All loop over
// what the grid does not cover, so that the grid may come from a hint. threadIdx: x = lane, y = warp along the row,
// z = row; blockIdx: x and z = rows, y = further along the row.
#pragma once

#include <type_traits>

#include "cuda/chunk.cuh"
#include "cuda/dependent_launch.cuh"
#include "cuda/entries.cuh"
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
    // Lists have looked at the first line alone, what searches at more: 2.82 instead of 2.86 us. Two vectors' column is
    // worked out, too, 2.59 instead of 2.63; one's would take 3.0 instead of 2.8 (H100, 2026-11-27, in L2,
    // rows/tile_limits/e4m3/256, rows/sorted_token_ids_by_id/bf16/256).
    if constexpr (schedule != Schedule::list)
      fetch_parameters(arguments);
    else if constexpr (vectors > 1 && requires { Work::first_column(); })
      fetch_parameters(arguments, low_word(arguments.x), Work::first_column());
    else
      fetch_parameters(arguments, low_word(arguments.x), 0);
    if constexpr (vectors == 1 && requires { Work::fetch_layouts(arguments); }) Work::fetch_layouts(arguments);
    start_if_metadata_is_ready(arguments);
  }
  static __device__ __forceinline__ void start_if_metadata_is_ready(const KernelArguments& arguments) {
    if (arguments.pdl != Pdl::metadata_ready) return;
    wait_for_producers();
    let_dependents_start();
  }

  static constexpr bool search_for_cta = has_search_for_cta({input, output, schedule, columns, vectors, reach});
  static constexpr bool own_entries = has_own_entries({input, output, schedule, columns, vectors, reach});

  using List = Entries<reach>;
  using Number = typename List::Number;
  static constexpr bool counts_far = List::counts_far;

  // Not negative here: two instructions fewer for each offset than of a signed number.
  static __device__ __forceinline__ std::int64_t wide(Number row) {
    return static_cast<std::int64_t>(static_cast<std::make_unsigned_t<Number>>(row));
  }

  struct ListedRow {
    Number entry, row;  // row negative: none
  };

  // Of each row of warps its own entry. CTAs that start side by side look at entries gridDim.z CTAs' worth apart: live
  // ones come in runs, the first rows of every tile, and would fall to a few of the multiprocessors, 3.90 instead
  // of 3.62 us (H100, 2026-11-26, rows/row_to_expert/e4m3/256).
  static __device__ __forceinline__ ListedRow own_entry(const KernelArguments& arguments, Number& in_use) {
    const auto cta = static_cast<Number>(blockIdx.x) * static_cast<Number>(gridDim.z) + static_cast<Number>(blockIdx.z);
    const Number entry = cta * static_cast<Number>(blockDim.z) + static_cast<Number>(threadIdx.z);
    // Both are asked for before either is used.
    const Number value = entry < List::units_of(arguments) ? List::value_of(arguments, entry) : 0;
    in_use = List::read_in_use(arguments);
    metadata_is_read(arguments);
    if constexpr (counts_far)  // which may divide and look once more
      return {entry, List::is_in_use(arguments, entry, in_use) ? List::row_named(arguments, entry, value) : -1};
    const Number named = List::row_named(arguments, entry, value);  // without a jump around it
    return {entry, List::is_in_use(arguments, entry, in_use) ? named : -1};
  }

  // The live rows among a CTA's entries, shared out to its rows of warps, then among those behind the grid's.
  struct SharedEntries {
    Number base, in_use, mine;  // mine: the row of the entry that this lane looks at
    unsigned live;              // lanes whose entries are
    int rank;                   // of the next row among them

    __device__ __forceinline__ ListedRow first(const KernelArguments& arguments) {
      base = static_cast<Number>(blockIdx.x) * arguments.entries_per_cta;
      const Number value = looks(arguments) ? List::value_of(arguments, own()) : 0;
      in_use = List::read_in_use(arguments);
      metadata_is_read(arguments);
      look(arguments, value);
      return next(arguments);
    }
    __device__ __forceinline__ ListedRow next(const KernelArguments& arguments) {
      for (const Number step = static_cast<Number>(gridDim.x) * arguments.entries_per_cta;;) {
        // The lane whose entry is live with `rank` live ones before it.
        const bool wanted = mine >= 0 && __popc(live & ((1u << threadIdx.x) - 1u)) == rank;
        const unsigned found = __ballot_sync(all_lanes, wanted);
        if (found != 0) {
          rank += static_cast<int>(blockDim.z);
          const int lane = __ffs(static_cast<int>(found)) - 1;
          return {base + lane, __shfl_sync(all_lanes, mine, lane)};
        }
        base += step;
        if (!List::is_in_use(arguments, base, in_use)) return {0, -1};
        look(arguments, looks(arguments) ? List::value_of(arguments, own()) : 0);
      }
    }

   private:
    __device__ __forceinline__ Number own() const { return base + static_cast<Number>(threadIdx.x); }
    __device__ __forceinline__ bool looks(const KernelArguments& arguments) const {
      return static_cast<std::int32_t>(threadIdx.x) < arguments.entries_per_cta && own() < List::units_of(arguments);
    }
    __device__ __forceinline__ void look(const KernelArguments& arguments, Number value) {
      const bool in = looks(arguments) && List::is_in_use(arguments, own(), in_use);
      mine = in ? List::row_named(arguments, own(), value) : -1;
      live = __ballot_sync(all_lanes, mine >= 0);
      rank = static_cast<int>(threadIdx.z);
    }
  };

  static __device__ __forceinline__ void run_list(const KernelArguments& arguments, std::int32_t total) {
    const auto run_listed = [&](const ListedRow& listed) {
      const std::int64_t row = wide(listed.row);
      run(arguments, Work::row_at(arguments, 0, row, row), listed.entry, 0, row, total);
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
        const Number next = listed.entry + step;
        if (!List::is_in_use(arguments, next, in_use)) return;
        listed.row = List::row_named(arguments, next, List::value_of(arguments, next));
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

  using Search = SegmentSearch<Number, reach != Reach::plain, List::may_be_64_bit, search_for_cta>;

  // Offsets, but where every expert's scales are padded.
  static __device__ __forceinline__ bool is_one_range(const KernelArguments& arguments) {
    const bool swizzled = arguments.x_scale_layout.swizzled || arguments.out_scale_layout.swizzled;
    return arguments.segments.kind == RowKind::expert_offsets && !(reach == Reach::layouts && swizzled);
  }
  static __device__ __forceinline__ LiveRow<Number> find(const KernelArguments& arguments, Number number) {
    if constexpr (counts_far) {
      return Search::find(arguments.rows.segment_rule<Number>(), number);
    } else {
      if (is_one_range(arguments)) return typename Search::Range(arguments.segments).find(number);
      return Search::find(arguments.segments, number);
    }
  }

  // One row of a segment, by warps side by side along it.
  static __device__ __forceinline__ void run_live(const KernelArguments& arguments, const LiveRow<Number>& live,
                                                  std::int32_t total) {
    const bool masked = (counts_far ? arguments.rows.kind : arguments.segments.kind) == RowKind::masked;
    const std::int64_t part = masked ? wide(live.expert) : 0, row = wide(live.row);
    run(arguments, Work::row_at(arguments, part, row, masked ? row : wide(live.scale_row)), row, wide(live.expert), row,
        total);
  }

  // A CTA takes so many live rows side by side, a row of warps at a time, then goes on behind the grid's. Every warp
  // searches: where memory sets the pace a barrier takes longer, 313 instead of 298 us (H100, 2026-11-26,
  // rows/masked/e4m3/131072). The first search lies before the loop, or what is worked out for the rows ahead of a loop
  // would be in its way.
  static __device__ __forceinline__ void run_segments(const KernelArguments& arguments, std::int32_t total) {
    const auto at_once = static_cast<Number>(blockDim.z);
    const Number share = arguments.entries_per_cta;
    const auto begin_of_next = static_cast<Number>(gridDim.x) * share;
    Number number = static_cast<Number>(blockIdx.x) * share + static_cast<Number>(threadIdx.z);
    LiveRow<Number> live = find(arguments, number);
    metadata_is_read(arguments);
    for (Number done = at_once; live.left > 0; done += at_once) {
      run_live(arguments, live, total);
      number += at_once, live.row += at_once, live.scale_row += at_once, live.left -= at_once;
      if (done == share) {
        number += begin_of_next - share;
        done = live.left = 0;
      }
      if (number >= live.end) return;
      if (live.left <= 0) live = find(arguments, number);
    }
  }

  // A CTA takes one row of a range, without search or barrier: 2.40 instead of 2.55 us (H100, 2026-11-27,
  // rows/expert_offsets/e4m3/256 in L2). What it loads is worked out while the range is asked for, where that is fast.
  static __device__ __forceinline__ void run_range_by_row(const KernelArguments& arguments, const auto& rule,
                                                          std::int32_t total) {
    typename Search::Range range(rule);
    const auto apart = static_cast<Number>(gridDim.x);
    if constexpr (requires { Work::run_first_chunk; }) {
      const std::uint32_t first = Work::first_column();
      typename Work::FirstRow first_row(arguments, first);
      first_row.fetch(arguments);
      asm volatile("" : "+r"(range.begin), "+r"(range.end));  // used behind this
      start_if_metadata_is_ready(arguments);
      LiveRow<Number> live = range.find(static_cast<Number>(blockIdx.x));
      if (live.left <= 0 || first >= arguments.columns) return;
      Work::run_first_chunk(arguments, static_cast<std::uint32_t>(live.row), first_row);
      for (std::uint32_t begin = first + Work::columns_apart();; begin = first) {
        Work::run_row_from(arguments, Work::row_at(arguments, 0, wide(live.row), wide(live.row)), begin);
        live.row += apart, live.left -= apart;
        if (live.left <= 0) return;
      }
    } else {
      metadata_is_read(arguments);
      LiveRow<Number> live = range.find(static_cast<Number>(blockIdx.x));
      for (; live.left > 0; live.row += apart, live.left -= apart) {
        const std::int64_t row = wide(live.row);
        run(arguments, Work::row_at(arguments, 0, row, row), row, 0, row, total);
      }
    }
  }

  struct alignas(4 * sizeof(Number)) FoundRow {  // one load of shared memory
    Number expert, row, scale_row, end;          // end = 0: there is no such row
  };

  // A CTA takes one live row, found by one of its warps: 3.2 instead of 3.55 us (H100, 2026-11-26,
  // rows/masked/bf16/256).
  static __device__ __forceinline__ void run_segments_by_row(const KernelArguments& arguments, std::int32_t total) {
    if (is_one_range(arguments)) return run_range_by_row(arguments, arguments.segments, total);
    __shared__ FoundRow found[2];  // in turns: those who are late may still read the last one
    auto number = static_cast<Number>(blockIdx.x);
    const auto find_for_all = [&](int turn) {
      if (threadIdx.y != 0) return;
      const LiveRow<Number> live = Search::find(arguments.segments, number);
      if (threadIdx.x == 0) found[turn] = {live.expert, live.row, live.scale_row, live.left > 0 ? live.end : 0};
    };
    find_for_all(0);
    metadata_is_read(arguments);
    for (int turn = 0;; turn ^= 1) {
      __syncthreads();
      const FoundRow live = found[turn];
      if (live.end == 0) return;
      run_live(arguments, {live.expert, live.row, live.scale_row, 1, live.end}, total);
      number += static_cast<Number>(gridDim.x);
      if (number >= live.end) return;
      find_for_all(turn ^ 1);
    }
  }

  static __device__ __forceinline__ void run(const KernelArguments& arguments) {
    if (waits_first(arguments.pdl)) {
      wait_for_producers();
      if (arguments.pdl == Pdl::on) let_dependents_start();
    }
    std::int32_t total = 0;
    if constexpr (reach != Reach::plain)
      if (arguments.total_num_padded_tokens != nullptr) total = *arguments.total_num_padded_tokens;
    if constexpr (schedule == Schedule::list)
      run_list(arguments, total);
    else if constexpr (schedule == Schedule::span)
      run_range_by_row(arguments, arguments.span, total);
    else if constexpr (search_for_cta)
      run_segments_by_row(arguments, total);
    else
      run_segments(arguments, total);
  }
};

}  // namespace moe_act::cuda

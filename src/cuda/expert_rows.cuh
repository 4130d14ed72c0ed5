// Rows of experts, and ranges of rows. segments: a CTA's warps, or one of them for all, search among the experts for
// the rows of its share, unless they are one range. span: one range alone.
#pragma once

#include "cuda/convention_work.cuh"
#include "cuda/segments.cuh"

namespace moe_act::cuda {

template <Format input, OutputKind output, Schedule schedule, int columns, int vectors, Reach reach>
struct ExpertRows : ConventionWork<input, output, schedule, columns, vectors, reach> {
  using Base = ConventionWork<input, output, schedule, columns, vectors, reach>;
  using Base::counts_far;
  using Base::is_straight;
  using Base::metadata_is_read;
  using Base::run;
  using Base::wide;
  using typename Base::List;
  using typename Base::Number;
  using typename Base::Work;
  static constexpr bool search_for_cta = has_search_for_cta({input, output, schedule, columns, vectors, reach});
  static constexpr bool leaves_ranges_to_spans = has_span_instead({input, output, schedule, columns, vectors, reach});

  using Search = SegmentSearch<Number, reach != Reach::plain, List::may_be_64_bit, search_for_cta>;

  // Offsets, but where every expert's scales are padded.
  static __device__ __forceinline__ bool is_one_range(const KernelArguments& arguments) {
    if constexpr (leaves_ranges_to_spans) return false;
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
    const std::int64_t row = wide(live.row);
    run(arguments, Work::row_at(arguments, wide(live.part), row, wide(live.scale_row)), row, wide(live.expert), row,
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
    if constexpr (is_straight) {
      const std::uint32_t first = Work::first_column();
      typename Work::FirstRow first_row(arguments, first);
      first_row.fetch(arguments);
      asm volatile("" : "+r"(range.begin), "+r"(range.end));  // used behind this
      start_if_metadata_is_ready(arguments.pdl);
      LiveRow<Number> live = range.find(static_cast<Number>(blockIdx.x));
      if (live.left <= 0 || first >= arguments.columns) return;
      Work::run_first_chunk(arguments, 0, static_cast<std::uint32_t>(live.row), first_row);
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

  // What one warp of a CTA tells the others. In turns: those who are late may still read the last one.
  struct FoundRows {
    struct alignas(16) Row {                   // one load of shared memory
      std::int32_t part, row, scale_row, end;  // end = 0: there is no such row
    };
    std::uint32_t address;

    // Known ahead: else the special register that it takes is asked for once the row is found, 2.51 instead of 2.48 us
    // (H100, 2026-11-27, rows/masked/e4m3/256 in L2).
    explicit __device__ __forceinline__ FoundRows(const Row (&rows)[2])
        : address(static_cast<std::uint32_t>(__cvta_generic_to_shared(rows))) {
      asm volatile("" : "+r"(address));
    }
    __device__ __forceinline__ void tell(int turn, const LiveRow<std::int32_t>& live) const {
      asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(place(turn)), "r"(live.part), "r"(live.row),
                   "r"(live.scale_row), "r"(live.end)
                   : "memory");
    }
    __device__ __forceinline__ Row told(int turn) const {
      Row row;
      asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(row.part), "=r"(row.row), "=r"(row.scale_row), "=r"(row.end)
                   : "r"(place(turn))
                   : "memory");
      return row;
    }

   private:
    __device__ __forceinline__ std::uint32_t place(int turn) const {
      return address + static_cast<std::uint32_t>(turn) * std::uint32_t{sizeof(Row)};
    }
  };

  // A CTA takes one live row, found by one of its warps: 3.2 instead of 3.55 us (H100, 2026-11-26,
  // rows/masked/bf16/256).
  static __device__ __forceinline__ void run_segments_by_row(const KernelArguments& arguments, std::int32_t total) {
    if (is_one_range(arguments)) return run_range_by_row(arguments, arguments.segments, total);
    __shared__ typename FoundRows::Row slots[2];
    const FoundRows found(slots);
    auto number = static_cast<Number>(blockIdx.x);
    const bool searches = threadIdx.y == 0;
    const auto find_for_all = [&](int turn) {
      if (!searches) return;
      const LiveRow<Number> live = Search::find(arguments.segments, number);
      // By whichever lanes know the row, or that there is none.
      if (live.left > 0 || live.end == 0) found.tell(turn, live);
    };
    const auto place_of = [&](const typename FoundRows::Row& live) {
      return Work::row_at(arguments, wide(live.part), wide(live.row), wide(live.scale_row));
    };
    if constexpr (is_straight) {
      const std::uint32_t first = Work::first_column();
      typename Work::FirstRow first_row;
      // Not by the warp that searches: it would wait for parameters, and all others for it.
      if (searches) {
        find_for_all(0);
      } else {
        first_row = typename Work::FirstRow(arguments, first);
        first_row.fetch(arguments);
      }
      start_if_metadata_is_ready(arguments.pdl);
      __syncthreads();
      typename FoundRows::Row live = found.told(0);
      if (live.end == 0) return;
      if (searches) first_row = typename Work::FirstRow(arguments, first);
      if (first < arguments.columns)
        Work::run_first_chunk(arguments, static_cast<std::uint32_t>(live.part), static_cast<std::uint32_t>(live.row),
                              first_row);
      std::uint32_t begin = first + Work::columns_apart();
      for (int turn = 1;; turn ^= 1) {
        Work::run_row_from(arguments, place_of(live), begin);
        begin = first;
        number += static_cast<Number>(gridDim.x);
        if (number >= live.end) return;
        find_for_all(turn);
        __syncthreads();
        live = found.told(turn);
        if (live.end == 0) return;
      }
    } else {
      find_for_all(0);
      metadata_is_read(arguments);
      for (int turn = 0;; turn ^= 1) {
        __syncthreads();
        const typename FoundRows::Row live = found.told(turn);
        if (live.end == 0) return;
        run(arguments, place_of(live), wide(live.row), wide(live.part), wide(live.row), total);
        number += static_cast<Number>(gridDim.x);
        if (number >= live.end) return;
        find_for_all(turn ^ 1);
      }
    }
  }
};

}  // namespace moe_act::cuda

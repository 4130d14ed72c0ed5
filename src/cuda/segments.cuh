// Rows of experts, a segment for each: whose is a live row, and where, if those of all experts are numbered one after
// the other. A warp finds out by itself from what the index says, without a barrier: two looks and two scans, one of
// each where counts alone say it, and of a range its ends. Few instructions matter more than anything else here: where
// rows are few, the first run through the code is the launch.
#pragma once

#include "cuda/lane_sums.cuh"
#include "math/scale_view.hpp"

namespace moe_act::cuda {

template <typename Number>
struct LiveRow {
  Number expert;
  Number part;       // masked: the expert's, of which row is one, else 0
  Number row;        // in the buffers
  Number scale_row;  // of swizzled scales, which pad every segment
  Number left;       // live rows of the expert from this one on; 0: there is no such row
  Number end;        // numbers at or past this one are no row's
};

// pads_scales: is scale_row wanted? may_be_64_bit: the index. row_alone: for who asks for one row, whatever follows it:
// `left` may be 1 then, and 0 in all lanes but one, which knows the row.
template <typename Count, bool pads_scales, bool may_be_64_bit, bool row_alone>
class SegmentSearch : LaneSums {
 public:
  using Number = Count;
  using Rule = SegmentRule<Number>;

  static __device__ __forceinline__ LiveRow<Number> find(const Rule& rule, Number wanted) {
    if constexpr (knows_counts)
      if (rule.kind == RowKind::masked && !(may_be_64_bit && rule.is_64_bit)) return find_by_counts(rule, wanted);
    return find_by_ends(rule, wanted);
  }

  // Of a prefix, or of offsets, where nobody asks for experts: all live rows are one range. What the device says of it.
  struct Range {
    Number begin, end, rows;

    explicit __device__ __forceinline__ Range(const SpanRule& rule)
        : begin(rule.begin == nullptr ? 0 : *rule.begin),
          end(rule.end == nullptr ? rule.rows : *rule.end),
          rows(rule.rows) {}

    // Experts are never negative, but ptxas leaves a load in its place only if it may be left out; else it stands
    // behind the wait for parameters that only what follows needs.
    explicit __device__ __forceinline__ Range(const Rule& rule)
        : begin(rule.experts < 0 ? 0 : value_at(rule, 0)),
          end(rule.experts < 0 ? 0 : value_at(rule, rule.experts)),
          rows(rule.rows) {}
    __device__ __forceinline__ LiveRow<Number> find(Number number) const {
      const Number first = within(begin, rows);
      const Number count = within(end, rows) - first;
      if (number >= count) return {};
      const Number row = first + number;
      return {0, 0, row, row, count - number, count};
    }
  };

 private:
  static constexpr int experts_per_lane = 8;
  static constexpr int experts_per_look = lanes * experts_per_lane;
  // Plain kernels find offsets in a range.
  static constexpr bool knows_offsets = pads_scales;
  // Masked rows are found by their counts where rows are counted in 32 bits, and these have as many.
  static constexpr bool knows_counts = sizeof(Number) == sizeof(std::int32_t);
  static constexpr Number most_scale_rows = (sizeof(Number) == sizeof(std::int32_t) ? INT32_MAX : INT64_MAX) / 2;

  static __device__ __forceinline__ LiveRow<Number> find_by_ends(const Rule& rule, Number wanted) {
    const Number most = rule.most_live_rows;
    if (wanted >= most) return {};
    Number before = 0, scale_rows_before = 0;
#pragma unroll 1
    for (Number group = 0; group < rule.experts; group += experts_per_look) {
      // First, how many rows each lane's experts have.
      Number says[experts_per_lane + 1];
      look_up(rule, group + static_cast<Number>(threadIdx.x) * experts_per_lane, says);
      Number sum = 0, scale_sum = 0;
      const auto add = [&](Number count) {
        sum = sum_within(sum, count, most);
        if constexpr (pads_scales) scale_sum = sum_within(scale_sum, padded(count), most_scale_rows);
      };
#pragma unroll
      for (int i = 0; i < experts_per_lane; ++i) add(rule.between(says[i], says[i + 1]).rows);
      const Number sum_here = sum_up_to_lane<lanes>(sum, most);
      const Number scale_sum_here = pads_scales ? sum_up_to_lane<lanes>(scale_sum, most_scale_rows) : 0;
      // Not sum_here less sum: where decreasing offsets name more than `most` rows, one is bounded, the other may not
      // be.
      const Number in_lane = wanted - before - from_lane_before<lanes>(sum_here, 1);
      const unsigned found = __ballot_sync(all_lanes, in_lane >= 0 && in_lane < sum);
      if (found != 0) {
        const int lane = lane_of(found);
        Number scale_rows = 0;
        if constexpr (pads_scales)
          scale_rows = scale_rows_before + __shfl_sync(all_lanes, from_lane_before<lanes>(scale_sum_here, 1), lane);
        LiveRow<Number> live = find_among(rule, group + static_cast<Number>(lane) * experts_per_lane,
                                          __shfl_sync(all_lanes, in_lane, lane), scale_rows);
        live.left = live.left < most - wanted ? live.left : most - wanted;
        const bool is_last = group + experts_per_look >= rule.experts;
        live.end = is_last ? sum_within(before, __shfl_sync(all_lanes, sum_here, lanes - 1), most) : most;
        return live;
      }
      before = sum_within(before, __shfl_sync(all_lanes, sum_here, lanes - 1), most);
      if constexpr (pads_scales)
        scale_rows_before =
            sum_within(scale_rows_before, __shfl_sync(all_lanes, scale_sum_here, lanes - 1), most_scale_rows);
    }
    return {};
  }

  // Of masked rows: every expert begins at row 0, and no sum goes beyond 32 bits. The lane that has the row among its
  // experts' says whose it is, from the counts that it holds: looking again took 2.7 instead of 2.5 us, and saying it
  // to all lanes 2.55 instead of 2.5 (H100, 2026-11-27, rows/masked/bf16/256 and rows/masked/e4m3/256 in L2).
  static __device__ __forceinline__ LiveRow<Number> find_by_counts(const Rule& rule, Number wanted) {
    Number before = 0, count[experts_per_lane];
    // Ahead of the loop, which is run through once where there are not many experts: 2.58 instead of 2.6 us (H100,
    // 2026-11-27, rows/masked/bf16/256 in L2).
    look_up_counts(rule, static_cast<Number>(threadIdx.x) * experts_per_lane, count);
#pragma unroll 1
    for (Number group = 0; group < rule.experts; group += experts_per_look) {
      const Number first = group + static_cast<Number>(threadIdx.x) * experts_per_lane;
      Number up_to[experts_per_lane];
      if (group > 0) look_up_counts(rule, first, count);
#pragma unroll
      for (Number& rows : count) rows = within(rows, rule.rows);
      // By a tree, as the lanes' sums wait for it, and the sums in between for nothing yet.
      const Number sum =
          ((count[0] + count[1]) + (count[2] + count[3])) + ((count[4] + count[5]) + (count[6] + count[7]));
      up_to[0] = count[0];
#pragma unroll
      for (int i = 1; i < experts_per_lane; ++i) {
        up_to[i] = up_to[i - 1] + count[i];
        if constexpr (row_alone) asm volatile("" : "+r"(up_to[i]));  // while lanes are added up, not after that
      }
      const Number sum_here = add_lanes_before(sum);
      const Number in_lane = wanted - before - (sum_here - sum);
      const bool is_here = in_lane >= 0 && in_lane < sum;
      const unsigned found = __ballot_sync(all_lanes, is_here);
      before += __shfl_sync(all_lanes, sum_here, lanes - 1);
      if (found == 0) continue;
      // Of eight experts, in three steps: the one whose rows begin at or before, and end behind.
      const bool fourth = in_lane >= up_to[3];
      const Number second_end = fourth ? up_to[5] : up_to[1];
      const bool second = in_lane >= second_end;
      const Number first_end = second ? fourth ? up_to[6] : up_to[2] : fourth ? up_to[4] : up_to[0];
      const bool next = in_lane >= first_end;
      const Number expert = first + (fourth ? 4 : 0) + (second ? 2 : 0) + (next ? 1 : 0);
      const Number begin = next ? first_end : second ? second_end : fourth ? up_to[3] : 0;
      const Number end = !next ? first_end : !second ? second_end : !fourth ? up_to[3] : sum;
      const bool is_last = group + experts_per_look >= rule.experts;
      LiveRow<Number> live{expert, expert, in_lane - begin, 0, end - in_lane, is_last ? before : rule.most_live_rows};
      if constexpr (row_alone) {
        live.left = is_here ? 1 : 0;
      } else {
        const int lane = lane_of(found);
        live.expert = live.part = __shfl_sync(all_lanes, expert, lane);
        live.row = __shfl_sync(all_lanes, live.row, lane);
        live.left = __shfl_sync(all_lanes, live.left, lane);
      }
      live.scale_row = live.row;
      return live;
    }
    return {};
  }

  static __device__ __forceinline__ Number value_at(const Rule& rule, Number i) {
    return rule.template value_at<may_be_64_bit>(i);
  }
  static __device__ __forceinline__ Number padded(Number rows) {
    return (rows + math::swizzle_rows - 1) / math::swizzle_rows * math::swizzle_rows;
  }
  static __device__ __forceinline__ int lane_of(unsigned one_bit) { return 31 - __clz(static_cast<int>(one_bit)); }

  // Which of a lane's experts, by as many lanes: they look once more, at what is in L1 by now. in_lane: the number of
  // the row among theirs.
  static __device__ __forceinline__ LiveRow<Number> find_among(const Rule& rule, Number first, Number in_lane,
                                                               Number scale_rows_before) {
    const Number expert = first + static_cast<Number>(threadIdx.x % experts_per_lane);
    BasicSegment<Number> segment = {};
    if (expert < rule.experts) {
      const Number at = expert + (knows_offsets ? rule.own_value() : 0);
      segment = rule.between(at > 0 ? value_at(rule, at - 1) : 0, value_at(rule, at));
    }
    const Number end = sum_up_to_lane<experts_per_lane>(segment.rows, rule.most_live_rows);
    Number scale_begin = 0;
    if constexpr (pads_scales)
      scale_begin = scale_rows_before + from_lane_before<experts_per_lane>(
                                            sum_up_to_lane<experts_per_lane>(padded(segment.rows), most_scale_rows), 1);
    // Ends never decrease: so many experts of the lane end before the row.
    const int own = __popc(__ballot_sync(all_lanes, end <= in_lane)) / (lanes / experts_per_lane);
    const Number in_segment = in_lane - __shfl_sync(all_lanes, from_lane_before<experts_per_lane>(end, 1), own);
    const Number row = __shfl_sync(all_lanes, segment.first_row, own) + in_segment;
    const bool masked = rule.kind == RowKind::masked;
    const Number scale_row = pads_scales && !masked ? __shfl_sync(all_lanes, scale_begin, own) + in_segment : row;
    return {first + own,
            masked ? first + own : 0,
            row,
            scale_row,
            __shfl_sync(all_lanes, segment.rows, own) - in_segment,
            0};
  }

  // Of expert first + i, 0 where there is none.
  static __device__ __forceinline__ void look_up_counts(const Rule& rule, Number first,
                                                        Number (&count)[experts_per_lane]) {
    const auto* values = static_cast<const std::int32_t*>(rule.index) + first;
    if (are_side_by_side(rule, first, values)) return load(values, count);
#pragma unroll
    for (int i = 0; i < experts_per_lane; ++i) count[i] = first + i < rule.experts ? values[i] : 0;
  }

  // Can they be loaded as vectors? One by one they would keep the unit that loads busy for longer than memory takes.
  static __device__ __forceinline__ bool are_side_by_side(const Rule& rule, Number first, const std::int32_t* values) {
    return reinterpret_cast<std::uintptr_t>(values) % sizeof(int4) == 0 && first + experts_per_lane <= rule.experts;
  }
  static __device__ __forceinline__ void load(const std::int32_t* values, std::int32_t (&loaded)[experts_per_lane]) {
    static_assert(experts_per_lane == 8);
    const int4 low = *reinterpret_cast<const int4*>(values), high = *reinterpret_cast<const int4*>(values + 4);
    const std::int32_t side_by_side[] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
    for (int i = 0; i < experts_per_lane; ++i) loaded[i] = side_by_side[i];
  }

  // says[i + 1]: what the index says of expert first + i, 0 where there is none; says[0]: of the one before, or where
  // offsets begin.
  static __device__ __forceinline__ void look_up(const Rule& rule, Number first, Number (&says)[experts_per_lane + 1]) {
    const int own = knows_offsets ? rule.own_value() : 0;
#pragma unroll
    for (Number& value : says) value = 0;
    if (first >= rule.experts) return;
    if constexpr (sizeof(Number) == sizeof(std::int32_t)) {
      const std::int32_t* values = static_cast<const std::int32_t*>(rule.index) + first;
      const bool narrow = !may_be_64_bit || !rule.is_64_bit;
      if (narrow && are_side_by_side(rule, first, values)) {
        std::int32_t side_by_side[experts_per_lane];
        load(values, side_by_side);
        const std::int32_t beside = own != 0 ? values[experts_per_lane] : first > 0 ? values[-1] : 0;
        says[0] = own != 0 ? side_by_side[0] : beside;
#pragma unroll
        for (int i = 1; i < experts_per_lane; ++i) says[i] = own != 0 ? side_by_side[i] : side_by_side[i - 1];
        says[experts_per_lane] = own != 0 ? beside : side_by_side[experts_per_lane - 1];
        return;
      }
    }
#pragma unroll
    for (int i = 0; i <= experts_per_lane; ++i) {
      const Number at = first + i - 1 + own;
      if (at >= 0 && at < rule.experts + own) says[i] = value_at(rule, at);
    }
  }
};

}  // namespace moe_act::cuda

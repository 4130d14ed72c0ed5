// Rows of experts, a segment for each: whose is a live row, and where, if those of all experts are numbered one after
// the other. A warp finds out by itself from what the index says: one look and one scan, no barrier.
#pragma once

#include <type_traits>

#include "math/row_addressing.hpp"
#include "math/scale_view.hpp"

namespace moe_act::cuda {

template <typename Number>
struct LiveRow {
  Number expert;
  Number row;        // in the buffers; masked: in the expert's part of them
  Number scale_row;  // of swizzled scales, which pad every segment
  Number left;       // live rows of the expert from this one on; 0: there is no such row
  Number end;        // numbers at or past this one are no row's
};

// Number: int32 where has_small_segments(), for fewer instructions and registers; else int64. pads_scales: is scale_row
// wanted? may_be_64_bit: the index.
template <typename Number, bool pads_scales, bool may_be_64_bit>
class SegmentSearch {
 public:
  using Row = LiveRow<Number>;

  static __device__ __forceinline__ Row find(const RowAddressing& rows, std::int64_t number) {
    const std::int64_t most = rows.most_live_rows();
    if (number >= most) return {};
    const auto wanted = static_cast<Number>(number);
    const auto experts = static_cast<Number>(rows.experts);
    Number before = 0, scale_rows_before = 0;
#pragma unroll 1
    for (Number group = 0; group < experts; group += lanes * experts_per_lane) {
      const Number first = group + static_cast<Number>(threadIdx.x) * experts_per_lane;
      Number says[experts_per_lane + 1];
      look_up(rows, experts, first, says);
      // Rows and scale rows of this lane's experts up to each of them.
      Number ends[experts_per_lane], scale_ends[experts_per_lane], sum = 0, scale_sum = 0;
#pragma unroll
      for (int i = 0; i < experts_per_lane; ++i) {
        const Number count = first + i < experts ? rows.segment_between<Number>(says[i], says[i + 1]).rows : 0;
        ends[i] = sum = no_more_than(sum + count, most);
        if constexpr (pads_scales) {
          const Number padded = (count + math::swizzle_rows - 1) / math::swizzle_rows * math::swizzle_rows;
          scale_ends[i] = scale_sum = no_more_than(scale_sum + padded, most_scale_rows);
        }
      }
      const Number sum_here = sum_up_to_lane(sum, most);
      const Number scale_sum_here = pads_scales ? sum_up_to_lane(scale_sum, most_scale_rows) : 0;
      // Not sum_here less sum: where decreasing offsets name more than `most` rows, one is bounded, the other may not
      // be.
      const Number begin = before + sum_before_lane(sum_here);
      before = no_more_than(before + __shfl_sync(all_lanes, sum_here, lanes - 1), most);
      const unsigned found = __ballot_sync(all_lanes, wanted >= begin && wanted - begin < sum);
      if (found != 0) {
        const int lane = __ffs(static_cast<int>(found)) - 1;
        const Number in_lane = wanted - begin;
        Number own = 0, in_segment = in_lane, own_before = says[0], own_value = says[1];
        Number scale_begin = pads_scales ? scale_rows_before + sum_before_lane(scale_sum_here) : 0;
        const Number lane_scale_begin = scale_begin;
#pragma unroll
        for (int i = 1; i < experts_per_lane; ++i) {
          if (ends[i - 1] > in_lane) continue;
          own = i;
          in_segment = in_lane - ends[i - 1];
          own_before = says[i];
          own_value = says[i + 1];
          if constexpr (pads_scales) scale_begin = lane_scale_begin + scale_ends[i - 1];
        }
        const Number expert = group + lane * experts_per_lane + __shfl_sync(all_lanes, own, lane);
        in_segment = __shfl_sync(all_lanes, in_segment, lane);
        const auto segment = rows.segment_between<Number>(__shfl_sync(all_lanes, own_before, lane),
                                                          __shfl_sync(all_lanes, own_value, lane));
        const Number row = segment.first_row + in_segment;
        const Number scale_row = pads_scales ? __shfl_sync(all_lanes, scale_begin, lane) + in_segment : row;
        const bool is_last_group = group + lanes * experts_per_lane >= experts;
        return {expert, row, scale_row, no_more_than(segment.rows - in_segment, most - number),
                is_last_group ? before : static_cast<Number>(most)};
      }
      if constexpr (pads_scales) scale_rows_before += __shfl_sync(all_lanes, scale_sum_here, lanes - 1);
    }
    return {};
  }

  // Of offsets, where nobody asks for experts: all live rows are one range.
  static __device__ __forceinline__ Row find_in_range(const RowAddressing& rows, std::int64_t number) {
    if (rows.experts == 0) return {};
    const std::int64_t begin = rows.index[0], end = rows.index[rows.experts];
    const std::int64_t first = RowAddressing::clamp(begin, rows.rows);
    const std::int64_t count = RowAddressing::clamp(end, rows.rows) - first;
    if (number >= count) return {};
    const auto row = static_cast<Number>(first + number);
    return {0, row, row, static_cast<Number>(count - number), static_cast<Number>(count)};
  }

 private:
  static constexpr int lanes = 32;
  static constexpr unsigned all_lanes = 0xffffffffu;
  static constexpr int experts_per_lane = 8;  // 256 are counted at once
  static constexpr bool is_small = std::is_same_v<Number, std::int32_t>;
  static constexpr std::int64_t most_scale_rows = (is_small ? INT32_MAX : INT64_MAX) / 2;

  static __device__ __forceinline__ Number no_more_than(Number value, std::int64_t most) {
    return value < static_cast<Number>(most) ? value : static_cast<Number>(most);
  }

  static __device__ __forceinline__ Number value_at(const RowAddressing& rows, Number at) {
    if constexpr (is_small)
      return rows.index.in_32_bits<may_be_64_bit>(at);
    else
      return rows.index[at];
  }

  // says[i + 1]: what the index says of expert first + i; says[0]: of the one before, or where offsets begin.
  static __device__ __forceinline__ void look_up(const RowAddressing& rows, Number experts, Number first,
                                                 Number (&says)[experts_per_lane + 1]) {
    const bool offsets = rows.kind == RowKind::expert_offsets;
#pragma unroll
    for (Number& value : says) value = 0;
    if (first >= experts) return;
    if constexpr (is_small) {
      // One by one they would keep the unit that loads busy for longer than memory takes.
      const std::int32_t* values = static_cast<const std::int32_t*>(rows.index.data) + first;
      const bool narrow = !may_be_64_bit || !rows.index.is_64_bit;
      if (narrow && reinterpret_cast<std::uintptr_t>(values) % sizeof(int4) == 0 &&
          first + experts_per_lane <= experts) {
        static_assert(experts_per_lane == 8);
        const int4 low = *reinterpret_cast<const int4*>(values), high = *reinterpret_cast<const int4*>(values + 4);
        const std::int32_t beside = offsets ? values[experts_per_lane] : first > 0 ? values[-1] : 0;
        const std::int32_t own[] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
        says[0] = offsets ? own[0] : beside;
#pragma unroll
        for (int i = 1; i < experts_per_lane; ++i) says[i] = offsets ? own[i] : own[i - 1];
        says[experts_per_lane] = offsets ? beside : own[experts_per_lane - 1];
        return;
      }
    }
    const Number shift = offsets ? 0 : 1;
#pragma unroll
    for (int i = 0; i <= experts_per_lane; ++i)
      if (first + i >= shift && first + i - shift < experts + 1 - shift) says[i] = value_at(rows, first + i - shift);
  }

  static __device__ __forceinline__ Number sum_before_lane(Number sum_up_to_lane) {
    const Number before = __shfl_up_sync(all_lanes, sum_up_to_lane, 1);
    return threadIdx.x > 0 ? before : 0;
  }

  static __device__ __forceinline__ Number sum_up_to_lane(Number value, std::int64_t most) {
#pragma unroll
    for (int distance = 1; distance < lanes; distance *= 2) {
      const Number before = __shfl_up_sync(all_lanes, value, distance);
      if (static_cast<int>(threadIdx.x) >= distance) value = no_more_than(value + before, most);
    }
    return value;
  }
};

}  // namespace moe_act::cuda

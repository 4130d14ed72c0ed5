// Sums over the lanes of a warp, of numbers of 32 or 64 bits.
#pragma once

#include "math/row_addressing.hpp"

namespace moe_act::cuda {

struct LaneSums {
  static constexpr int lanes = 32;
  static constexpr unsigned all_lanes = 0xffffffffu;

  // The value `distance` lanes before, 0 where that is none of this group of adjacent lanes. Of 32 bits the shuffle
  // says so itself.
  template <int group_lanes, typename Number>
  static __device__ __forceinline__ Number from_lane_before(Number value, int distance) {
#ifdef __CUDA_ARCH__
    if constexpr (sizeof(Number) == sizeof(std::int32_t)) {
      std::int32_t before;
      asm volatile(
          "{.reg .pred is_there; shfl.sync.up.b32 %0|is_there, %1, %2, %3, 0xffffffff; @!is_there mov.s32 %0, 0;}"
          : "=r"(before)
          : "r"(value), "r"(distance), "n"((lanes - group_lanes) << 8));
      return before;
    }
#endif
    const Number before = __shfl_up_sync(all_lanes, value, static_cast<unsigned>(distance), group_lanes);
    return static_cast<int>(threadIdx.x % group_lanes) >= distance ? before : 0;
  }
  // With the values of all lanes before.
  static __device__ __forceinline__ std::int32_t add_lanes_before(std::int32_t value) {
#pragma unroll
    for (int distance = 1; distance < lanes; distance *= 2) {
#ifdef __CUDA_ARCH__
      asm volatile(
          "{.reg .pred is_there; .reg .s32 before; shfl.sync.up.b32 before|is_there, %0, %1, 0, 0xffffffff;"
          "@is_there add.s32 %0, %0, before;}"
          : "+r"(value)
          : "r"(distance));
#else
      value += from_lane_before<lanes>(value, distance);
#endif
    }
    return value;
  }
  template <int group_lanes, typename Number>
  static __device__ __forceinline__ Number sum_up_to_lane(Number value, Number most) {
#pragma unroll
    for (int distance = 1; distance < group_lanes; distance *= 2)
      value = sum_within(value, from_lane_before<group_lanes>(value, distance), most);
    return value;
  }
};

}  // namespace moe_act::cuda

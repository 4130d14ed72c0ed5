// Block scales: from the largest magnitude of a block to its scale, and where a scale lies in memory.
#pragma once

#include <cstdint>

#include "math/portable.hpp"

namespace moe_act::math {

inline constexpr float e4m3_max = 448.0f;
inline constexpr float e5m2_over_e4m3 = 128.0f;     // 57344 / 448, so that one division serves both
inline constexpr float smallest_scale = 0x1p-126f;  // FLT_MIN: a scale is never 0, nor subnormal

// The larger of amax and |value|; amax if that is NaN, which must not touch its block's scale.
MOE_ACT_HOST_DEVICE float larger_magnitude(float amax, float value) {
  const float magnitude = from_bits(to_bits(value) & magnitude_mask);
  return magnitude > amax ? magnitude : amax;
}

// max(amax / 448, FLT_MIN), the division correctly rounded. +Inf for an infinite amax. amax is never NaN.
MOE_ACT_HOST_DEVICE float block_scale(float amax) {
#if defined(__CUDA_ARCH__)
  // An IEEE division by a constant in three operations (Markstein); equal to the host's for every fp32 amax, which a
  // test shows for all 2^31 of them. The device's own division has a branch and four times the latency.
  constexpr float inverse = 1.0f / e4m3_max;
  const float quotient = amax * inverse;
  const float corrected = fmaf(fmaf(-e4m3_max, quotient, amax), inverse, quotient);
  const float scale = to_bits(amax) == infinity_bits ? amax : corrected;
#else
  const float scale = amax / e4m3_max;
#endif
  return scale > smallest_scale ? scale : smallest_scale;
}

// How far apart the scales of adjacent rows and of adjacent blocks lie, bytes.
struct ScaleStrides {
  std::uint32_t row;
  std::uint32_t block;
};

}  // namespace moe_act::math

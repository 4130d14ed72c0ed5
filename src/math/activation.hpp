// The activations, one function each, in operations that every instruction set has and rounds alike; src/cuda has its
// own, in those of a GPU. fp32, no implicit contraction: the build forbids fused multiply-adds that are not written as
// such.
#pragma once

#include "math/portable.hpp"

namespace moe_act::math {

// `low` is negative, `high` is not; a NaN becomes one of them. By bits, as compilers vectorise integer minima: among
// signed integers negative floats come first, among unsigned ones last, with -0 before the others.
MOE_ACT_HOST_DEVICE float clamp(float value, float low, float high) {
  const auto signed_bits = static_cast<std::int32_t>(to_bits(value));
  const auto signed_high = static_cast<std::int32_t>(to_bits(high));
  const auto bits = static_cast<std::uint32_t>(signed_bits > signed_high ? signed_high : signed_bits);
  return from_bits(bits > to_bits(low) ? to_bits(low) : bits);
}

// 1 + exp(-gate), which silu divides by. Split from the rest because a CPU has more of a short chain in flight at once.
MOE_ACT_HOST_DEVICE float silu_denominator(float gate) {
  // exp(-gate) = 2^z = 2^n 2^f with |f| <= 1/2. z ends where it no longer matters: 1 + 2^-126 is 1, and 2^128 is
  // infinity, which makes silu 0.
  const float z = clamp(gate * -1.44269504088896341f, -126.0f, 128.0f);
  const float shifted = z + 0x1.8p23f;  // rounds to an integer in the low mantissa bits
  const float f = z - (shifted - 0x1.8p23f);
  // 2^f within 2^-23.3, and exactly 1 at 0. Two halves: half the latency of Horner's chain.
  const float square = f * f;
  const float low = 1.0f + 0x1.62e42ap-1f * f;
  const float high = (0x1.ebf9bcp-3f + 0x1.c6b752p-5f * f) + square * (0x1.3cea88p-7f + 0x1.5bba14p-10f * f);
  const float power = low + square * high;
  return 1.0f + from_bits(to_bits(power) + (to_bits(shifted) << 23));
}

// silu(gate) * up. Relative error of silu below 2^-20 (1 + |gate| / 16); it may be 0 where sigmoid(gate) is below
// 2^-126.
MOE_ACT_HOST_DEVICE float swiglu(float gate, float denominator, float up) {
  return gate / denominator * up;
}

}  // namespace moe_act::math

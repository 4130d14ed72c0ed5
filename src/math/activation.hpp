// The activations, one function each. fp32, no implicit contraction: the build forbids fused multiply-adds that are not
// written as such.
#pragma once

#include "math/portable.hpp"

namespace moe_act::math {

// 1 / (1 + exp(-x)). Relative error below 2^-20 (1 + |x| / 16); a result below 2^-126 may be 0.
MOE_ACT_HOST_DEVICE float sigmoid(float x) {
#if defined(__CUDA_ARCH__)
  // Two special-function operations. An accurate expf and an IEEE division cost three to four times the latency and
  // change 5 codes in a million.
  float exponential;
  float inverse;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(exponential) : "f"(x * -1.44269504088896341f));
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(1.0f + exponential));
  return inverse;
#else
  // exp(-|x|) = 2^n exp(r) with |r| <= ln(2)/2: no overflow on either side, and no library call to stop vectorisation.
  const float magnitude = from_bits(to_bits(x) & magnitude_mask);
  constexpr float largest = 0x1.5d589ep6f;  // the last fp32 with exp(-largest) >= 2^-126
  const float clamped = magnitude <= largest ? magnitude : largest;
  const float shifted = clamped * -1.44269504088896341f + 0x1.8p23f;  // rounds to an integer in the low mantissa bits
  const float n = shifted - 0x1.8p23f;
  // ln(2) in two parts; the first has 16 bits, so that its product with n is exact.
  const float r = (-clamped - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f;
  float polynomial = 0x1.6c16c2p-10f;  // 1/6!, and so down the Taylor series: the next term is below 2^-23 here
  polynomial = polynomial * r + 0x1.111112p-7f;
  polynomial = polynomial * r + 0x1.555556p-5f;
  polynomial = polynomial * r + 0x1.555556p-3f;
  polynomial = polynomial * r + 0.5f;
  polynomial = polynomial * r + 1.0f;
  polynomial = polynomial * r + 1.0f;
  const std::uint32_t exponent = (to_bits(shifted) - to_bits(0x1.8p23f)) << 23;
  const float scaled = from_bits(to_bits(polynomial) + exponent);
  const float exponential = magnitude <= largest ? scaled : 0.0f;
  const float numerator = (to_bits(x) & sign_mask) != 0 ? exponential : 1.0f;
  return numerator / (1.0f + exponential);
#endif
}

// silu(gate) * up, one rounding per operation.
MOE_ACT_HOST_DEVICE float swiglu(float gate, float up) {
  return gate * sigmoid(gate) * up;
}

}  // namespace moe_act::math

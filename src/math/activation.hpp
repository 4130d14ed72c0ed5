// The activations, one function each, in operations that every instruction set has and rounds alike. fp32, no implicit
// contraction: the build forbids fused multiply-adds that are not written as such.
//
// `Unit` says how a backend does what it has instructions of its own for: times_sigmoid(x, t), exp2(z) for z from -126
// on, reciprocal(x), all within two units in the last place.
#pragma once

#include "math/portable.hpp"

namespace moe_act {

// What becomes of the gate.
enum class GateFunction : std::int32_t { silu, gelu, gelu_tanh, relu, relu2, situ };

// Of one row, neutral where the problem has none.
struct ActivationParameters {
  float alpha = 1.0f;
  float beta = -0.0f;                   // up + -0 is up, for every up
  float limit = __builtin_huge_valf();  // of the magnitude of up, and of gate or of the activation
  float gate_bound = 1.0f;              // situ
  float up_bound = 1.0f;                // likewise
};

namespace math {

// `low` is negative, `high` is not; a NaN becomes one of them. By bits, as compilers vectorise integer minima: among
// signed integers negative floats come first, among unsigned ones last, with -0 before the others.
MOE_ACT_HOST_DEVICE float clamp(float value, float low, float high) {
  const auto signed_bits = static_cast<std::int32_t>(to_bits(value));
  const auto signed_high = static_cast<std::int32_t>(to_bits(high));
  const auto bits = static_cast<std::uint32_t>(signed_bits > signed_high ? signed_high : signed_bits);
  return from_bits(bits > to_bits(low) ? to_bits(low) : bits);
}

// 2^z within 2^-23.3, and exactly 1 at 0; z is not NaN and counts as -126 below that and as 128, which is infinity,
// above.
MOE_ACT_HOST_DEVICE float exp2(float exponent) {
  const float z = clamp(exponent, -126.0f, 128.0f);
  const float shifted = z + 0x1.8p23f;  // rounds to an integer in the low mantissa bits
  const float f = z - (shifted - 0x1.8p23f);
  // 2^f of |f| <= 1/2 in two halves: half the latency of Horner's chain.
  const float square = f * f;
  const float low = 1.0f + 0x1.62e42ap-1f * f;
  const float high = (0x1.ebf9bcp-3f + 0x1.c6b752p-5f * f) + square * (0x1.3cea88p-7f + 0x1.5bba14p-10f * f);
  const float power = low + square * high;
  return from_bits(to_bits(power) + (to_bits(shifted) << 23));
}

// 1 + exp(-gate), which silu divides by. Split from the rest because a CPU has more of a short chain in flight at once.
// The exponent ends where it no longer matters: 1 + 2^-126 is 1, and 2^128 makes silu 0.
MOE_ACT_HOST_DEVICE float silu_denominator(float gate) {
  return 1.0f + exp2(gate * -1.44269504088896341f);
}

// silu(gate) * up. Relative error of silu below 2^-20 (1 + |gate| / 16); it may be 0 where sigmoid(gate) is below
// 2^-126.
MOE_ACT_HOST_DEVICE float swiglu(float gate, float denominator, float up) {
  return gate / denominator * up;
}

// min(value, limit), but NaN stays NaN.
MOE_ACT_HOST_DEVICE float at_most(float value, float limit) {
  return value > limit ? limit : value;
}

// min(max(value, -limit), limit), likewise.
MOE_ACT_HOST_DEVICE float within(float value, float limit) {
  const float high = at_most(value, limit);
  return high < -limit ? -limit : high;
}

MOE_ACT_HOST_DEVICE float relu(float gate) {
  return gate <= 0.0f ? 0.0f : gate;  // not max: NaN stays NaN
}

// gate * Phi(gate), within 2^-21 of abs gate: Phi by formula 7.1.26 of Abramowitz and Stegun for erf.
template <typename Unit>
MOE_ACT_HOST_DEVICE float gelu(float gate) {
  const float magnitude = from_bits(to_bits(gate) & magnitude_mask);
  const float t = Unit::reciprocal(1.0f + 0x1.da671p-3f * magnitude);  // 0.3275911 / sqrt 2
  const float polynomial =
      ((((1.061405429f * t - 1.453152027f) * t + 1.421413741f) * t - 0.284496736f) * t + 0.254829592f) * t;
  // z of a magnitude whose square overflows, too, is -126.
  const float square = gate * gate;
  const float z = square < 170.0f ? square * -0.72134752044448170f : -126.0f;  // log2(e) / 2
  const float tail = 0.5f * polynomial * Unit::exp2(z);
  const float value = gate * (gate < 0.0f ? tail : 1.0f - tail);
  return gate != gate ? gate : value;
}

// gate * (1 + tanh(sqrt(2 / pi) (gate + 0.044715 gate^3))) / 2, of which that is the sigmoid form.
template <typename Unit>
MOE_ACT_HOST_DEVICE float gelu_tanh(float gate) {
  const float argument = gate * (1.59576912160573071f + 0.07135481627260025f * (gate * gate));
  return Unit::times_sigmoid(gate, argument);
}

// tanh within 2^-21 of itself: a polynomial where 1 - 2 / (1 + e^2x) would cancel.
template <typename Unit>
MOE_ACT_HOST_DEVICE float tanh(float x) {
  const float magnitude = from_bits(to_bits(x) & magnitude_mask);
  const float square = magnitude * magnitude;
  const float series =
      magnitude +
      magnitude * square *
          ((((-0x1.73553ap-8f * square + 0x1.519792p-6f) * square - 0x1.b826d2p-5f) * square + 0x1.110684p-3f) *
               square -
           0x1.55553p-2f);
  const float exponent = magnitude < 44.0f ? magnitude * 2.88539008177792681f : 126.0f;  // 2 log2(e)
  const float far = 1.0f - 2.0f * Unit::reciprocal(1.0f + Unit::exp2(exponent));
  const float result = magnitude < 0.625f ? series : far;
  return x != x ? x : from_bits(to_bits(result) | (to_bits(x) & sign_mask));
}

// bound * tanh(x / bound), which is x far below the bound: there the quotient may be below 2^-126 and say nothing of x.
template <typename Unit>
MOE_ACT_HOST_DEVICE float bounded(float x, float bound) {
  const float ratio = x * Unit::reciprocal(bound);
  const float magnitude = from_bits(to_bits(ratio) & magnitude_mask);
  return magnitude < 0x1p-12f ? x : bound * tanh<Unit>(ratio);
}

// The activation of a gate that has been clamped, before it is itself.
template <GateFunction function, typename Unit>
MOE_ACT_HOST_DEVICE float activation(float gate, const ActivationParameters& parameters) {
  if constexpr (function == GateFunction::silu)
    return Unit::times_sigmoid(gate, parameters.alpha * gate);
  else if constexpr (function == GateFunction::gelu)
    return gelu<Unit>(gate);
  else if constexpr (function == GateFunction::gelu_tanh)
    return gelu_tanh<Unit>(gate);
  else if constexpr (function == GateFunction::relu)
    return relu(gate);
  else if constexpr (function == GateFunction::relu2)
    return relu(gate) * relu(gate);
  else
    return Unit::times_sigmoid(bounded<Unit>(gate, parameters.gate_bound), gate);
}

// What a gate is multiplied by, of an up that has been clamped.
template <GateFunction function, typename Unit>
MOE_ACT_HOST_DEVICE float multiplier(float up, const ActivationParameters& parameters) {
  if constexpr (function == GateFunction::situ) return bounded<Unit>(up, parameters.up_bound);
  return up + parameters.beta;
}

// Calls visit with the function as a compile-time constant.
template <typename Visit>
MOE_ACT_HOST_DEVICE void dispatch(GateFunction function, Visit visit) {
  switch (function) {
    case GateFunction::silu: return visit.template operator()<GateFunction::silu>();
    case GateFunction::gelu: return visit.template operator()<GateFunction::gelu>();
    case GateFunction::gelu_tanh: return visit.template operator()<GateFunction::gelu_tanh>();
    case GateFunction::relu: return visit.template operator()<GateFunction::relu>();
    case GateFunction::relu2: return visit.template operator()<GateFunction::relu2>();
    case GateFunction::situ: return visit.template operator()<GateFunction::situ>();
  }
}

}  // namespace math
}  // namespace moe_act

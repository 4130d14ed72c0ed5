// Bits of one element to fp32 and back, round to nearest even, in integer arithmetic that compilers vectorise.
//
// Selects instead of branches, and no float comparison against a NaN: a branch or a library call here costs the CPU
// backend a factor of five.
#pragma once

#include "math/formats.hpp"
#include "math/portable.hpp"

namespace moe_act::math {

template <Format format>
struct Encoding;

template <>
struct Encoding<Format::fp32> {
  using Bits = std::uint32_t;

  MOE_ACT_HOST_DEVICE static float decode(Bits bits) { return from_bits(bits); }

  MOE_ACT_HOST_DEVICE static Bits encode(float value) {
    const std::uint32_t bits = to_bits(value);
    return (bits & magnitude_mask) > infinity_bits ? canonical_nan_bits : bits;
  }
};

template <>
struct Encoding<Format::bf16> {
  using Bits = std::uint16_t;

  MOE_ACT_HOST_DEVICE static float decode(Bits bits) { return from_bits(std::uint32_t{bits} << 16); }

  MOE_ACT_HOST_DEVICE static Bits encode(float value) {
    const std::uint32_t bits = to_bits(value);
    const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return static_cast<Bits>((bits & magnitude_mask) > infinity_bits ? canonical_nan_bits >> 16 : rounded);
  }
};

template <>
struct Encoding<Format::fp16> {
  using Bits = std::uint16_t;

  MOE_ACT_HOST_DEVICE static float decode(Bits code) {
    const std::uint32_t magnitude = code & 0x7fffu;
    const std::uint32_t subnormal = to_bits(static_cast<float>(static_cast<std::int32_t>(magnitude)) * 0x1p-24f);
    const std::uint32_t normal = (magnitude << 13) + (std::uint32_t{127 - 15} << 23);
    std::uint32_t bits = magnitude < 0x400u ? subnormal : normal;
    bits = magnitude >= 0x7c00u ? (magnitude << 13) | infinity_bits : bits;
    return from_bits(bits | (std::uint32_t{code} & 0x8000u) << 16);
  }

  MOE_ACT_HOST_DEVICE static Bits encode(float value) {
    const std::uint32_t bits = to_bits(value);
    const std::uint32_t magnitude = bits & magnitude_mask;
    // Adding 0.5 leaves a value below 2^-14 rounded to multiples of 2^-24 in the low mantissa bits.
    const std::uint32_t subnormal = to_bits(from_bits(magnitude) + 0.5f) - to_bits(0.5f);
    const std::uint32_t normal =
        (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - (std::uint32_t{127 - 15} << 23)) >> 13;
    std::uint32_t code = magnitude < (std::uint32_t{127 - 14} << 23) ? subnormal : normal;
    code = magnitude >= to_bits(65520.0f) ? 0x7c00u : code;  // halfway from the largest value to the next: infinity
    code |= (bits & sign_mask) >> 16;
    return static_cast<Bits>(magnitude > infinity_bits ? 0x7fffu : code);
  }
};

template <>
struct Encoding<Format::e4m3> {
  using Bits = std::uint8_t;

  MOE_ACT_HOST_DEVICE static float decode(Bits code) {
    const std::uint32_t magnitude = code & 0x7fu;
    const std::uint32_t subnormal = to_bits(static_cast<float>(static_cast<std::int32_t>(magnitude)) * 0x1p-9f);
    const std::uint32_t normal = (magnitude << 20) + (std::uint32_t{127 - 7} << 23);
    std::uint32_t bits = magnitude < 8u ? subnormal : normal;
    bits = magnitude == 0x7fu ? canonical_nan_bits : bits;
    return from_bits(bits | (std::uint32_t{code} & 0x80u) << 24);
  }

  // Saturates at 448, infinities included; every NaN becomes 0x7F.
  MOE_ACT_HOST_DEVICE static Bits encode(float value) {
    const std::uint32_t bits = to_bits(value);
    const std::uint32_t magnitude = bits & magnitude_mask;
    // Adding 2^14, whose last mantissa bit is worth 2^-9, rounds a value below 2^-6 to a multiple of 2^-9.
    const std::uint32_t subnormal = to_bits(from_bits(magnitude) + 0x1p14f) - to_bits(0x1p14f);
    const std::uint32_t normal =
        (magnitude + 0x7ffffu + ((magnitude >> 20) & 1u) - (std::uint32_t{127 - 7} << 23)) >> 20;
    std::uint32_t code = magnitude < (std::uint32_t{127 - 6} << 23) ? subnormal : normal;
    code = magnitude > to_bits(448.0f) ? 0x7eu : code;
    code |= (bits & sign_mask) >> 24;
    return static_cast<Bits>(magnitude > infinity_bits ? 0x7fu : code);
  }
};

}  // namespace moe_act::math

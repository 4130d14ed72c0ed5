// Bits of one element to fp32 and back, round to nearest even, in integer arithmetic that compilers vectorise.
//
// Selects instead of branches: a branch or a library call here costs the CPU backend a factor of five. encode gives the
// code in the low bits of a word.
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

  MOE_ACT_HOST_DEVICE static std::uint32_t encode(float value) {
    const std::uint32_t bits = to_bits(value);
    return (bits & magnitude_mask) > infinity_bits ? canonical_nan_bits : bits;
  }
};

template <>
struct Encoding<Format::bf16> {
  using Bits = std::uint16_t;

  MOE_ACT_HOST_DEVICE static float decode(Bits bits) { return from_bits(std::uint32_t{bits} << 16); }

  MOE_ACT_HOST_DEVICE static std::uint32_t encode(float value) {
    const std::uint32_t bits = to_bits(value);
    const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (bits & magnitude_mask) > infinity_bits ? canonical_nan_bits >> 16 : rounded;
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

  MOE_ACT_HOST_DEVICE static std::uint32_t encode(float value) {
    const std::uint32_t bits = to_bits(value);
    const std::uint32_t magnitude = bits & magnitude_mask;
    // Adding 0.5 leaves a value below 2^-14 rounded to multiples of 2^-24 in the low mantissa bits.
    const std::uint32_t subnormal = to_bits(from_bits(magnitude) + 0.5f) - to_bits(0.5f);
    const std::uint32_t normal =
        (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - (std::uint32_t{127 - 15} << 23)) >> 13;
    std::uint32_t code = magnitude < (std::uint32_t{127 - 14} << 23) ? subnormal : normal;
    code = magnitude >= to_bits(65520.0f) ? 0x7c00u : code;  // halfway from the largest value to the next: infinity
    code |= (bits & sign_mask) >> 16;
    return magnitude > infinity_bits ? 0x7fffu : code;
  }
};

template <>
struct Encoding<Format::e4m3> {
  using Bits = std::uint8_t;

  MOE_ACT_HOST_DEVICE static float decode(Bits code) {
    const std::uint32_t magnitude = code & 0x7fu;
    // Right for normal codes; a subnormal one becomes (1 + k / 8) 2^-7 instead of k 2^-9. Twice that less 2^-6 is right
    // for subnormal codes, and more than right for the others.
    const float normal = from_bits((magnitude << 20) + (std::uint32_t{127 - 7} << 23));
    const float subnormal = (normal + normal) - 0x1p-6f;
    std::uint32_t bits = to_bits(subnormal < normal ? subnormal : normal);
    bits = magnitude == 0x7fu ? canonical_nan_bits : bits;
    return from_bits(bits | (std::uint32_t{code} & 0x80u) << 24);
  }

  // Saturates at 448, infinities included; every NaN becomes 0x7F.
  MOE_ACT_HOST_DEVICE static std::uint32_t encode(float value) {
    const auto magnitude = static_cast<std::int32_t>(to_bits(value) & magnitude_mask);
    constexpr std::int32_t largest = 0x43e00000;  // 448
    const std::uint32_t code = encode_magnitude(magnitude > largest ? largest : magnitude);
    return value != value ? 0x7fu : code | (to_bits(value) & sign_mask) >> 24;
  }

  // The same of magnitudes below 464, where those end that round to 448.
  MOE_ACT_HOST_DEVICE static std::uint32_t encode_in_range(float value) {
    const auto magnitude = static_cast<std::int32_t>(to_bits(value) & magnitude_mask);
    return encode_magnitude(magnitude) | (to_bits(value) & sign_mask) >> 24;
  }

 private:
  MOE_ACT_HOST_DEVICE static std::uint32_t encode_magnitude(std::int32_t magnitude) {
    constexpr std::int32_t smallest = 0x3c800000;  // 2^-6, the least normal value
    const std::int32_t binade = magnitude & static_cast<std::int32_t>(infinity_bits);
    const auto power = static_cast<std::uint32_t>(binade > smallest ? binade : smallest);  // codes are 1/8 of it apart
    // The last mantissa bit of 2^20 times that is worth as much: adding it leaves the rounded multiple, up to 16,
    // there.
    const std::uint32_t anchor = power + (std::uint32_t{20} << 23);
    const float rounded = from_bits(static_cast<std::uint32_t>(magnitude)) + from_bits(anchor);
    return to_bits(rounded) - anchor + ((power - smallest) >> 20);
  }
};

template <>
struct Encoding<Format::e5m2> {
  using Bits = std::uint8_t;

  // fp16 with 2 of its 10 mantissa bits. Saturates at 57344, infinities included; every NaN becomes 0x7F.
  MOE_ACT_HOST_DEVICE static std::uint32_t encode(float value) {
    const std::uint32_t bits = to_bits(value);
    const std::uint32_t magnitude = bits & magnitude_mask;
    // Adding 2^7 leaves a value below 2^-14 rounded to multiples of 2^-16 in the low mantissa bits.
    const std::uint32_t subnormal = to_bits(from_bits(magnitude) + 128.0f) - to_bits(128.0f);
    const std::uint32_t normal =
        (magnitude + 0xfffffu + ((magnitude >> 21) & 1u) - (std::uint32_t{127 - 15} << 23)) >> 21;
    std::uint32_t code = magnitude < (std::uint32_t{127 - 14} << 23) ? subnormal : normal;
    code = magnitude >= to_bits(57344.0f) ? 0x7bu : code;
    code |= (bits & sign_mask) >> 24;
    return magnitude > infinity_bits ? 0x7fu : code;
  }
};

}  // namespace moe_act::math

// From the largest magnitude of a block to its scale and to what its values are quantized by, for every preset: what a
// preset is, is data.
#pragma once

#include "math/encoding.hpp"
#include "math/scale.hpp"

namespace moe_act {

enum class ProductRounding : std::int32_t { none = 1, product = 2, activation_and_product = 3 };
enum class Quantization : std::int32_t { divide = 1, multiply = 2, multiply_bf16 = 3 };

struct Numerics {
  ProductRounding product_rounding;
  Quantization quantization;
  float smallest_amax;
  float smallest_scale;
  bool rounds_to_power_of_two;
  bool has_scale_of_zero;  // te_mxfp8: ue8m0 down to 2^-127, 254 for infinity, and NaN is the whole block's
};

namespace math {

// What a block's codes are made with: y / scale, or y * factor.
struct BlockScale {
  float scale;
  float factor;
};

// Up to the next power of two, on the bits; infinity stays. scale is positive and normal.
MOE_ACT_HOST_DEVICE float power_of_two_above(float scale) {
  return from_bits((to_bits(scale) + 0x7fffffu) & infinity_bits);
}

MOE_ACT_HOST_DEVICE float round_to_bf16(float value) {
  return Encoding<Format::bf16>::decode(static_cast<std::uint16_t>(Encoding<Format::bf16>::encode(value)));
}

// te_mxfp8. amax is that of e4m3. Powers of two whose inverse is one, too, all of them exact.
MOE_ACT_HOST_DEVICE BlockScale scale_from_zero(float amax, bool has_nan) {
  if (has_nan) return {from_bits(canonical_nan_bits), from_bits(canonical_nan_bits)};
  if (amax <= 0x1.cp-119f) return {0x1p-127f, 0x1p127f};  // 448 * 2^-127
  if (to_bits(amax) == infinity_bits) return {0x1p127f, 0x1p-127f};
  const float scale = power_of_two_above(block_scale(amax));
  return {scale, from_bits((std::uint32_t{254} << 23) - to_bits(scale))};
}

// amax: the largest magnitude that is not NaN. has_nan: is one of the block's values NaN?
template <typename Unit>
MOE_ACT_HOST_DEVICE BlockScale scale_of(const Numerics& numerics, Format format, float amax, bool has_nan) {
  const float largest = amax > numerics.smallest_amax ? amax : numerics.smallest_amax;
  const float in_e4m3 = format == Format::e5m2 ? largest * (1.0f / e5m2_over_e4m3) : largest;
  if (numerics.has_scale_of_zero) return scale_from_zero(in_e4m3, has_nan);
  if (numerics.quantization == Quantization::multiply_bf16) {
    const float scale = round_to_bf16(round_to_bf16(in_e4m3) * round_to_bf16(1.0f / e4m3_max));
    const float limited = scale > numerics.smallest_scale ? scale : numerics.smallest_scale;
    const float delivered = numerics.rounds_to_power_of_two ? power_of_two_above(limited) : limited;
    return {delivered, round_to_bf16(Unit::reciprocal(delivered))};
  }
  const float scale = block_scale(in_e4m3);
  const float limited = scale > numerics.smallest_scale ? scale : numerics.smallest_scale;
  if (numerics.rounds_to_power_of_two) {
    const float power = power_of_two_above(limited);
    return {power, Unit::reciprocal(power)};
  }
  // A backend whose quotients are products says so: one reciprocal then serves divide and multiply.
  if (Unit::exact_quotients && numerics.quantization == Quantization::multiply && limited != numerics.smallest_scale)
    return {limited, e4m3_max / in_e4m3};
  return {limited, Unit::reciprocal(limited)};
}

}  // namespace math
}  // namespace moe_act

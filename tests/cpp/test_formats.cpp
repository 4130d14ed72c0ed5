// The scalar maths that everything else trusts: element formats, their encodings, and block scales.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <string>

#include "check.hpp"
#include "math/encoding.hpp"
#include "math/formats.hpp"
#include "math/scale.hpp"
#include "math/scale_view.hpp"

namespace {

using namespace moe_act;
using math::Encoding;
using math::from_bits;
using math::to_bits;

constexpr float infinity = std::numeric_limits<float>::infinity();

// A format of 16 bits or less, as its definition says; independent of the bit tricks under test.
struct Definition {
  int exponent_bits;
  int mantissa_bits;
  bool has_infinity;  // else the topmost exponent holds numbers, and only all ones is NaN

  int bits() const { return 1 + exponent_bits + mantissa_bits; }
  std::uint32_t sign() const { return 1u << (bits() - 1); }
  std::uint32_t largest_finite() const {
    return has_infinity ? (((1u << exponent_bits) - 1) << mantissa_bits) - 1 : sign() - 2;
  }
  double magnitude(std::uint32_t code) const {
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const int exponent = static_cast<int>((code & (sign() - 1)) >> mantissa_bits);
    const double mantissa = code & ((1u << mantissa_bits) - 1);
    if (exponent == 0) return std::ldexp(mantissa, 1 - bias - mantissa_bits);
    return std::ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
  }
};

constexpr Definition e4m3{4, 3, false};
constexpr Definition fp16{5, 10, true};
constexpr Definition bf16{8, 7, true};

template <Format format>
void check_every_code(const Definition& definition) {
  using Bits = typename Encoding<format>::Bits;
  for (std::uint32_t code = 0; code < 2 * definition.sign(); ++code) {
    const float value = Encoding<format>::decode(static_cast<Bits>(code));
    const std::uint32_t magnitude = code & (definition.sign() - 1);
    const bool finite = magnitude <= definition.largest_finite();
    const bool infinite = definition.has_infinity && magnitude == definition.largest_finite() + 1;
    if (finite) CHECK_EQUAL(std::abs(double{value}), definition.magnitude(code), "code ", code);
    if (infinite) CHECK_EQUAL(std::abs(value), infinity, "code ", code);
    if (!finite && !infinite) CHECK(std::isnan(value), "code ", code);
    CHECK_EQUAL(std::signbit(value), (code & definition.sign()) != 0, "code ", code);
    const std::uint32_t canonical_nan = definition.sign() - 1;
    CHECK_EQUAL(Encoding<format>::encode(value), finite || infinite ? code : canonical_nan, "code ", code);
  }
}

// Between every two neighbours: halfway goes to the even one, less than that and more than that to the nearer one.
template <Format format>
void check_rounding(const Definition& definition) {
  for (std::uint32_t code = 0; code < definition.largest_finite(); ++code) {
    const auto low = static_cast<float>(definition.magnitude(code));
    const auto high = static_cast<float>(definition.magnitude(code + 1));
    const float middle = low + (high - low) / 2;  // exact: these formats have at least a bit less than fp32
    const std::uint32_t even = code + code % 2;
    for (const bool negative : {false, true}) {
      const auto encode = [&](float value) { return Encoding<format>::encode(negative ? -value : value); };
      const std::uint32_t sign = negative ? definition.sign() : 0;
      CHECK_EQUAL(encode(middle), sign | even, "halfway above code ", code);
      CHECK_EQUAL(encode(std::nextafter(middle, 0.0f)), sign | code, "below halfway above code ", code);
      CHECK_EQUAL(encode(std::nextafter(middle, infinity)), sign | (code + 1), "past halfway above code ", code);
    }
  }
}

template <Format format>
void check_nan(std::uint32_t canonical) {
  for (const std::uint32_t bits : {0x7f800001u, 0x7fc00000u, 0x7fffffffu, 0xff800001u, 0xffc00000u, 0xffffffffu})
    CHECK_EQUAL(Encoding<format>::encode(from_bits(bits)), canonical, "NaN with bits ", bits);
}

// The device's form of math::block_scale, three operations instead of a division. The same text as there.
float device_block_scale(float amax) {
  constexpr float inverse = 1.0f / math::e4m3_max;
  const float quotient = amax * inverse;
  const float corrected = std::fma(std::fma(-math::e4m3_max, quotient, amax), inverse, quotient);
  const float scale = to_bits(amax) == math::infinity_bits ? amax : corrected;
  return scale > math::smallest_scale ? scale : math::smallest_scale;
}

float defined_block_scale(float amax) {
  return std::fmax(amax / 448.0f, FLT_MIN);
}

// The number of amax patterns in [first, last], `stride` apart, whose scale is not that of the definition.
template <typename Scale>
long scale_mismatches(std::uint32_t first, std::uint32_t last, std::uint32_t stride, Scale scale) {
  long mismatches = 0;
  for (std::uint64_t bits = first; bits <= last; bits += stride) {
    const float amax = from_bits(static_cast<std::uint32_t>(bits));
    mismatches += to_bits(scale(amax)) != to_bits(defined_block_scale(amax)) ? 1 : 0;
  }
  return mismatches;
}

TEST("the trait table lists every format once, in the order of the enum") {
  std::set<std::string> names;
  int index = 0;
  for (const FormatTraits& row : format_traits) {
    CHECK_EQUAL(static_cast<int>(row.format), index++, row.name);
    CHECK_EQUAL(&traits(row.format), &row, row.name);
    CHECK(names.insert(row.name).second, "a second ", row.name);
    const bool scaled = row.format == Format::e4m3 || row.format == Format::e5m2 || row.format == Format::e2m1;
    CHECK_EQUAL(is_scaled(row.format), scaled, row.name);
  }
  CHECK_EQUAL(index, static_cast<int>(Format::ue8m0) + 1);
  CHECK_EQUAL(bytes_per_element(Format::fp32), sizeof(Encoding<Format::fp32>::Bits));
  CHECK_EQUAL(bytes_per_element(Format::fp16), sizeof(Encoding<Format::fp16>::Bits));
  CHECK_EQUAL(bytes_per_element(Format::bf16), sizeof(Encoding<Format::bf16>::Bits));
  CHECK_EQUAL(bytes_per_element(Format::e4m3), sizeof(Encoding<Format::e4m3>::Bits));
}

TEST("a partial block counts as a block") {
  CHECK_EQUAL(blocks(1), 1);
  CHECK_EQUAL(blocks(128), 1);
  CHECK_EQUAL(blocks(129), 2);
  CHECK_EQUAL(blocks(2 * 192), 3);
}

TEST("every e4m3 code decodes by its definition and encodes back") {
  check_every_code<Format::e4m3>(e4m3);
}
TEST("every fp16 code decodes by its definition and encodes back") {
  check_every_code<Format::fp16>(fp16);
}
TEST("every bf16 code decodes by its definition and encodes back") {
  check_every_code<Format::bf16>(bf16);
}

TEST("e4m3 rounds to nearest, ties to even") {
  check_rounding<Format::e4m3>(e4m3);
}
TEST("fp16 rounds to nearest, ties to even") {
  check_rounding<Format::fp16>(fp16);
}
TEST("bf16 rounds to nearest, ties to even") {
  check_rounding<Format::bf16>(bf16);
}

TEST("e4m3 saturates at 448, infinities included") {
  for (const float value : {448.0f, 449.0f, 464.0f, 480.0f, 1e30f, FLT_MAX, infinity}) {
    CHECK_EQUAL(Encoding<Format::e4m3>::encode(value), 0x7e, value);
    CHECK_EQUAL(Encoding<Format::e4m3>::encode(-value), 0xfe, value);
  }
}

TEST("fp16 and bf16 overflow to infinity, halfway included") {
  const auto fp16_code = &Encoding<Format::fp16>::encode;
  CHECK_EQUAL(fp16_code(65504.0f), 0x7bff);
  CHECK_EQUAL(fp16_code(std::nextafter(65520.0f, 0.0f)), 0x7bff);
  for (const float value : {65520.0f, 65536.0f, FLT_MAX, infinity}) {
    CHECK_EQUAL(fp16_code(value), 0x7c00, value);
    CHECK_EQUAL(fp16_code(-value), 0xfc00, value);
  }
  const auto bf16_code = &Encoding<Format::bf16>::encode;
  CHECK_EQUAL(bf16_code(from_bits(0x7f7f7fffu)), 0x7f7f);
  for (const float value : {from_bits(0x7f7f8000u), FLT_MAX, infinity}) {
    CHECK_EQUAL(bf16_code(value), 0x7f80, value);
    CHECK_EQUAL(bf16_code(-value), 0xff80, value);
  }
}

TEST("every NaN becomes the canonical one") {
  check_nan<Format::e4m3>(0x7f);
  check_nan<Format::fp16>(0x7fff);
  check_nan<Format::bf16>(0x7fff);
  check_nan<Format::fp32>(0x7fffffff);
}

TEST("fp32 passes through unchanged") {
  for (std::uint64_t bits = 0; bits <= 0xffffffffu; bits += 65521) {
    const float value = from_bits(static_cast<std::uint32_t>(bits));
    if (!std::isnan(value)) CHECK_EQUAL(Encoding<Format::fp32>::encode(value), bits);
  }
}

TEST("a NaN does not touch its block's amax, all other magnitudes do") {
  for (const std::uint32_t bits : {0x7f800001u, 0x7fc00000u, 0xff800001u, 0xffc00000u})
    for (const float amax : {0.0f, 1.5f, infinity})
      CHECK_EQUAL(math::larger_magnitude(amax, from_bits(bits)), amax, "NaN with bits ", bits);
  CHECK_EQUAL(to_bits(math::larger_magnitude(0.0f, -0.0f)), 0);
  CHECK_EQUAL(math::larger_magnitude(0.0f, from_bits(1)), from_bits(1));
  CHECK_EQUAL(math::larger_magnitude(1.5f, -2.0f), 2.0f);
  CHECK_EQUAL(math::larger_magnitude(1.5f, 1.0f), 1.5f);
  CHECK_EQUAL(math::larger_magnitude(1.5f, -infinity), infinity);
}

TEST("a block's scale is amax / 448, never below 2^-126") {
  CHECK_EQUAL(math::block_scale(0.0f), FLT_MIN);
  CHECK_EQUAL(math::block_scale(from_bits(1)), FLT_MIN);
  CHECK_EQUAL(math::block_scale(448.0f * FLT_MIN), FLT_MIN);
  CHECK_EQUAL(math::block_scale(448.0f), 1.0f);
  CHECK_EQUAL(math::block_scale(FLT_MAX), FLT_MAX / 448.0f);
  CHECK_EQUAL(math::block_scale(infinity), infinity);
  CHECK_EQUAL(scale_mismatches(0, math::infinity_bits, 16381, math::block_scale), 0);
}

TEST("the device's division by 448 is exact") {
  CHECK_EQUAL(device_block_scale(infinity), infinity);
  CHECK_EQUAL(scale_mismatches(0, math::infinity_bits, 509, device_block_scale), 0);
  // Every pattern around the ends of what the correction can handle, and of one binade in between.
  const std::uint32_t smallest = to_bits(448.0f * FLT_MIN);
  CHECK_EQUAL(scale_mismatches(0, 100'000, 1, device_block_scale), 0);
  CHECK_EQUAL(scale_mismatches(smallest - 100'000, smallest + 100'000, 1, device_block_scale), 0);
  CHECK_EQUAL(scale_mismatches(math::infinity_bits - 100'000, math::infinity_bits, 1, device_block_scale), 0);
  CHECK_EQUAL(scale_mismatches(to_bits(1.0f), to_bits(2.0f), 7, device_block_scale), 0);
}

TEST("strides of scales that 32 bits cannot hold stay positive, and one on the device stays on the device") {
  constexpr std::int64_t most = INT32_MAX;
  for (const std::int64_t stride :
       {std::int64_t{-4}, std::int64_t{0}, std::int64_t{1}, std::int64_t{4096}, most - 1, most, most + 1, most + 4,
        std::int64_t{1} << 32, std::int64_t{1} << 40, (std::int64_t{1} << 40) + (std::int64_t{1} << 31), INT64_MAX}) {
    math::ScaleView view{};
    view.format = Format::ue8m0;
    view.swizzled = view.fills_quads = true;
    view.block_log2 = 5;
    const math::NarrowScaleView others = math::narrow(view);
    CHECK(others.format == view.format && others.swizzled && others.fills_quads && others.block_log2 == 5);
    for (const auto member : {&math::ScaleView::segment_stride, &math::ScaleView::row_stride,
                              &math::ScaleView::quad_stride, &math::ScaleView::block_stride})
      view.*member = stride;
    const math::NarrowScaleView narrowed = math::narrow(view);
    const std::int64_t expected = std::min(stride, most);
    CHECK_EQUAL(narrowed.segment_stride, expected, stride);
    CHECK_EQUAL(narrowed.row_stride, expected, stride);
    CHECK_EQUAL(narrowed.quad_stride, expected, stride);
    CHECK_EQUAL(narrowed.block_stride, expected, stride);
  }
}

}  // namespace

// Numbers as messages write them.
#include "core/text.hpp"

#include <cstdint>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <utility>

#include "check.hpp"
#include "math/portable.hpp"

namespace {

using moe_act::number;
using moe_act::math::from_bits;

TEST("floats are written so that they can be told from integers and from each other") {
  const std::pair<float, const char*> cases[] = {
      {7.0f, "7.0"},
      {-0.0f, "-0.0"},
      {0.1f, "0.1"},
      {from_bits(0x3dcccccf), "0.10000002"},
      {1.702f, "1.702"},
      {1e-10f, "1e-10"},
      {-1e-30f, "-1e-30"},
      {0x1p-126f, "1.1754944e-38"},
      {0x1p-149f, "1e-45"},
      {3.4028235e38f, "3.4028235e+38"},
      {std::numeric_limits<float>::infinity(), "inf"},
      {-std::numeric_limits<float>::infinity(), "-inf"},
      {from_bits(0x7fc00000), "nan"},
      {from_bits(0xffffffff), "nan"},
  };
  for (const auto& [value, text] : cases) CHECK_EQUAL(number(value), text);
}

TEST("what is written of a float reads as that float") {
  std::mt19937 random(7);
  for (int i = 0; i < 20000; ++i) {
    const float value = from_bits(static_cast<std::uint32_t>(random()));
    if (value == value) CHECK_EQUAL(std::strtof(number(value).c_str(), nullptr), value, number(value));
  }
}

TEST("integers of every width") {
  CHECK_EQUAL(number(-7), "-7");
  CHECK_EQUAL(number(std::numeric_limits<std::int64_t>::min()), "-9223372036854775808");
  CHECK_EQUAL(number(std::numeric_limits<std::uint64_t>::max()), "18446744073709551615");
}

}  // namespace

// How far results are apart.
#pragma once

#include <cstdint>

#include "math/portable.hpp"

namespace bench {

struct Agreement {
  unsigned long long neighbours;  // codes that are one step apart
  unsigned long long wrong;       // codes further apart, or only one of the two NaN
  unsigned int scale_ulp;         // the largest distance of two scales, of the fp32 numbers that they are
};

// Steps between two e4m3 codes in the order of their values; -1 if only one of them is NaN.
MOE_ACT_HOST_DEVICE int code_steps(std::uint8_t left, std::uint8_t right) {
  const int magnitudes[] = {left & 0x7F, right & 0x7F};
  if ((magnitudes[0] == 0x7F) != (magnitudes[1] == 0x7F)) return -1;
  const int ranks[] = {(left & 0x80) != 0 ? -magnitudes[0] : magnitudes[0],
                       (right & 0x80) != 0 ? -magnitudes[1] : magnitudes[1]};
  return ranks[0] < ranks[1] ? ranks[1] - ranks[0] : ranks[0] - ranks[1];
}

// Between bits of fp32 scales, which are not negative.
MOE_ACT_HOST_DEVICE std::uint32_t ulp_between(std::uint32_t left, std::uint32_t right) {
  return left < right ? right - left : left - right;
}

}  // namespace bench

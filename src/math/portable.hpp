// What scalar maths needs to be the same text for host and device compilers.
//
// Host functions are always inlined: one source is compiled for several instruction sets, and a shared out-of-line copy
// could be the one for a newer CPU than this machine's.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define MOE_ACT_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define MOE_ACT_HOST_DEVICE [[gnu::always_inline]] inline
#endif

namespace moe_act::math {

MOE_ACT_HOST_DEVICE std::uint32_t to_bits(float value) {
  return __builtin_bit_cast(std::uint32_t, value);
}

MOE_ACT_HOST_DEVICE float from_bits(std::uint32_t bits) {
  return __builtin_bit_cast(float, bits);
}

constexpr std::uint32_t sign_mask = 0x80000000u;
constexpr std::uint32_t magnitude_mask = 0x7fffffffu;
constexpr std::uint32_t infinity_bits = 0x7f800000u;
// One NaN leaves the library, whatever payload or sign came in: results would else depend on operand order.
constexpr std::uint32_t canonical_nan_bits = 0x7fffffffu;

}  // namespace moe_act::math

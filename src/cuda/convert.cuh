// Vectors of elements between registers and fp32, with the conversion instructions of the target where it has them.
#pragma once

#include <cuda_fp16.h>

#include "math/encoding.hpp"
#include "math/formats.hpp"

namespace moe_act::cuda {

// `count` adjacent elements as they lie in memory, moved in accesses as wide as that allows, 16 bytes at most.
template <Format format, int count>
struct Vector {
  static constexpr int bytes = count * bytes_per_element(format);
  static constexpr int access_bytes = bytes < 16 ? bytes : 16;
  static_assert(bytes % access_bytes == 0);

  using Bits = typename math::Encoding<format>::Bits;
  struct alignas(access_bytes) Access {
    Bits elements[access_bytes / sizeof(Bits)];
  };

  union {
    Access accesses[bytes / access_bytes];
    Bits elements[count];
    std::uint32_t words[(bytes + 3) / 4];
  };

  __device__ __forceinline__ void load(const Bits* source) {
#pragma unroll
    for (int i = 0; i < bytes / access_bytes; ++i) accesses[i] = reinterpret_cast<const Access*>(source)[i];
  }

  __device__ __forceinline__ void store(Bits* target) const {
#pragma unroll
    for (int i = 0; i < bytes / access_bytes; ++i) reinterpret_cast<Access*>(target)[i] = accesses[i];
  }

  __device__ __forceinline__ void decode(float (&values)[count]) const {
    if constexpr (format == Format::fp16) {
#pragma unroll
      for (int i = 0; i < count; ++i) values[i] = __half2float(__ushort_as_half(elements[i]));
#if __CUDA_ARCH__ >= 890
    } else if constexpr (format == Format::e4m3 && count % 2 == 0) {
#pragma unroll
      for (int i = 0; i < count; i += 2) {
        const std::uint16_t pair = static_cast<std::uint16_t>(words[i / 4] >> (i % 4 * 8));
        std::uint32_t halves;  // every e4m3 value is an fp16 value
        asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(halves) : "h"(pair));
        const float2 both = __half22float2(*reinterpret_cast<const __half2*>(&halves));
        values[i] = both.x;
        values[i + 1] = both.y;
      }
#endif
    } else {
#pragma unroll
      for (int i = 0; i < count; ++i) values[i] = math::Encoding<format>::decode(elements[i]);
    }
  }

  __device__ __forceinline__ void encode(const float (&values)[count]) {
    if constexpr (format == Format::fp16) {
#pragma unroll
      for (int i = 0; i < count; ++i) elements[i] = __half_as_ushort(__float2half_rn(values[i]));
#if __CUDA_ARCH__ >= 890
    } else if constexpr (format == Format::e4m3 && count % 4 == 0) {
#pragma unroll
      for (int i = 0; i < count; i += 4)
        words[i / 4] = encode_pair(values[i], values[i + 1]) |
                       static_cast<std::uint32_t>(encode_pair(values[i + 2], values[i + 3])) << 16;
    } else if constexpr (format == Format::e4m3) {
#pragma unroll
      for (int i = 0; i < count; ++i) elements[i] = static_cast<Bits>(encode_pair(values[i], 0.0f));
#endif
    } else {
#pragma unroll
      for (int i = 0; i < count; ++i) elements[i] = math::Encoding<format>::encode(values[i]);
    }
  }

 private:
#if __CUDA_ARCH__ >= 890
  // Saturates, and makes every NaN 0x7F, as math::Encoding does.
  static __device__ __forceinline__ std::uint16_t encode_pair(float low, float high) {
    std::uint16_t pair;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
    return pair;
  }
#endif
};

}  // namespace moe_act::cuda

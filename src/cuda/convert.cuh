// Vectors of adjacent elements between memory, registers and fp32, with the conversion instructions of the target where
// it has them. Elements live in 32-bit words throughout: a byte array in registers costs four instructions an element.
#pragma once

#include <cuda_fp16.h>

#include "math/encoding.hpp"
#include "math/formats.hpp"

namespace moe_act::cuda {

// The unsigned type that moves so many bytes at once.
template <int bytes>
struct Access;
template <>
struct Access<1> {
  using Type = std::uint8_t;
};
template <>
struct Access<2> {
  using Type = std::uint16_t;
};
template <>
struct Access<4> {
  using Type = std::uint32_t;
};
template <>
struct Access<8> {
  using Type = uint2;
};
template <>
struct Access<16> {
  using Type = uint4;
};

template <Format format, int count>
struct Vector {
  using Bits = typename math::Encoding<format>::Bits;
  static constexpr int element_bytes = sizeof(Bits);
  static constexpr int bytes = count * element_bytes;
  static constexpr int access_bytes = bytes < 16 ? bytes : 16;
  static constexpr int elements_per_word = 4 / element_bytes;
  static_assert(bytes % access_bytes == 0);

  // Aligned, so that wide accesses need no copying together.
  alignas(access_bytes < 4 ? 4 : access_bytes) std::uint32_t words[(bytes + 3) / 4];

  // In accesses as wide as `bytes` allows, 16 at most; the address is a multiple of that.
  __device__ __forceinline__ void load(const Bits* source) {
    using Type = typename Access<access_bytes>::Type;
    if constexpr (access_bytes < 4) {
      words[0] = *reinterpret_cast<const Type*>(source);
    } else {
#pragma unroll
      for (int i = 0; i < bytes / access_bytes; ++i)
        reinterpret_cast<Type*>(words)[i] = reinterpret_cast<const Type*>(source)[i];
    }
  }

  __device__ __forceinline__ void store(Bits* target) const {
    using Type = typename Access<access_bytes>::Type;
    if constexpr (access_bytes < 4) {
      *reinterpret_cast<Type*>(target) = static_cast<Type>(words[0]);
    } else {
#pragma unroll
      for (int i = 0; i < bytes / access_bytes; ++i)
        reinterpret_cast<Type*>(target)[i] = reinterpret_cast<const Type*>(words)[i];
    }
  }

  // Elements that are decoded together, few enough to be used before the next ones take registers.
  static constexpr int step = count < 2 || elements_per_word == 1 ? 1 : 2;

  // Elements [first, first + step); first is a multiple of step.
  __device__ __forceinline__ void decode(int first, float (&values)[step]) const {
    const std::uint32_t word = words[first / elements_per_word];
    if constexpr (has_instruction && step == 2) {
      const float2 pair = decode_pair(pair_of(word, first % elements_per_word));
      values[0] = pair.x;
      values[1] = pair.y;
    } else {
#pragma unroll
      for (int i = 0; i < step; ++i)
        values[i] = math::Encoding<format>::decode(
            static_cast<Bits>(word >> ((first + i) % elements_per_word * 8 * element_bytes)));
    }
  }

  __device__ __forceinline__ void encode(const float (&values)[count]) {
    if constexpr (has_instruction) {
#pragma unroll
      for (int i = 0; i < count; i += 2) {
        const std::uint32_t pair = encode_pair(values[i], i + 1 < count ? values[i + 1] : 0.0f);
        put(i, pair);
      }
    } else {
#pragma unroll
      for (int i = 0; i < count; ++i) put(i, math::Encoding<format>::encode(values[i]));
    }
  }

 private:
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 890
  static constexpr bool has_fp8_instructions = false;
#else
  static constexpr bool has_fp8_instructions = true;
#endif
  // Conversions of two elements at once, equal to math::Encoding's in every bit.
  static constexpr bool has_instruction = format == Format::fp16 || format == Format::bf16 ||
                                          ((format == Format::e4m3 || format == Format::e5m2) && has_fp8_instructions);

  __device__ __forceinline__ void put(int element, std::uint32_t bits) {
    const int shift = element % elements_per_word * 8 * element_bytes;
    words[element / elements_per_word] = shift == 0 ? bits : words[element / elements_per_word] | bits << shift;
  }

  using Pair = typename Access<2 * element_bytes>::Type;  // two elements of a word

  // Halves of a word are taken apart by name, not by shift: the conversion then reads its half in place.
  static __device__ __forceinline__ Pair pair_of(std::uint32_t word, int element) {
    if constexpr (elements_per_word == 2) {
      return word;
    } else {
      Pair low, high;
      asm("mov.b32 {%0, %1}, %2;" : "=h"(low), "=h"(high) : "r"(word));
      return element == 0 ? low : high;
    }
  }

  static __device__ __forceinline__ float2 decode_pair(Pair pair) {
    if constexpr (format == Format::bf16) {
      return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u)};
    } else if constexpr (format == Format::fp16) {
      return __half22float2(*reinterpret_cast<const __half2*>(&pair));
    } else {
      std::uint32_t halves = 0;  // every e4m3 value is an fp16 value
#if __CUDA_ARCH__ >= 890
      asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(halves) : "h"(pair));
#endif
      return __half22float2(*reinterpret_cast<const __half2*>(&halves));
    }
  }

  // Every NaN becomes the canonical one; e4m3 and e5m2 saturate.
  static __device__ __forceinline__ std::uint32_t encode_pair(float low, float high) {
    std::uint32_t word = 0;
    if constexpr (format == Format::bf16) {
      asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
    } else if constexpr (format == Format::fp16) {
      asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
    } else {
#if __CUDA_ARCH__ >= 890
      std::uint16_t pair;
      if constexpr (format == Format::e5m2)
        asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
      else
        asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
      word = pair;
#endif
    }
    return word;
  }
};

}  // namespace moe_act::cuda

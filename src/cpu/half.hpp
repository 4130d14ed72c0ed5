// A block of fp16 codes to fp32: the one place where an instruction set shows. The conversion is exact, of denormals
// too, whatever the floating-point flags say.
#pragma once

#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "math/encoding.hpp"
#include "math/formats.hpp"

namespace moe_act::cpu::MOE_ACT_CPU_NAMESPACE {

#if defined(__F16C__)
inline constexpr bool has_half_instructions = true;

inline void decode_halves(const std::uint16_t* codes, float* values) {
#if defined(__AVX512F__)
  for (int i = 0; i < block_columns; i += 16) {
    const __m256i sixteen = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + i));
    _mm512_storeu_ps(values + i, _mm512_maskz_cvtph_ps(0xffff, sixteen));  // GCC 12 warns of the form without a mask
  }
#else
  for (int i = 0; i < block_columns; i += 8)
    _mm256_storeu_ps(values + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + i))));
#endif
}
#else
inline constexpr bool has_half_instructions = false;

inline void decode_halves(const std::uint16_t* codes, float* values) {
  for (int i = 0; i < block_columns; ++i) values[i] = math::Encoding<Format::fp16>::decode(codes[i]);
}
#endif

}  // namespace moe_act::cpu::MOE_ACT_CPU_NAMESPACE

// The activation of two adjacent columns at once. From compute capability 10.0 on, GPUs multiply and add two fp32 in
// one instruction; earlier ones do pairs one by one, with the same bits. There the special functions, two for each
// output, and the issue of instructions take about as long as each other: 544 and 568 cycles for 1024 outputs
// (bench/NOTES.md).
#pragma once

#include "math/portable.hpp"

namespace moe_act::cuda {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
__device__ __forceinline__ float2 multiply(float2 a, float2 b) {
  float2 product;
  asm("{.reg .b64 a, b;\n mov.b64 a, {%2, %3};\n mov.b64 b, {%4, %5};\n mul.rn.f32x2 a, a, b;\n mov.b64 {%0, %1}, a;}"
      : "=f"(product.x), "=f"(product.y)
      : "f"(a.x), "f"(a.y), "f"(b.x), "f"(b.y));
  return product;
}

__device__ __forceinline__ float2 add(float2 a, float2 b) {
  float2 sum;
  asm("{.reg .b64 a, b;\n mov.b64 a, {%2, %3};\n mov.b64 b, {%4, %5};\n add.rn.f32x2 a, a, b;\n mov.b64 {%0, %1}, a;}"
      : "=f"(sum.x), "=f"(sum.y)
      : "f"(a.x), "f"(a.y), "f"(b.x), "f"(b.y));
  return sum;
}
#else
__device__ __forceinline__ float2 multiply(float2 a, float2 b) {
  return {a.x * b.x, a.y * b.y};
}

__device__ __forceinline__ float2 add(float2 a, float2 b) {
  return {a.x + b.x, a.y + b.y};
}
#endif

// 1 / value within one unit in the last place.
__device__ __forceinline__ float reciprocal(float value) {
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(value));
  return result;
}

// 2^z within two units in the last place.
__device__ __forceinline__ float exp2(float z) {
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(z));
  return power;
}

// silu(gate) * up. Relative error of silu below 2^-20 (1 + |gate| / 16); it may be 0 where sigmoid(gate) is below
// 2^-126. An accurate expf and an IEEE division cost three to four times the latency and change 5 codes in a million.
__device__ __forceinline__ float2 swiglu(float2 gate, float2 up) {
  constexpr float minus_log2_e = -1.44269504088896341f;
  const float2 z = multiply(gate, {minus_log2_e, minus_log2_e});
  const float2 denominator = add({exp2(z.x), exp2(z.y)}, {1.0f, 1.0f});
  const float2 sigmoid = {reciprocal(denominator.x), reciprocal(denominator.y)};
  return multiply(multiply(gate, sigmoid), up);
}

// Of a column alone.
__device__ __forceinline__ float swiglu(float gate, float up) {
  return swiglu(float2{gate, 0.0f}, float2{up, 0.0f}).x;
}

}  // namespace moe_act::cuda

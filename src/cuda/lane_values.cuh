// What a lane does with values that it holds: activation, the largest magnitude among lanes, scaling, stores.
#pragma once

#include <type_traits>

#include "core/kernel_arguments.hpp"
#include "core/kernel_key.hpp"
#include "cuda/activation.cuh"
#include "cuda/convert.cuh"

namespace moe_act::cuda {

inline constexpr int warp_lanes = 32;
inline constexpr unsigned all_lanes = 0xffffffffu;

// Uses of what was loaded stay behind this point of the program.
__device__ __forceinline__ void keep_behind(std::int32_t& loaded) {
  asm volatile("" : "+r"(loaded));
}

// Fetches the last line of parameters that a row needs, while what says which row is still under way: parameters arrive
// in lines of 64 bytes, when they are first looked at. The pointer is never null here, but the compiler does not know.
__device__ __forceinline__ void fetch_parameters(const KernelArguments& arguments) {
  asm volatile("{.reg .pred missing; setp.eq.u64 missing, %0, 0; @missing exit;}" ::"l"(arguments.out));
}
__device__ __forceinline__ std::uint32_t low_word(const void* pointer) {
  return static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(pointer));
}
// The same. Nor does it know that nothing comes of the two words, which are worked out before what stands behind this.
__device__ __forceinline__ void fetch_parameters(const KernelArguments& arguments, std::uint32_t first,
                                                 std::uint32_t second) {
  asm volatile(
      "{.reg .pred missing; .reg .b32 low, high; mov.b64 {low, high}, %0; or.b32 low, low, %1; or.b32 high, high, %2;"
      "or.b32 low, low, high; setp.eq.u32 missing, low, 0; @missing exit;}" ::"l"(arguments.out),
      "r"(first), "r"(second));
}

// What stands behind this in the program stays there, parameters that it looks at, too: what lies at place has been
// asked for. The exit is never taken.
__device__ __forceinline__ void keep_behind_load_of(const void* place) {
  asm volatile(
      "{.reg .pred missing; .reg .b32 low, high; mov.b64 {low, high}, %0; setp.eq.s32 missing, high, -1;"
      "@missing exit;}" ::"l"(place));
}

// As `if (!condition) return;`, but what stands behind it in the program stays there, and loads before it stay before.
__device__ __forceinline__ void exit_unless(bool condition) {
  asm volatile("{.reg .pred missing; setp.eq.s32 missing, %0, 0; @missing exit;}" ::"r"(static_cast<int>(condition))
               : "memory");
}

// So many strides behind a pointer: one instruction, 32 x 32 + 64 bits.
template <typename Value>
__device__ __forceinline__ Value* behind(Value* pointer, std::uint32_t strides, std::uint32_t stride_bytes) {
  using Byte = std::conditional_t<std::is_const_v<Value>, const unsigned char, unsigned char>;
  return reinterpret_cast<Value*>(reinterpret_cast<Byte*>(pointer) + std::uint64_t{strides} * stride_bytes);
}

// The largest magnitude, 0 if there is none but NaN. A tree: a chain of 16 would take 64 cycles.
template <int count>
__device__ __forceinline__ float amax_of(const float (&values)[count]) {
  if constexpr (count == 1) {
    return fmaxf(fabsf(values[0]), 0.0f);
  } else {
    float largest[count / 2];
#pragma unroll
    for (int i = 0; i < count / 2; ++i) largest[i] = fmaxf(fabsf(values[i]), fabsf(values[i + count / 2]));
    return amax_of(largest);
  }
}

// The largest value among groups of `lanes` adjacent lanes. Values are not NaN and not negative.
template <int lanes>
__device__ __forceinline__ float max_over_lanes(float value) {
  if constexpr (lanes == warp_lanes) {
    // Non-negative floats order like their bits, and one redux replaces five dependent shuffles.
    return __uint_as_float(__reduce_max_sync(all_lanes, __float_as_uint(value)));
  } else if constexpr (lanes == warp_lanes / 2) {
    // Of both halves at once: 4.8 instead of 4.9 us (H100, 2026-11-26, bf16/2048 in L2).
    const unsigned bits = __float_as_uint(value);
    const bool lower = threadIdx.x < lanes;
    const unsigned of_lower = __reduce_max_sync(all_lanes, lower ? bits : 0u);
    const unsigned of_upper = __reduce_max_sync(all_lanes, lower ? 0u : bits);
    return __uint_as_float(lower ? of_lower : of_upper);
  } else {
#pragma unroll
    for (int distance = lanes / 2; distance > 0; distance /= 2)
      value = fmaxf(value, __shfl_xor_sync(all_lanes, value, distance));
    return value;
  }
}

// The same where 32, 64 or 128 columns are a block, `columns` of each lane. few: by as few shuffles as it takes, two
// more of lanes of 4 columns are 0.15 us (H100, 2026-11-28, 256 rows of bf16, H 2048, in L2); else by the same code for
// all.
template <int columns, bool few>
__device__ __forceinline__ float max_over_block(float value, unsigned lanes) {
  constexpr int most = block_columns / columns;
  if constexpr (few) {
    if (lanes == most) return max_over_lanes<most>(value);
    if (lanes == most / 2) return max_over_lanes<most / 2>(value);
    return max_over_lanes<most / 4>(value);
  } else {
#pragma unroll
    for (unsigned distance = 1; distance < most; distance *= 2)  // behind the block: its own
      value = fmaxf(value, __shfl_xor_sync(all_lanes, value, distance & (lanes - 1)));
    return value;
  }
}

// silu(gate) * up of one column, or of two adjacent ones, scaled first where inputs have scales.
template <bool scaled_input>
__device__ __forceinline__ void activate(const float (&gate)[1], const float (&up)[1], float gate_scale, float up_scale,
                                         float* values) {
  values[0] = scaled_input ? swiglu(gate[0] * gate_scale, up[0] * up_scale) : swiglu(gate[0], up[0]);
}
template <bool scaled_input>
__device__ __forceinline__ void activate(const float (&gate)[2], const float (&up)[2], float gate_scale, float up_scale,
                                         float* values) {
  float2 gates = {gate[0], gate[1]}, ups = {up[0], up[1]};
  if constexpr (scaled_input) {
    gates = multiply(gates, {gate_scale, gate_scale});
    ups = multiply(ups, {up_scale, up_scale});
  }
  const float2 pair = swiglu(gates, ups);
  values[0] = pair.x;
  values[1] = pair.y;
}

// The same of whole vectors.
template <bool scaled_input, typename Input, int columns>
__device__ __forceinline__ void activate(const Input& gate, const Input& up, float gate_scale, float up_scale,
                                         float (&values)[columns]) {
#pragma unroll
  for (int c = 0; c < columns; c += Input::step) {
    float gate_values[Input::step], up_values[Input::step];
    gate.decode(c, gate_values);
    up.decode(c, up_values);
    activate<scaled_input>(gate_values, up_values, gate_scale, up_scale, &values[c]);
  }
}

// Without a jump, which the lanes of a warp would take one after the other.
__device__ __forceinline__ void store_if(bool condition, float* target, float value) {
  asm volatile("{.reg .pred stored; setp.ne.s32 stored, %0, 0; @stored st.global.f32 [%1], %2;}" ::"r"(
                   static_cast<int>(condition)),
               "l"(__cvta_generic_to_global(target)), "f"(value)
               : "memory");
}

// values * inverse: codes are products with the reciprocal, inside the contract's interval.
template <int count>
__device__ __forceinline__ void scale_by(float (&values)[count], float inverse) {
  if constexpr (count == 1) {
    values[0] *= inverse;
  } else {
#pragma unroll
    for (int c = 0; c < count; c += 2) {
      const float2 pair = multiply({values[c], values[c + 1]}, {inverse, inverse});
      values[c] = pair.x;
      values[c + 1] = pair.y;
    }
  }
}

template <Format format, int count>
__device__ __forceinline__ void store_as(void* out, std::int64_t offset, const float (&values)[count]) {
  Vector<format, count> vector;
  vector.encode(values);
  vector.store(static_cast<typename Vector<format, count>::Bits*>(out) + offset);
}

template <int count>
__device__ __forceinline__ void store_codes(void* out, Format format, std::int64_t offset,
                                            const float (&values)[count]) {
  if (format == Format::e5m2)
    store_as<Format::e5m2>(out, offset, values);
  else
    store_as<Format::e4m3>(out, offset, values);
}

template <int count>
__device__ __forceinline__ void store_plain(void* out, Format format, std::int64_t offset,
                                            const float (&values)[count]) {
  if (format == Format::bf16)
    store_as<Format::bf16>(out, offset, values);
  else if (format == Format::fp16)
    store_as<Format::fp16>(out, offset, values);
  else
    store_as<Format::fp32>(out, offset, values);
}

}  // namespace moe_act::cuda

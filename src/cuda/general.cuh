// What general problems add to a vector of columns on a GPU: gate and up that take turns, bias, every activation,
// weight and the roundings of presets.
#pragma once

#include "core/kernel_arguments.hpp"
#include "cuda/activation.cuh"
#include "cuda/convert.cuh"

namespace moe_act::cuda {

// How the GPU does what backends do each in their own way.
struct Unit {
  static constexpr bool exact_quotients = false;
  static __device__ __forceinline__ float reciprocal(float value) { return cuda::reciprocal(value); }
  static __device__ __forceinline__ float exp2(float z) { return cuda::exp2(z); }
  // The operations of swiglu, in their order.
  static __device__ __forceinline__ float times_sigmoid(float x, float t) {
    return x * cuda::reciprocal(cuda::exp2(t * -1.44269504088896341f) + 1.0f);
  }
};

// Where the two vectors begin that hold gate and up of `columns` columns from `column` on. Groups narrower than a
// vector lie in two adjacent ones, which `take_turns` takes apart.
template <int columns>
__device__ __forceinline__ void stored_columns(const Model& model, std::uint32_t column, std::uint32_t& first,
                                               std::uint32_t& second) {
  const auto group = static_cast<std::uint32_t>(model.interleave);
  if (group == 0) return;
  if (group < columns) {
    first = 2 * column;
    second = first + columns;
  } else {
    first = column / group * 2 * group + column % group;
    second = first + group;
  }
}

template <int columns>
__device__ __forceinline__ void take_turns(const Model& model, float (&first)[columns], float (&second)[columns]) {
  if (model.interleave == 0 || model.interleave >= columns) return;
  float stored[2 * columns];
#pragma unroll
  for (int c = 0; c < columns; ++c) {
    stored[c] = first[c];
    stored[columns + c] = second[c];
  }
  if (model.interleave == 1) {
#pragma unroll
    for (int c = 0; c < columns; ++c) {
      first[c] = stored[2 * c];
      second[c] = stored[2 * c + 1];
    }
  } else {
    constexpr int group = 8 < columns ? 8 : columns;
#pragma unroll
    for (int c = 0; c < columns; ++c) {
      first[c] = stored[c / group * 2 * group + c % group];
      second[c] = stored[c / group * 2 * group + c % group + group];
    }
  }
}

template <bool scaled_input, typename Input, int columns>
__device__ __forceinline__ void decode_scaled(const Input& vector, float scale, float (&values)[columns]) {
#pragma unroll
  for (int c = 0; c < columns; c += Input::step) {
    float decoded[Input::step];
    vector.decode(c, decoded);
#pragma unroll
    for (int i = 0; i < Input::step; ++i) values[c + i] = scaled_input ? decoded[i] * scale : decoded[i];
  }
}

template <Format format, int columns>
__device__ __forceinline__ void add_vector(const void* bias, std::int64_t offset, float (&values)[columns]) {
  Vector<format, columns> vector;
  vector.load(static_cast<const typename Vector<format, columns>::Bits*>(bias) + offset);
  float decoded[columns];
  decode_scaled<false>(vector, 1.0f, decoded);
#pragma unroll
  for (int c = 0; c < columns; ++c) values[c] += decoded[c];
}

// column: stored.
template <int columns>
__device__ __forceinline__ void add_bias(const Model& model, const RowModel& row, std::uint32_t column,
                                         float (&values)[columns]) {
  if (model.bias == nullptr) return;
  if (model.bias_format == Format::fp32)
    add_vector<Format::fp32>(model.bias, row.bias + column, values);
  else
    add_vector<Format::bf16>(model.bias, row.bias + column, values);
}

// Rounded to the format and back.
template <Format format, int columns>
__device__ __forceinline__ void round_to(float (&values)[columns]) {
  if constexpr (format == Format::bf16 || format == Format::fp16) {
    Vector<format, columns> vector;
    vector.encode(values);
    decode_scaled<false>(vector, 1.0f, values);
  }
}

template <int columns>
__device__ __forceinline__ bool any_nan(const float (&values)[columns]) {
  bool found = false;
#pragma unroll
  for (int c = 0; c < columns; ++c) found |= values[c] != values[c];
  return found;
}

// gate and up: what the two vectors of stored columns hold, with their scales and bias; used up.
template <Format input, int columns>
__device__ __forceinline__ void activate_general(const KernelArguments& arguments, const RowModel& row,
                                                 float (&gate)[columns], float (&up)[columns],
                                                 float (&values)[columns]) {
  const Model& model = arguments.model;
  const ActivationParameters& parameters = row.parameters;
  take_turns(model, gate, up);
  if (model.limits_gate) {
#pragma unroll
    for (int c = 0; c < columns; ++c) gate[c] = math::at_most(gate[c], parameters.limit);
  }
  if (model.limits_gate || model.limits_result) {
#pragma unroll
    for (int c = 0; c < columns; ++c) up[c] = math::within(up[c], parameters.limit);
  }
  if (model.rounds_clamped) {
    round_to<input>(gate);
    round_to<input>(up);
  }
  math::dispatch(model.function, [&]<GateFunction function>() {
#pragma unroll
    for (int c = 0; c < columns; ++c) {
      values[c] = math::activation<function, Unit>(gate[c], parameters);
      if constexpr (function == GateFunction::situ) up[c] = math::multiplier<function, Unit>(up[c], parameters);
    }
  });
  if (model.limits_result) {
#pragma unroll
    for (int c = 0; c < columns; ++c) values[c] = math::at_most(values[c], parameters.limit);
  }
  if (arguments.numerics.product_rounding == ProductRounding::activation_and_product) round_to<input>(values);
  if (model.gated) {
    // situ's up has been dealt with; its beta is neutral.
#pragma unroll
    for (int c = 0; c < columns; ++c) values[c] *= up[c] + parameters.beta;
  }
  if (model.weight != nullptr) {
#pragma unroll
    for (int c = 0; c < columns; ++c) values[c] *= row.weight;
  }
  if (arguments.numerics.product_rounding != ProductRounding::none) round_to<input>(values);
}

}  // namespace moe_act::cuda

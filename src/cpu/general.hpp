// What general problems add to a block of columns: gate and up that take turns, bias, every activation, weight and the
// roundings of presets.
#pragma once

#include "core/kernel_arguments.hpp"
#include "math/encoding.hpp"

namespace moe_act::cpu::MOE_ACT_CPU_NAMESPACE {

// How the CPU does what backends do each in their own way: every quotient is a division.
struct Unit {
  static constexpr bool exact_quotients = true;
  MOE_ACT_HOST_DEVICE static float times_sigmoid(float x, float t) { return x / math::silu_denominator(t); }
  MOE_ACT_HOST_DEVICE static float exp2(float z) { return math::exp2(z); }
  MOE_ACT_HOST_DEVICE static float reciprocal(float value) { return 1.0f / value; }
};

// values[i] += bias of stored column first + i.
inline void add_bias(const Model& model, const RowModel& row, std::int64_t first, int count, float* values) {
  if (model.bias == nullptr) return;
  if (model.bias_format == Format::fp32) {
    const float* bias = static_cast<const float*>(model.bias) + row.bias + first;
    for (int i = 0; i < count; ++i) values[i] += bias[i];
  } else {
    const auto* bias = static_cast<const std::uint16_t*>(model.bias) + row.bias + first;
    for (int i = 0; i < count; ++i) values[i] += math::Encoding<Format::bf16>::decode(bias[i]);
  }
}

// Two blocks of stored columns to a block of gate and one of up.
inline void take_turns(const float* stored, int group, float* gate, float* up) {
  for (int i = 0; i < block_columns; ++i) {
    const int column = i / group * 2 * group + i % group;
    gate[i] = stored[column];
    up[i] = stored[column + group];
  }
}

// Rounded to the format and back.
template <Format format>
void round_to(float* values) {
  if constexpr (format == Format::bf16 || format == Format::fp16)
    for (int i = 0; i < block_columns; ++i)
      values[i] = math::Encoding<format>::decode(
          static_cast<typename math::Encoding<format>::Bits>(math::Encoding<format>::encode(values[i])));
}

// What is quantized: the activation of gate, times up and weight, rounded. gate and up are used up.
template <Format input>
void activate_general(const KernelArguments& arguments, const RowModel& row, float* gate, float* up, float* values) {
  const Model& model = arguments.model;
  const ActivationParameters& parameters = row.parameters;
  const bool rounds_activation = arguments.numerics.product_rounding == ProductRounding::activation_and_product;
  if (model.limits_gate)
    for (int i = 0; i < block_columns; ++i) gate[i] = math::at_most(gate[i], parameters.limit);
  if (model.limits_gate || model.limits_result)
    for (int i = 0; i < block_columns; ++i) up[i] = math::within(up[i], parameters.limit);
  if (model.rounds_clamped) {
    round_to<input>(gate);
    round_to<input>(up);
  }
  math::dispatch(model.function, [&]<GateFunction function>() {
    for (int i = 0; i < block_columns; ++i) values[i] = math::activation<function, Unit>(gate[i], parameters);
    if (model.limits_result)
      for (int i = 0; i < block_columns; ++i) values[i] = math::at_most(values[i], parameters.limit);
    if (rounds_activation) round_to<input>(values);
    if (!model.gated) return;
    for (int i = 0; i < block_columns; ++i) values[i] *= math::multiplier<function, Unit>(up[i], parameters);
  });
  if (model.weight != nullptr)
    for (int i = 0; i < block_columns; ++i) values[i] *= row.weight;
  if (arguments.numerics.product_rounding != ProductRounding::none) round_to<input>(values);
}

}  // namespace moe_act::cpu::MOE_ACT_CPU_NAMESPACE

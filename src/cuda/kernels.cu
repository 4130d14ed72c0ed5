// Compiled once per input format, named by MOE_ACT_INPUT.
#include "cuda/kernels.hpp"

#include <utility>

#include "cuda/kernel.cuh"

namespace moe_act::cuda {
namespace {

constexpr Format input = Format::MOE_ACT_INPUT;

// The run of kernel_keys that has this input: keys are listed input by input.
constexpr std::size_t first_index = [] {
  std::size_t index = 0;
  while (kernel_keys[index].input != input) ++index;
  return index;
}();

constexpr std::size_t count = [] {
  std::size_t keys = 0;
  for (const KernelKey& key : kernel_keys) keys += key.input == input ? 1 : 0;
  return keys;
}();

template <std::size_t index>
constexpr KernelFunction kernel_of() {
  constexpr KernelKey key = kernel_keys[index];
  static_assert(key.input == input);
  if constexpr (key.reach == Reach::models)
    return &gated_act_quant_general<key.input, key.output, key.schedule, key.columns_per_lane, key.vectors_per_lane>;
  else if constexpr (key.marked)
    return &gated_act_quant_of_marked_rows<key.input, key.output, key.columns_per_lane, key.vectors_per_lane>;
  else if constexpr (key.schedule == Schedule::entry)
    return &gated_act_quant_of_entries<key.input, key.output, key.columns_per_lane, key.vectors_per_lane, key.reach>;
  else if constexpr (has_nine_ctas(key))
    return &gated_act_quant_by_nine_ctas<key.input, key.output, key.schedule, key.columns_per_lane,
                                         key.vectors_per_lane>;
  else if constexpr (key.schedule >= Schedule::list)
    return &gated_act_quant_of_any_rows<key.input, key.output, key.schedule, key.columns_per_lane, key.vectors_per_lane,
                                        key.reach>;
  else
    return &gated_act_quant<key.input, key.output, key.schedule, key.columns_per_lane, key.vectors_per_lane>;
}

template <std::size_t... offset>
constexpr std::array<KernelFunction, count> table_of(std::index_sequence<offset...>) {
  return {kernel_of<first_index + offset>()...};
}

const std::array<KernelFunction, count> table = table_of(std::make_index_sequence<count>{});

}  // namespace

template <>
KernelFunction find_kernel<input>(std::size_t kernel_index) {
  return table[kernel_index - first_index];
}

}  // namespace moe_act::cuda

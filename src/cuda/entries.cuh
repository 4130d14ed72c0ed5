// Entries of a list, as kernels look at them: by the rule where there is one, which is fewer instructions than the
// addressing takes. in_use: what the count says, of entries or of the rule's groups.
#pragma once

#include <type_traits>

#include "core/kernel_arguments.hpp"
#include "core/kernel_key.hpp"

namespace moe_act::cuda {

template <Reach reach>
struct Entries {
  // What is counted in 64 bits, and lists without a rule, are left to general kernels. Plain ones' index has 32 bits,
  // and their scale strides are the launch's.
  static constexpr bool counts_far = reach == Reach::models;
  static constexpr bool may_be_64_bit = reach != Reach::plain;
  using Number = std::conditional_t<counts_far, std::int64_t, std::int32_t>;

  static __device__ __forceinline__ bool has_rule(const KernelArguments& arguments) {
    return !counts_far || arguments.entries.exists;
  }
  static __device__ __forceinline__ Number units_of(const KernelArguments& arguments) {
    return static_cast<Number>(counts_far ? arguments.rows.units : arguments.entries.units);
  }
  static __device__ __forceinline__ Number value_of(const KernelArguments& arguments, Number entry) {
    if (has_rule(arguments)) return arguments.entries.value_of<may_be_64_bit>(static_cast<std::int32_t>(entry));
    return static_cast<Number>(arguments.rows.value_of(entry));
  }
  static __device__ __forceinline__ Number read_in_use(const KernelArguments& arguments) {
    if (has_rule(arguments)) return arguments.entries.groups_in_use<may_be_64_bit>();
    const IndexArray& count = arguments.rows.count;
    return static_cast<Number>(arguments.rows.entries_in_use(count.data != nullptr ? count[0] : 0));
  }
  static __device__ __forceinline__ bool is_in_use(const KernelArguments& arguments, Number entry, Number in_use) {
    if (has_rule(arguments))
      return arguments.entries.is_in_use(static_cast<std::int32_t>(entry), static_cast<std::int32_t>(in_use));
    return entry < in_use;
  }
  static __device__ __forceinline__ Number row_named(const KernelArguments& arguments, Number entry, Number value) {
    if (has_rule(arguments))
      return arguments.entries.row_named(static_cast<std::int32_t>(entry), static_cast<std::int32_t>(value));
    return static_cast<Number>(arguments.rows.row_named(entry, value));
  }
};

}  // namespace moe_act::cuda

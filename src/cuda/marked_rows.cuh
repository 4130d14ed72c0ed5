// Marked rows: in their own order, where a map or ids name them in another. A row whose mark points to an entry is
// loaded at once, and the entry, asked for with it, says whether anything is stored: one load after another would take
// 304 instead of 281 us (H100, 2026-11-23, routed/16384).
#pragma once

#include "core/kernel_arguments.hpp"

namespace moe_act::cuda {

struct MarkedLaunch {
  std::uint32_t number;
  std::uint32_t entries;  // in use

  // All loads, none is used yet.
  explicit __device__ __forceinline__ MarkedLaunch(const KernelArguments& arguments) {
    const uint2 head = *reinterpret_cast<const uint2*>(arguments.marks);
    number = head.x;
    entries = head.y;
  }

  // Rows from 0 on that an entry may name.
  static __device__ __forceinline__ std::uint32_t rows(const KernelArguments& arguments) {
    return static_cast<std::uint32_t>(arguments.entries.last) + 1;
  }

  // Once in a launch, by whoever has the first of everything: all marking is over, and the next launch is another one.
  __device__ __forceinline__ void finish(const KernelArguments& arguments) const { arguments.marks->done = number; }

  __device__ __forceinline__ bool is_in_use(std::uint32_t entry) const { return entry < entries; }
};

// The row that an entry in use names, as its words are in memory: nothing is worked out of them before they are there.
struct NamedRow {
  std::uint32_t low = ~0u, high = 0;

  NamedRow() = default;
  __device__ __forceinline__ NamedRow(const EntryRule& rule, std::uint32_t entry) {
    const auto* words = static_cast<const std::uint32_t*>(rule.values) + (entry << (rule.values_are_64_bit ? 1 : 0));
    low = words[0];
    if (rule.values_are_64_bit) high = words[1];
  }
  __device__ __forceinline__ bool is(std::uint32_t row) const { return ((low ^ row) | high) == 0; }
};

// A place along a row that is live if its entry, which is under way with everything else, names it.
template <typename Along>
struct MarkedPlace : Along {
  static constexpr bool loads_first = true;

  std::uint32_t row;
  NamedRow named;

  template <typename RowStart, typename Strides>
  __device__ __forceinline__ MarkedPlace(const KernelArguments& arguments, const Strides& strides,
                                         const RowStart& start, std::uint32_t column, std::uint32_t own,
                                         const NamedRow& named_by_entry)
      : Along(arguments, strides, start, column), row(own), named(named_by_entry) {}
  __device__ __forceinline__ bool confirm() const { return named.is(row); }
};

}  // namespace moe_act::cuda

// Marks tell which rows of a buffer the entries of a map, or ids, name: the way to do those rows in their own order. A
// workspace of any content holds them, and nothing clears it: a mark says which entry may have named its row, and the
// entry itself, whether it does. Marks of earlier launches would pass for such too often, and each costs the reading of
// a row in vain; so launches have numbers, and marks differ from launch to launch. Whether a row is live never depends
// on that: a mark that chance or another program left there is found out like any other.
#pragma once

#include <cstdint>

#include "math/portable.hpp"

namespace moe_act {

// The head of a workspace; behind it lies a mark for each row.
struct alignas(16) MarkHead {
  std::uint32_t launch;   // number of the launch that marked
  std::uint32_t entries;  // in use of what it read
  std::uint32_t done;     // number of the launch whose rows were done: what counts the next one, once all have read it
  std::uint32_t unused;

  MOE_ACT_HOST_DEVICE const std::uint32_t* marks() const { return reinterpret_cast<const std::uint32_t*>(this + 1); }
  MOE_ACT_HOST_DEVICE std::uint32_t* marks() { return reinterpret_cast<std::uint32_t*>(this + 1); }
};
static_assert(sizeof(MarkHead) == 16);

constexpr std::int64_t mark_bytes(std::int64_t rows) {
  return std::int64_t{sizeof(MarkHead)} + rows * std::int64_t{sizeof(std::uint32_t)};
}

// Multiples of this odd number stay 341411 apart for ten thousand launches: of no more entries than that, those of one
// launch do not pass for those of another.
inline constexpr std::uint32_t marks_apart = 0x9e3779b1u;

MOE_ACT_HOST_DEVICE std::uint32_t mark_of(std::uint32_t entry, std::uint32_t launch) {
  return entry + launch * marks_apart;
}
// What makes a mark one of this launch: that it is below the entries in use.
MOE_ACT_HOST_DEVICE std::uint32_t entry_of(std::uint32_t mark, std::uint32_t launch) {
  return mark - launch * marks_apart;
}

}  // namespace moe_act

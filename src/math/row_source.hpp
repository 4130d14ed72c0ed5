// Which rows there are to do: one tagged plain struct, passed by value to every kernel.
#pragma once

#include <cstdint>

#include "math/portable.hpp"

namespace moe_act {

enum class RowKind : std::int32_t { dense = 1, expanded_to_permuted = 2 };

struct RowSource {
  RowKind kind;
  const std::int32_t* map;  // [units]: the row of x and out, -1 = none. Null when rows are dense
  std::int64_t units;       // map entries, or rows when they are dense
  std::int64_t rows;        // capacity of x and out: no row at or past it is ever touched

  // The row of one unit of work, or -1. A map value past the capacity is skipped, not followed.
  MOE_ACT_HOST_DEVICE std::int64_t row(std::int64_t unit) const {
    if (kind == RowKind::dense) return unit;
    const std::int64_t entry = map[unit];
    return entry < rows ? entry : -1;
  }
};

}  // namespace moe_act

// The kinds of rows there are, and the rows to do where they are dense or an int32 map names them.
#pragma once

#include <cstdint>

#include "math/portable.hpp"

namespace moe_act {

enum class RowKind : std::int32_t {
  dense = 1,
  expanded_to_permuted = 2,
  valid_prefix = 3,
  tile_limits = 4,
  row_to_expert = 5,
  sorted_token_ids = 6,
  expert_offsets = 7,  // from here on experts own segments of rows
  expert_ends = 8,
  masked = 9,
};

// What the kernels for rows in their own order, or in that of an int32 map, know of them: all in 32 bits.
struct RowSource {
  const std::int32_t* map;  // [units]: the row of x and out, -1 = none. Null where there is none
  std::uint32_t units;      // map entries, or rows where there is no map
  std::uint32_t rows;       // of x and out: none behind them is ever touched

  // What memory says of a unit, before it is judged; negative: nothing to do, or no unit.
  MOE_ACT_HOST_DEVICE std::int32_t look_up(std::uint32_t unit) const {
    const bool is_unit = unit < units;
    std::int32_t looked_up = is_unit ? 0 : -1;
    if (is_unit & (map != nullptr)) looked_up = map[unit];
    return looked_up;
  }

  // A map value that is no row of x is skipped, not followed.
  MOE_ACT_HOST_DEVICE bool is_live(std::int32_t looked_up) const {
    return static_cast<std::uint32_t>(looked_up) < rows;
  }

  // Of a live unit.
  MOE_ACT_HOST_DEVICE std::uint32_t row_of(std::uint32_t unit, std::int32_t looked_up) const {
    return map != nullptr ? static_cast<std::uint32_t>(looked_up) : unit;
  }
};

// Do 32 bits suffice to count units and rows?
constexpr bool has_row_source(std::int64_t units, std::int64_t rows) {
  return units <= INT32_MAX && rows <= INT32_MAX;
}

}  // namespace moe_act

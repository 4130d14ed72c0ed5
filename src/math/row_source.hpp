// Which rows there are to do: one tagged plain struct, passed by value to every kernel.
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

// One unit of work: where its row lies in each buffer. The three agree in the kinds there are now; layouts that pad
// scales per expert, and kinds that gather, are told apart here and nowhere else.
struct RowUnit {
  std::int64_t in_row;     // of x; negative = nothing to do
  std::int64_t out_row;    // of out
  std::int64_t scale_row;  // of x_scale and out_scale

  MOE_ACT_HOST_DEVICE bool is_live() const { return in_row >= 0; }
};

struct RowSource {
  const std::int32_t* map;    // [units]: the row of x and out, -1 = none. Null where there is none
  const std::uint8_t* marks;  // [rows]: 1 where a map names the row. Null unless a map's rows are done in their order
  std::int64_t units;         // map entries, or rows where there is no map
  std::int64_t rows;          // capacity of x and out: no row at or past it is ever touched

  // What memory says of a unit, before it is judged: its map entry, its mark, or nothing where rows are dense.
  MOE_ACT_HOST_DEVICE std::int32_t look_up(std::int64_t unit) const {
    if (map != nullptr) return map[unit];
    if (marks != nullptr) return marks[unit];
    return 0;
  }

  // A map value that is no row of x is skipped, not followed.
  MOE_ACT_HOST_DEVICE RowUnit unit_of(std::int64_t unit, std::int32_t looked_up) const {
    std::int64_t row = unit;
    if (map != nullptr)
      row = looked_up < rows ? looked_up : -1;
    else if (marks != nullptr && looked_up == 0)
      row = -1;
    return {row, row, row};
  }
};

}  // namespace moe_act

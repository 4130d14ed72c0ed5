// The small kernel that marks the rows which a map, or ids, name; math/marks.hpp says what marks are. What does those
// rows comes behind it: marked_rows.cuh.
#pragma once

#include <cstdint>

#include "math/entry_rule.hpp"
#include "math/marks.hpp"

namespace moe_act::cuda {

struct MarkArguments {
  EntryRule entries;  // of a kind whose entries name rows
  MarkHead* head;     // [1], and a mark for each row
  const void* x;      // the rows' own input, of which some is brought into L2:
  std::uint32_t x_row_bytes;
  std::uint32_t bytes_per_row;  // from where each row begins
  std::int32_t rows_ahead;      // of the first rows
};

using MarkFunction = void (*)(MarkArguments);
inline constexpr int mark_threads = 256;  // per CTA

MarkFunction mark_rows_kernel();  // a thread for each entry

}  // namespace moe_act::cuda

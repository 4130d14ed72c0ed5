// Two small kernels that turn a map, or ids, into row order: afterwards marks[row] says whether an entry names the row.
#pragma once

#include <cstdint>

#include "math/entry_rule.hpp"

namespace moe_act::cuda {

struct MarkArguments {
  RowAddressing rows;   // of a kind whose entries name rows
  EntryRule entries;    // the same, where there is a rule
  std::int32_t* marks;  // [rows rounded up to 4], 16-byte aligned: 0 where an entry names the row, else -1
};

using MarkFunction = void (*)(MarkArguments);
inline constexpr int mark_threads = 256;  // per CTA

MarkFunction clear_marks_kernel();  // one item for each 4 marks
MarkFunction mark_rows_kernel();    // one item for each entry

}  // namespace moe_act::cuda

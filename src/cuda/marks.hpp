// Two small kernels that turn a map into row order: afterwards marks[row] says whether the map names the row.
#pragma once

#include <cstdint>

namespace moe_act::cuda {

struct MarkArguments {
  const std::int32_t* map;  // [units]
  std::uint8_t* marks;      // [rows rounded up to 16], 16-byte aligned
  std::int64_t units;
  std::int64_t rows;
};

using MarkFunction = void (*)(MarkArguments);
inline constexpr int mark_threads = 256;  // per CTA

MarkFunction clear_marks_kernel();  // one item for each 16 marks
MarkFunction mark_rows_kernel();    // one item for each map entry

}  // namespace moe_act::cuda

// The CPU kernels, compiled once per instruction set from one source. All levels give the same bits.
#pragma once

#include "core/kernel_arguments.hpp"
#include "core/kernel_key.hpp"

namespace moe_act::cpu {

// Some of the work: entries [begin, end) of a list, or rows of an expert's segment.
struct Rows {
  std::int64_t expert;           // segments: whose
  std::int64_t first_row;        // of the segment, in the buffers or its own part of them
  std::int64_t first_scale_row;  // likewise, in the scales
  std::int64_t begin, end;
};

using RowsFunction = void (*)(const KernelArguments& arguments, const Rows& rows);

// Null where there is no such kernel.
namespace baseline {
RowsFunction find_kernel(Format input);
}
namespace x86_64_v3 {
RowsFunction find_kernel(Format input);
}
namespace x86_64_v4 {
RowsFunction find_kernel(Format input);
}

}  // namespace moe_act::cpu

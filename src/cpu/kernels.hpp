// The CPU kernels, compiled once per instruction set from one source. All levels give the same bits.
#pragma once

#include "core/kernel_arguments.hpp"
#include "core/kernel_key.hpp"

namespace moe_act::cpu {

// Rows of units [begin, end).
using RowsFunction = void (*)(const KernelArguments& arguments, std::int64_t begin, std::int64_t end);

// Null where there is no such kernel.
namespace baseline {
RowsFunction find_kernel(Format input, OutputKind output);
}
namespace x86_64_v3 {
RowsFunction find_kernel(Format input, OutputKind output);
}
namespace x86_64_v4 {
RowsFunction find_kernel(Format input, OutputKind output);
}

}  // namespace moe_act::cpu

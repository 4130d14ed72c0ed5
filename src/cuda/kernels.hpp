// The compiled kernels of each input format, in the order of kernel_keys. One translation unit a format, so that two
// cores have something to share.
#pragma once

#include "core/kernel_arguments.hpp"
#include "core/kernel_key.hpp"

namespace moe_act::cuda {

using KernelFunction = void (*)(KernelArguments);

// kernel_index counts in kernel_keys and names a key of this input format.
template <Format input>
[[gnu::hot]] KernelFunction find_kernel(std::size_t kernel_index);

}  // namespace moe_act::cuda

// padding="zero" on the GPU: a kernel before the main one.
#pragma once

#include "core/kernel_arguments.hpp"

namespace moe_act::cuda {

inline constexpr int padding_warps = 8;  // of a CTA, each of which does a row at a time

struct PaddingArguments {
  KernelArguments launch;
  std::int64_t parts;  // experts of masked rows, else 1
  std::int32_t out_element_bytes;
  std::int32_t unquantized_element_bytes;
};

using PaddingFunction = void (*)(PaddingArguments);

PaddingFunction padding_kernel();

}  // namespace moe_act::cuda

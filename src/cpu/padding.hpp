// padding="zero": zero codes and scale 1 for every row that is not live.
#pragma once

#include "core/problem.hpp"

namespace moe_act::cpu {

// Before the rows themselves are done: all scales become 1, live rows' ones are written over.
void pad_with_zero(const Problem& problem, const KernelArguments& arguments);

}  // namespace moe_act::cpu

// What a launch may rely on: that tensors and pointers are what the plan's problem said they would be. O(1) checks.
#pragma once

#include "core/plan.hpp"

namespace moe_act {

// Throws Error naming the first field in which a problem is not the one the plan was made for.
void check_accepts(const Plan& plan, const moe_act_problem& problem);

// Throws Error if a pointer is missing, superfluous, misaligned against the promise, or overlaps a result.
void check_buffers(const Problem& problem, const moe_act_buffers& buffers);

// The same of the workspace, which no buffer may share.
void check_workspace(const Plan& plan, const moe_act_buffers& buffers, const void* workspace);

}  // namespace moe_act

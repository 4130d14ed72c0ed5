// What a plan may rely on: that tensors are what its problem said they would be. O(1) checks.
#pragma once

#include "core/plan.hpp"

namespace moe_act {

// Throws Error naming the first field in which a problem is not the one the plan was made for.
void check_accepts(const Plan& plan, const moe_act_problem& problem);

}  // namespace moe_act

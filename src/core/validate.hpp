// The opt-in checks that need the data itself.
#pragma once

#include "core/plan.hpp"

namespace moe_act {

// Throws Error. Waits for the stream.
void validate(const Plan& plan, const moe_act_buffers& buffers, void* stream);

}  // namespace moe_act

// The numerics presets: whose arithmetic a problem asks for, as data, and the parts that replace single rows of it.
#pragma once

#include "math/numerics.hpp"
#include "moe_act/c_api.h"

namespace moe_act {

// What fields left at 0 mean, by preset.
void resolve_numerics(moe_act_problem& problem);

// Throws Error naming the field unless they fit together and to the formats, which have been checked.
void require_numerics(const moe_act_problem& problem);

// Those of plain kernels.
bool has_default_numerics(const moe_act_problem& problem);

Numerics numerics_of(const moe_act_problem& problem);

}  // namespace moe_act

// From tensors, as an exporter describes them, to a problem and its pointers.
#pragma once

#include "core/problem.hpp"

namespace moe_act {

struct Description {
  moe_act_problem problem;
  moe_act_buffers buffers;
};

// Throws Error naming the tensor, what was given and what is expected. The problem is validated.
Description describe(const moe_act_tensors& tensors, const moe_act_options& options);

}  // namespace moe_act

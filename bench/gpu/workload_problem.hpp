// A workload in the words of the library.
#pragma once

#include <cstddef>

#include "workload.hpp"

namespace bench {

inline constexpr std::size_t most_choices = 200;  // of plans for one workload, that a search looks at

// On the CUDA device, contiguous, with as much workspace as it takes.
moe_act_problem problem_of(const Workload& workload, int device);

}  // namespace bench

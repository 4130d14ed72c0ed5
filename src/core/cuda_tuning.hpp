// What choose_launch() of core/cuda_plan.hpp is made of: a part for each family of kernels.
#pragma once

#include "core/cuda_plan.hpp"

namespace moe_act {

LaunchChoice choose_for_any_rows(const Problem& problem, const DeviceInfo& device);

}  // namespace moe_act

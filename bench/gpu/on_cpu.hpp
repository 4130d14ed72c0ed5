// The standard that the library's results on the GPU are held to: its results on the CPU, for some rows.
#pragma once

#include "device_data.hpp"

namespace bench {

inline constexpr std::int64_t sampled_rows = 64;

// The sample's results against those that the CPU has for the same rows, dense, with row-major fp32 scales.
Agreement compare_with_cpu(const Workload& workload, const Sample& sample);

}  // namespace bench

// What a backend offers to the C interface. cpu/ and cuda/ implement it; where CUDA is not compiled in, absent.cpp
// does.
#pragma once

#include <cstddef>

#include "core/plan.hpp"

namespace moe_act::cpu {

[[gnu::hot]] void launch(const Plan& plan, const KernelArguments& arguments);

// "baseline", "x86-64-v3", "x86-64-v4": the level in use, and the cap on it (null = the best there is).
const char* level();
void set_level(const char* level);

}  // namespace moe_act::cpu

namespace moe_act::cuda {

// "CUDA 13.0, architectures 80-real, 90", or "CUDA not compiled in".
const char* build_text();
int device_count();  // throws Error, and says why, where no device is usable
DeviceInfo device_info(int device_id);
[[gnu::hot]] void launch(const Plan& plan, const KernelArguments& arguments, void* workspace, void* stream);

// Copies to host memory in stream order and waits.
void copy_to_host(void* host, const void* device, std::size_t bytes, int device_id, void* stream);

}  // namespace moe_act::cuda

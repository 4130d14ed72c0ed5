// Launches by the driver itself, which take 90 to 160 ns less of 3000 to 4000 than those by the runtime, with its look
// at the current device and its search for the kernel (H100, 2026-11-27, bench/NOTES.md, "host path, fewer lines of
// code").
#pragma once

#include <cuda_runtime.h>

#include <optional>

#include "core/kernel_arguments.hpp"
#include "core/kernel_key.hpp"
#include "cuda/kernels.hpp"

namespace moe_act::cuda {

struct KernelLaunch {
  std::size_t kernel_index;  // in kernel_keys
  KernelFunction kernel;
  int device_id;
  dim3 grid, block;
  cudaStream_t stream;
  Pdl pdl;
};

// The stream's device, where that is known and not the given one, which has to be current. The runtime of CUDA 13 takes
// such a stream without a word and runs the kernel on that device, which may not reach the tensors (two H100,
// 2026-11-27).
std::optional<int> other_device_of(cudaStream_t stream, int device_id);

// False: nothing was launched, for whatever reason: the runtime finds it again and has words for it. That is so, too,
// where the stream's context is another than the kernel was launched in, and before the runtime has launched it there.
[[gnu::hot]] bool launched_by_driver(const KernelLaunch& launch, const KernelArguments& arguments);

// The runtime has launched it, and with that loaded the kernel.
void launched_by_runtime(const KernelLaunch& launch);

}  // namespace moe_act::cuda

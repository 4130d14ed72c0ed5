// The bare launch that calls of the library are compared with: an empty kernel with parameters of the same size.
#pragma once

#include <cuda_runtime.h>

#include <chrono>

#include "core/kernel_arguments.hpp"

namespace bench {

__global__ void empty_kernel(moe_act::KernelArguments) {}

class BareLaunch {
 public:
  BareLaunch(dim3 grid, dim3 block, cudaStream_t stream) {
    config_.gridDim = grid;
    config_.blockDim = block;
    config_.stream = stream;
  }
  cudaError_t operator()() {
    void* pointers[] = {&arguments_};
    return cudaLaunchKernelExC(&config_, reinterpret_cast<const void*>(&empty_kernel), pointers);
  }

 private:
  moe_act::KernelArguments arguments_{};
  cudaLaunchConfig_t config_{};
};

// Of a batch, which fits into the launch queue.
template <typename Launch>
double nanoseconds_per_call(int calls, Launch launch) {
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; ++i) launch();
  const std::chrono::duration<double, std::nano> elapsed = std::chrono::steady_clock::now() - begin;
  return elapsed.count() / calls;
}

}  // namespace bench

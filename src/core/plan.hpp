// From a problem to everything that is decided about running it: a pure function, tested without a GPU for any GPU.
#pragma once

#include <cstddef>
#include <string>

#include "core/problem.hpp"

namespace moe_act {

struct DeviceInfo {
  std::int32_t multiprocessors;
  std::int32_t compute_capability_major;
  std::int32_t compute_capability_minor;
  std::int64_t l2_bytes;
};

struct CudaLaunch {
  KernelKey key;
  std::size_t kernel_index;  // of key in kernel_keys
  std::int32_t grid_x;       // groups of rows or map entries
  std::int32_t grid_y;       // groups of column chunks
  std::int32_t warps_per_row;
  std::int32_t rows_per_cta;
  std::int32_t entries_per_warp;
  bool covers;  // the grid covers all there is to do: no warp has to loop
};

class Plan {
 public:
  // On CPU the device is not looked at.
  Plan(const Problem& problem, const DeviceInfo& device);

  const Problem& problem() const { return problem_; }
  const CudaLaunch& cuda() const { return cuda_; }
  moe_act_plan_info info() const;
  std::string text() const;  // a few lines for people

  // The arguments of the kernel for these pointers, which have been checked.
  KernelArguments arguments(const moe_act_buffers& buffers) const;

 private:
  Problem problem_;
  DeviceInfo device_;
  CudaLaunch cuda_{};
};

}  // namespace moe_act

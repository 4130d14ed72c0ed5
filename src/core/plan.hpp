// From a problem to everything that is decided about running it: a pure function, tested without a GPU for any GPU.
#pragma once

#include <optional>
#include <string>

#include "core/buffers.hpp"
#include "core/cuda_plan.hpp"

namespace moe_act {

class Plan {
 public:
  // On CPU the device is not looked at. A choice replaces the planner's own.
  Plan(const Problem& problem, const DeviceInfo& device, const std::optional<LaunchChoice>& choice = {});

  const Problem& problem() const { return problem_; }
  const CudaLaunch& cuda() const { return cuda_; }
  const DeviceInfo& device() const { return device_; }
  moe_act_plan_info info() const;
  std::string text() const;  // a few lines for people

  const BufferRules& buffer_rules() const { return buffer_rules_; }

  // The arguments of the kernel for these pointers, which have been checked.
  [[gnu::hot]] KernelArguments arguments(const moe_act_buffers& buffers) const;

 private:
  Problem problem_;
  DeviceInfo device_;
  CudaLaunch cuda_{};
  BufferRules buffer_rules_;
  KernelArguments without_pointers_;  // what every launch has in common
};

}  // namespace moe_act

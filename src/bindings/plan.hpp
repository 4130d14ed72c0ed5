// What Python knows as moe_act.Plan, and what it is made for.
#pragma once

#include <optional>

#include "bindings/call.hpp"
#include "bindings/errors.hpp"
#include "bindings/structs.hpp"

namespace moe_act::python {

// What Python knows as moe_act.DeviceInfo.
struct DeviceInfo {
  moe_act_device_info info;
};

class Plan {
 public:
  Plan(const moe_act_problem& problem, const moe_act_device_info* device, const moe_act_launch_choice* choice = nullptr)
      : problem_(problem), options_(options_of(problem)), plan_(make_plan(problem, device, choice)) {
    if (device != nullptr) device_ = *device;
    check(moe_act_plan_get_info(plan_.get(), &info_));
  }

  const moe_act_problem& problem() const { return problem_; }
  const moe_act_plan_info& info() const { return info_; }
  const moe_act_plan* handle() const { return plan_.get(); }
  const moe_act_device_info* device() const { return device_ ? &*device_ : nullptr; }  // null: the problem's own

  // Makes a call ready to be launched: its results are allocated, and it is of the plan's description, or refused.
  [[gnu::hot]] void prepare(Call& call, const Arguments& arguments, const RowArguments& rows) const;

 private:
  moe_act_problem problem_;
  moe_act_options options_;  // of tensors that give this problem
  std::optional<moe_act_device_info> device_;
  moe_act_plan_info info_ = sized<moe_act_plan_info>();
  PlanHandle plan_;
  // What was accepted last, all that its description depends on: calls of one plan come in long rows of the same.
  struct Accepted {
    TensorFacts tensors;
    RowOptions rows;
    ParameterOptions parameters;
  };
  mutable Accepted accepted_{{}, {-1, 0, 0, 0, 0}, {}};  // nothing yet: no rows are of kind -1
};

// What a method of Plan is called on. Refuses what Python's __new__ alone has made.
[[gnu::hot]] const Plan& plan_of(nb::handle self);

// Plan.run, a method of CPython's own kind. Its types are in stubs.txt.
extern PyMethodDef run_definition;

}  // namespace moe_act::python

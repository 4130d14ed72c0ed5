// What Python knows as moe_act.BoundLaunch, and how a plan is bound.
#pragma once

#include <array>

#include "bindings/plan.hpp"

namespace moe_act::python {

// A plan with its tensors. Python's collector of cycles does not see what is held here: no tensor and no plan refers
// back, unless somebody hangs the launch on a tensor as an attribute.
class BoundLaunch {
 public:
  using Given = std::array<nb::handle, Arguments::names.size()>;

  // tensors: in the order of Arguments.
  BoundLaunch(nb::handle plan, const Given& tensors);

  const nb::object& plan() const { return plan_; }
  const nb::object& result() const { return result_; }

  // Launches, on what the stream means now.
  [[gnu::hot]] const nb::object& run(nb::handle stream, bool validate) const;

 private:
  nb::object plan_;
  const moe_act_plan* handle_;
  // What a framework's exchange API lends lasts for as long as its object.
  std::array<nb::object, Arguments::names.size()> tensors_;
  Arguments arguments_;
  RowArguments rows_;
  Call call_;
  nb::object result_;  // a Result
};

// Plan.bind and BoundLaunch.run, methods of CPython's own kind. Their types are in stubs.txt.
extern PyMethodDef bind_definition, run_bound_definition;

}  // namespace moe_act::python

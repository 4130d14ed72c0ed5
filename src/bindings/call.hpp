// A call's tensors and options, and the way from them to a finished launch. What every call runs is marked hot, here
// and elsewhere: the linker lays it side by side, and a call that comes after a launch finds the caches of code and of
// its addresses full of the driver's, 1.74 instead of 1.85 us (bench/NOTES.md, "host path, fewer lines of code").
#pragma once

#include <nanobind/nanobind.h>

#include <memory>

#include "bindings/arguments.hpp"
#include "bindings/tensor.hpp"
#include "moe_act/c_api.h"

namespace moe_act::python {

// A moe_act.Result.
class Result : public nb::object {
  NB_OBJECT(Result, nb::object, "moe_act._frameworks.Result", PyTuple_Check)
};

struct PlanDeleter {
  void operator()(moe_act_plan* plan) const { moe_act_plan_destroy(plan); }
};
using PlanHandle = std::unique_ptr<moe_act_plan, PlanDeleter>;

// What plans may ask for: anything where x's framework can allocate it, else nothing.
std::int64_t workspace_limit_of(nb::handle x);

// Imported tensors, ready to be launched by a plan, once or again and again. The arguments, and the objects that they
// are, are held by the caller.
class Call {
 public:
  // stream: an int, an object with __cuda_stream__, a framework's stream, or None for the current stream of x's
  // framework.
  [[gnu::hot]] Call(const Arguments& arguments, const RowArguments& rows, nb::handle stream);

  // The problem that the tensors and options give. Results that are not given are described as contiguous.
  moe_act_problem describe(const moe_act_options& options);

  // What its description depends on beside the options, and is that the same?
  const TensorFacts& facts() const { return tensors_.facts(); }
  bool is_of(const TensorFacts& facts) const { return facts == tensors_.facts(); }

  // With the options.
  DescriptionKey key(const moe_act_options& options) const { return {tensors_.facts(), options}; }
  bool is_of(const DescriptionKey& key, const moe_act_options& options) const {
    return key.is_of(tensors_.facts(), options);
  }

  // Does a tensor require grad?
  bool requires_grad() { return tensors_.have_gradients(); }

  // Where gradients are off, it does not matter which tensors would have one.
  void ignore_gradients() { tensors_.ignore_gradients(); }

  // Are there results that are not given?
  bool allocates(const moe_act_problem& problem) const;

  // Allocates them, with the framework of x. False: all are given.
  bool allocate(const moe_act_problem& problem);

  // Allocates what a plan asks for, with the framework of x, for use on the call's stream.
  [[gnu::hot]] void allocate_workspace(std::int64_t bytes);

  // What a stream means now, given as to the constructor.
  [[gnu::hot]] void* resolve(nb::handle stream) const;

  // Launches a plan for the described problem, without holding the GIL.
  [[gnu::hot]] void launch(const moe_act_plan* plan, void* stream, bool validate) const;

  [[gnu::hot]] Result result() const;

  // A launch on the call's own stream, with what the plan asks for.
  [[gnu::hot]] Result run(const moe_act_plan* plan, std::int64_t workspace_bytes, bool validate);

 private:
  bool allocates_out_scale(const moe_act_problem& problem) const;

  const Arguments& arguments_;
  nb::handle out_, out_scale_;  // given, or allocated
  // The workspace is released after the launch: frameworks reuse memory in the order of its stream.
  nb::object allocated_out_, allocated_out_scale_, allocated_workspace_;
  void* stream_ = nullptr;
  Tensors tensors_;
  void* workspace_ = nullptr;
};

// Null: the problem's own device, the planner's own choice.
PlanHandle make_plan(const moe_act_problem& problem, const moe_act_device_info* device,
                     const moe_act_launch_choice* choice = nullptr);

std::int64_t workspace_bytes_of(const moe_act_plan* plan);

// A plan for the problem's own device: that of the last call, if it was for the same problem.
std::shared_ptr<const moe_act_plan> recent_plan(const moe_act_problem& problem);

}  // namespace moe_act::python

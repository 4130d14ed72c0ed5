#include "bindings/functions.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <string>
#include <string_view>

#include "bindings/plan.hpp"
#include "bindings/request.hpp"

namespace moe_act::python {
namespace {

constexpr std::size_t shared = Request::parameters;

Result gated_act_quant(Request request, nb::handle stream, nb::handle validate) {
  Call call(request.arguments, request.row_arguments, stream);
  return run(call, request.options, truth(validate));
}

Plan make_reusable_plan(Request request, nb::handle device_or_none) {
  const DeviceInfo* device = nullptr;
  if (!device_or_none.is_none() && !nb::try_cast(device_or_none, device))
    raise(PyExc_TypeError, "device", "expected a DeviceInfo, got " + type_name_of(device_or_none));
  // For a device that need not be there, the tensors only stand in: what they say of sizes counts.
  const std::int32_t asked_pdl = request.options.pdl;
  if (device != nullptr) request.options.pdl = 0;
  Call call(request.arguments, request.row_arguments, nb::none());
  moe_act_problem problem = call.describe(request.options);
  problem.padding = padding_of(request.options, problem, call);
  if (device != nullptr) {
    problem.device_type = MOE_ACT_DEVICE_CUDA;
    problem.pdl = asked_pdl != 0 ? asked_pdl : problem.pdl;
  }
  return Plan(problem, device != nullptr ? &device->info : nullptr);
}

PyObject* call_gated_act_quant(PyObject*, PyObject* const* given, Py_ssize_t given_by_position, PyObject* given_names) {
  return answer([=] {
    static const Parameters<shared + 2> parameters("gated_act_quant", 2, Arguments::names, OptionNames::names,
                                                   std::array{"stream", "validate"});
    const auto values = parameters.parse(given, static_cast<std::size_t>(given_by_position), given_names);
    return gated_act_quant(Request(values), values[shared], values[shared + 1]);
  });
}

PyObject* call_plan(PyObject*, PyObject* const* given, Py_ssize_t given_by_position, PyObject* given_names) {
  return answer([=] {
    static const Parameters<shared + 1> parameters("plan", 2, Arguments::names, OptionNames::names,
                                                   std::array{"device"});
    const auto values = parameters.parse(given, static_cast<std::size_t>(given_by_position), given_names);
    return nb::cast(make_reusable_plan(Request(values), values[shared]));
  });
}

}  // namespace

nb::object function(const char* name, nb::str module, nb::str text) {
  static PyMethodDef definitions[] = {
      {"gated_act_quant", definition_of(&call_gated_act_quant), METH_FASTCALL | METH_KEYWORDS, nullptr},
      {"plan", definition_of(&call_plan), METH_FASTCALL | METH_KEYWORDS, nullptr}};
  const auto named = [&](const PyMethodDef& definition) { return std::string_view(definition.ml_name) == name; };
  const auto found = std::find_if(std::begin(definitions), std::end(definitions), named);
  if (found == std::end(definitions))
    raise(PyExc_ValueError, "name", "expected 'gated_act_quant' or 'plan', got '" + std::string(name) + "'");
  found->ml_doc = nb::cast<const char*>(text);
  text.release();
  return nb::steal(PyCFunction_NewEx(found, nullptr, module.ptr()));
}

}  // namespace moe_act::python

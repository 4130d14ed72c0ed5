#include "bindings/functions.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <string>
#include <string_view>

#include "bindings/errors.hpp"
#include "bindings/parameters.hpp"
#include "bindings/plan.hpp"

namespace moe_act::python {
namespace {

// What both functions take, from parameters in the order of the members; signatures are in an order for readers.
struct Request {
  Arguments arguments;
  moe_act_options options;
  RowArguments row_arguments;

  template <std::size_t count>
  explicit Request(const std::array<nb::handle, count>& values)
      : arguments(part<Arguments>(values)),
        options(parse(part<OptionNames, Arguments::names.size()>(values))),
        row_arguments(arguments) {
    parse_parameters(options, arguments);
    row_arguments.apply_to(options);
    options.workspace_limit = workspace_limit_of(arguments.x);
  }
};
constexpr std::size_t shared = Arguments::names.size() + OptionNames::names.size();  // parameters

// Results that the library allocates hold nothing of what memory held before, where padding can be told.
std::int32_t padding_of(const moe_act_options& options, const moe_act_problem& problem, const Call& call) {
  if (options.padding != 0 || !call.allocates(problem)) return problem.padding;
  const bool by_id = problem.sorted_rows == MOE_ACT_SORTED_ROWS_ID;
  const bool padded = problem.row_kind != MOE_ACT_ROWS_DENSE || problem.expert_tiles > 0 ||
                      problem.out_scale_layout == MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4;
  const bool known = problem.row_kind != MOE_ACT_ROWS_EXPANDED_TO_PERMUTED && !by_id;
  return padded && known ? MOE_ACT_PADDING_ZERO : problem.padding;
}

Result gated_act_quant(Request request, nb::handle stream, nb::handle validate) {
  Call call(request.arguments, request.row_arguments, stream);
  moe_act_problem problem = call.describe(request.options);
  request.options.padding = padding_of(request.options, problem, call);
  if (call.allocate(problem)) problem = call.describe(request.options);
  const auto plan = recent_plan(problem);
  return call.launch(plan.get(), workspace_bytes_of(plan.get()), truth(validate));
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

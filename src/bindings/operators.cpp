#include "bindings/operators.hpp"

#include <array>
#include <cstddef>

#include "bindings/errors.hpp"
#include "bindings/request.hpp"

namespace moe_act::python {
namespace {

// What operator_kernels is told: the `self` of its functions.
struct Framework {
  nb::handle count_writes, gradients_are_on;

  explicit Framework(PyObject* self)
      : count_writes(PyTuple_GetItem(self, 0)), gradients_are_on(PyTuple_GetItem(self, 1)) {}
};

constexpr std::size_t flat_begin = Request::parameters;
constexpr std::size_t validate_at = flat_begin + FlatArguments::names.size();
using Values = std::array<nb::handle, validate_at + 1>;

// Frameworks leave out what is at its default.
Values values_of(PyObject* const* given, Py_ssize_t given_by_position, PyObject* given_names) {
  static const Parameters<validate_at + 1> parameters("gated_act_quant", 2, Arguments::names, OptionNames::names,
                                                      FlatArguments::names, std::array{"validate"});
  return parameters.parse(given, static_cast<std::size_t>(given_by_position), given_names);
}

Result run(const Framework& framework, const Values& values, bool results_are_given) {
  Request request(values, part<FlatArguments, flat_begin>(values));
  Call call(request.arguments, request.row_arguments, nb::none());
  if (call.requires_grad() && !truth(framework.gradients_are_on())) call.ignore_gradients();
  if (results_are_given && call.allocates(call.describe(request.options)))
    raise(PyExc_ValueError, "out_scale", "expected a tensor, as out is given");
  return run(call, request.options, truth(values[validate_at]));
}

PyObject* call_functional(PyObject* self, PyObject* const* given, Py_ssize_t given_by_position, PyObject* names) {
  return answer([=] { return run(Framework(self), values_of(given, given_by_position, names), false); });
}

PyObject* call_out(PyObject* self, PyObject* const* given, Py_ssize_t given_by_position, PyObject* names) {
  return answer([=] {
    const Framework framework(self);
    const Values values = values_of(given, given_by_position, names);
    run(framework, values, true);
    const auto arguments = part<Arguments>(values);
    nb::list written;
    for (const nb::handle result : {arguments.out, arguments.out_scale, arguments.out_unquantized})
      if (!result.is_none()) written.append(result);
    framework.count_writes(written);
    return nb::none();
  });
}

PyMethodDef functional_definition{"gated_act_quant", definition_of(&call_functional), METH_FASTCALL | METH_KEYWORDS,
                                  nullptr};
PyMethodDef out_definition{"gated_act_quant_out", definition_of(&call_out), METH_FASTCALL | METH_KEYWORDS, nullptr};

}  // namespace

nb::tuple operator_kernels(nb::object count_writes, nb::object gradients_are_on) {
  const nb::tuple self = nb::make_tuple(count_writes, gradients_are_on);
  const nb::str module("moe_act._core");
  return nb::make_tuple(nb::steal(PyCFunction_NewEx(&functional_definition, self.ptr(), module.ptr())),
                        nb::steal(PyCFunction_NewEx(&out_definition, self.ptr(), module.ptr())));
}

}  // namespace moe_act::python

#include "bindings/operators.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>

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
  static Parameters<validate_at + 1> parameters("gated_act_quant", 2, Arguments::names, OptionNames::names,
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

nb::object run_out(const Framework& framework, const Values& values) {
  run(framework, values, true);
  const auto arguments = part<Arguments>(values);
  nb::list written;
  for (const nb::handle result : {arguments.out, arguments.out_scale, arguments.out_unquantized})
    if (!result.is_none()) written.append(result);
  framework.count_writes(written);
  return nb::none();
}

PyObject* call_functional(PyObject* self, PyObject* const* given, Py_ssize_t given_by_position, PyObject* names) {
  return answer([=] { return run(Framework(self), values_of(given, given_by_position, names), false); });
}

PyObject* call_out(PyObject* self, PyObject* const* given, Py_ssize_t given_by_position, PyObject* names) {
  return answer([=] { return run_out(Framework(self), values_of(given, given_by_position, names)); });
}

// Where the values lie that an overload takes by position: torch spends 2 us less on five tensors without names.
consteval std::size_t place_of(std::string_view name) {
  const auto in = [name](const auto& names) {
    return static_cast<std::size_t>(std::find(names.begin(), names.end(), name) - names.begin());
  };
  const std::size_t argument = in(Arguments::names);
  return argument < Arguments::names.size() ? argument : Arguments::names.size() + in(OptionNames::names);
}
constexpr std::array plain_places{place_of("x"),
                                  place_of("x_scale"),
                                  place_of("expanded_idx_to_permuted_idx"),
                                  place_of("total_num_padded_tokens"),
                                  place_of("out_scale_layout"),
                                  place_of("out_scale_format")};
constexpr std::array plain_out_places{place_of("x"),
                                      place_of("x_scale"),
                                      place_of("out"),
                                      place_of("out_scale"),
                                      place_of("expanded_idx_to_permuted_idx"),
                                      place_of("total_num_padded_tokens"),
                                      place_of("out_scale_layout"),
                                      place_of("out_scale_format")};

template <std::size_t count>
Values values_by_position(const std::array<std::size_t, count>& places, PyObject* const* given,
                          Py_ssize_t given_by_position, PyObject* given_names) {
  const auto number = static_cast<std::size_t>(given_by_position);
  const bool has_names = given_names != nullptr && PyTuple_Size(given_names) > 0;
  if (number == 0 || number > count || has_names) {
    PyErr_Format(PyExc_TypeError, "gated_act_quant: expected 1 to %zu arguments, by position", count);
    throw nb::python_error();
  }
  Values values;
  values.fill(nb::handle(Py_None));
  for (std::size_t i = 0; i < number; ++i) values[places[i]] = given[i];
  return values;
}

PyObject* call_plain(PyObject* self, PyObject* const* given, Py_ssize_t given_by_position, PyObject* names) {
  return answer(
      [=] { return run(Framework(self), values_by_position(plain_places, given, given_by_position, names), false); });
}

PyObject* call_plain_out(PyObject* self, PyObject* const* given, Py_ssize_t given_by_position, PyObject* names) {
  return answer(
      [=] { return run_out(Framework(self), values_by_position(plain_out_places, given, given_by_position, names)); });
}

PyMethodDef definition(const char* name, Fastcall function) {
  return {name, definition_of(function), METH_FASTCALL | METH_KEYWORDS, nullptr};
}

}  // namespace

nb::tuple operator_kernels(nb::object count_writes, nb::object gradients_are_on) {
  static PyMethodDef definitions[] = {
      definition("gated_act_quant", &call_functional), definition("gated_act_quant_out", &call_out),
      definition("gated_act_quant_plain", &call_plain), definition("gated_act_quant_plain_out", &call_plain_out)};
  const nb::tuple self = nb::make_tuple(count_writes, gradients_are_on);
  const nb::str module("moe_act._core");
  const auto function = [&](PyMethodDef& each) {
    return nb::steal(PyCFunction_NewEx(&each, self.ptr(), module.ptr()));
  };
  return nb::make_tuple(function(definitions[0]), function(definitions[1]), function(definitions[2]),
                        function(definitions[3]));
}

}  // namespace moe_act::python

#include "bindings/functions.hpp"

#include <structmember.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "bindings/errors.hpp"
#include "bindings/plan.hpp"
#include "bindings/request.hpp"

namespace moe_act::python {
namespace {

constexpr std::size_t shared = Request::parameters;

[[gnu::hot]] Result gated_act_quant(Request request, nb::handle stream, nb::handle validate) {
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

std::size_t positional(std::size_t given_by_position) {
  return static_cast<std::size_t>(PyVectorcall_NARGS(given_by_position));
}

[[gnu::hot]] PyObject* call_gated_act_quant(PyObject*, PyObject* const* given, std::size_t given_by_position,
                                            PyObject* given_names) {
  return answer([=] {
    static Parameters<shared + 2> parameters("gated_act_quant", 2, Arguments::names, OptionNames::names,
                                             std::array{"stream", "validate"});
    const auto values = parameters.parse(given, positional(given_by_position), given_names);
    return gated_act_quant(Request(values), values[shared], values[shared + 1]);
  });
}

PyObject* call_plan(PyObject*, PyObject* const* given, std::size_t given_by_position, PyObject* given_names) {
  return answer([=] {
    static Parameters<shared + 1> parameters("plan", 2, Arguments::names, OptionNames::names, std::array{"device"});
    const auto values = parameters.parse(given, positional(given_by_position), given_names);
    return nb::cast(make_reusable_plan(Request(values), values[shared]));
  });
}

// A function as CPython's own compiled ones are called, but with attributes, so that it can say its types.
struct Function {
  PyObject ob_base;  // PyObject_HEAD
  vectorcallfunc call;
  PyObject* attributes;
  PyObject* weak_references;
};

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(reinterpret_cast<Function*>(self)->attributes);
  Py_VISIT(Py_TYPE(self));
  return 0;
}

int clear(PyObject* self) {
  Py_CLEAR(reinterpret_cast<Function*>(self)->attributes);
  return 0;
}

void deallocate(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  PyObject_ClearWeakRefs(self);
  clear(self);
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

// In a class it is not bound to anything, but has the mark by which Python knows routines.
PyObject* get_unbound(PyObject* self, PyObject*, PyObject*) {
  return nb::borrow(self).release().ptr();
}

PyObject* represent(PyObject* self) {
  const nb::handle function(self);
  return answer(
      [&] { return nb::str("<function {}.{}>").format(function.attr("__module__"), function.attr("__name__")); });
}

// Pickled by its name, as functions are.
PyObject* reduce(PyObject* self, PyObject*) {
  return PyObject_GetAttrString(self, "__qualname__");
}

nb::handle function_type() {
  static PyMemberDef members[] = {
      {"__vectorcalloffset__", T_PYSSIZET, offsetof(Function, call), READONLY, nullptr},
      {"__dictoffset__", T_PYSSIZET, offsetof(Function, attributes), READONLY, nullptr},
      {"__weaklistoffset__", T_PYSSIZET, offsetof(Function, weak_references), READONLY, nullptr},
      {nullptr, 0, 0, 0, nullptr}};
  static PyGetSetDef attributes[] = {{"__dict__", &PyObject_GenericGetDict, &PyObject_GenericSetDict, nullptr, nullptr},
                                     {nullptr, nullptr, nullptr, nullptr, nullptr}};
  static PyMethodDef methods[] = {{"__reduce__", &reduce, METH_NOARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};
  const auto slot = [](auto function) { return reinterpret_cast<void*>(function); };
  static PyType_Slot slots[] = {{Py_tp_members, members},
                                {Py_tp_getset, attributes},
                                {Py_tp_methods, methods},
                                {Py_tp_call, slot(&PyVectorcall_Call)},
                                {Py_tp_descr_get, slot(&get_unbound)},
                                {Py_tp_repr, slot(&represent)},
                                {Py_tp_traverse, slot(&traverse)},
                                {Py_tp_clear, slot(&clear)},
                                {Py_tp_dealloc, slot(&deallocate)},
                                {0, nullptr}};
  static PyType_Spec spec{"moe_act._core.function", sizeof(Function), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL, slots};
  static PyObject* type = PyType_FromSpec(&spec);
  if (type == nullptr) throw nb::python_error();
  return type;
}

}  // namespace

nb::object function(const char* name) {
  constexpr std::pair<std::string_view, vectorcallfunc> functions[] = {{"gated_act_quant", &call_gated_act_quant},
                                                                       {"plan", &call_plan}};
  const auto* found = std::ranges::find(functions, name, &std::pair<std::string_view, vectorcallfunc>::first);
  if (found == std::end(functions))
    raise(PyExc_ValueError, "name", "expected 'gated_act_quant' or 'plan', got '" + std::string(name) + "'");
  const nb::object made = nb::steal(PyType_GenericAlloc(reinterpret_cast<PyTypeObject*>(function_type().ptr()), 0));
  if (!made.is_valid()) throw nb::python_error();
  reinterpret_cast<Function*>(made.ptr())->call = found->second;
  return made;
}

}  // namespace moe_act::python

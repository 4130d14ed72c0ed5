#include "bindings/errors.hpp"

#include <nanobind/stl/string.h>

namespace moe_act::python {

void check(moe_act_status status) {
  if (status == MOE_ACT_OK) return;
  PyObject* type = PyExc_RuntimeError;
  if (status == MOE_ACT_INVALID_PROBLEM) type = PyExc_ValueError;
  if (status == MOE_ACT_UNSUPPORTED) type = PyExc_NotImplementedError;
  if (status == MOE_ACT_WRONG_TYPE) type = PyExc_TypeError;
  PyErr_SetString(type, moe_act_last_error());
  throw nb::python_error();
}

void raise(PyObject* type, const char* name, const std::string& text) {
  PyErr_SetString(type, (std::string(name) + ": " + text).c_str());
  throw nb::python_error();
}

void raise_failed(nb::python_error& error, const char* name, const char* what) {
  if (!error.matches(PyExc_Exception)) {
    error.restore();
    throw nb::python_error();
  }
  const std::string text = nb::cast<std::string>(nb::str(error.value()));
  nb::raise_from(error, PyExc_ValueError, "%s: its %s failed: %s", name, what, text.substr(0, text.find('\n')).c_str());
}

std::string type_name_of(nb::handle object) {
  return nb::cast<std::string>(
      nb::str(nb::handle(reinterpret_cast<PyObject*>(Py_TYPE(object.ptr()))).attr("__name__")));
}

}  // namespace moe_act::python

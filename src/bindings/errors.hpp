// Exceptions for Python, each of one line that begins with the argument's name.
#pragma once

#include <nanobind/nanobind.h>

#include <string>

#include "moe_act/c_api.h"

namespace moe_act::python {

namespace nb = nanobind;

// Raises the Python exception that belongs to a status: ValueError, NotImplementedError, RuntimeError or TypeError.
[[gnu::hot]] void check(moe_act_status status);

// Raises "name: text".
[[noreturn]] void raise(PyObject* type, const char* name, const std::string& text);

// An error in what an argument does itself: a ValueError, one line of it, with that error as its cause. What is none,
// such as an interrupt, passes.
[[noreturn]] void raise_failed(nb::python_error& error, const char* name, const char* what);

std::string type_name_of(nb::handle object);

}  // namespace moe_act::python

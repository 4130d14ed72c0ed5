// moe_act.gated_act_quant and moe_act.plan, functions of CPython's own kind.
#pragma once

#include <nanobind/nanobind.h>

namespace moe_act::python {

namespace nb = nanobind;

// The one of this name, made a function of the named Python module. The text, which is held for good, is in the form
// of CPython's own: "name(signature)\n--\n\ndocumentation".
nb::object function(const char* name, nb::str module, nb::str text);

}  // namespace moe_act::python

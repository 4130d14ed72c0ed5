// moe_act.gated_act_quant and moe_act.plan.
#pragma once

#include <nanobind/nanobind.h>

namespace moe_act::python {

namespace nb = nanobind;

// The one of this name, as Python calls it; __module__, __name__ and what else a function has are to be set by who
// asks.
nb::object function(const char* name);

}  // namespace moe_act::python

// The kernels behind the operators of a framework that has no Python objects among its arguments: moe_act.torch.
#pragma once

#include <nanobind/nanobind.h>

namespace moe_act::python {

namespace nb = nanobind;

// (functional, out, plain, plain_out): functions that take the operators' arguments and return what these return.
// count_writes is called with a list of the tensors that were given to be written, gradients_are_on without arguments.
nb::tuple operator_kernels(nb::object count_writes, nb::object gradients_are_on);

}  // namespace moe_act::python

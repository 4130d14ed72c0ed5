#pragma once

#include <nanobind/nanobind.h>

namespace moe_act::python {

namespace nb = nanobind;

// Everything that knows a framework by name lives in this Python module, which is held for good.
inline nb::handle frameworks() {
  static PyObject* module = nullptr;  // initialized without a guard: an import may let another thread in
  if (module == nullptr) module = nb::module_::import_("moe_act._frameworks").release().ptr();
  return module;
}

}  // namespace moe_act::python

#pragma once

#include <nanobind/nanobind.h>

#include "bindings/dlpack.hpp"
#include "bindings/fact_of_type.hpp"

namespace moe_act::python {

namespace nb = nanobind;

// Of a type of tensors: its DLPack C exchange API, or null, and its attribute `requires_grad`, which that API does not
// tell, where that is a property written in C, as torch's is. Such a one is called itself: nothing of an object comes
// before it, so that searching the object and its type by name would find it again. It is held for good, as its type,
// written in C, too, is.
struct TypeFacts {
  const dlpack::ExchangeApi* api;
  PyObject* gradient;

  static TypeFacts of(nb::handle type) {
    nb::object capsule = nb::getattr(type, "__dlpack_c_exchange_api__", nb::none());
    if (!PyCapsule_IsValid(capsule.ptr(), "dlpack_exchange_api")) return {};
    const auto* api =
        static_cast<const dlpack::ExchangeApi*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
    if (api->header.version.major != 1) return {};
    nb::object attribute = nb::getattr(type, "requires_grad", nb::none());
    const bool is_written_in_c = attribute.type().is(nb::handle(reinterpret_cast<PyObject*>(&PyGetSetDescr_Type)));
    return {api, is_written_in_c ? attribute.release().ptr() : nullptr};
  }
  static TypeFacts of_object(nb::handle object) {
    static FactOfType<TypeFacts> known;
    return known.get(object, &TypeFacts::of);
  }

  auto export_function() const { return api != nullptr ? api->tensor_from_py_object_no_sync : nullptr; }

  bool requires_grad(nb::handle object) const {
    if (gradient == nullptr) return nb::cast<bool>(nb::getattr(object, "requires_grad", nb::handle(Py_False)));
    static const auto get = reinterpret_cast<descrgetfunc>(PyType_GetSlot(&PyGetSetDescr_Type, Py_tp_descr_get));
    const nb::object answer =
        nb::steal(get(gradient, object.ptr(), reinterpret_cast<PyObject*>(Py_TYPE(object.ptr()))));
    if (!answer.is_valid()) throw nb::python_error();
    return !answer.is(nb::handle(Py_False)) && nb::cast<bool>(answer);
  }
};

}  // namespace moe_act::python

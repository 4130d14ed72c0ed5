#pragma once

#include <nanobind/nanobind.h>

#include <utility>

namespace moe_act::python {

namespace nb = nanobind;

// What was found out about the last type that was asked about: a call's tensors nearly always share theirs. The type is
// held, or its address might be another's, and never let go at exit, when there is no interpreter left to tell.
template <typename Fact>
class FactOfType {
 public:
  template <typename FindOut>
  Fact get(nb::handle object, FindOut find_out) {
    auto* type = reinterpret_cast<PyObject*>(Py_TYPE(object.ptr()));
    return type == type_ ? fact_ : learn(type, find_out);
  }

 private:
  template <typename FindOut>
  [[gnu::noinline]] Fact learn(PyObject* type, FindOut find_out) {
    const Fact fact = find_out(nb::handle(type));
    fact_ = fact;
    // A type's end may ask about another one.
    const nb::object released = nb::steal(std::exchange(type_, nb::borrow(type).release().ptr()));
    return fact;
  }

  PyObject* type_ = nullptr;
  Fact fact_{};
};

}  // namespace moe_act::python

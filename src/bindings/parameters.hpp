// Parameters of a function that Python calls in its own way (METH_FASTCALL), for the calls that are short of time:
// nanobind's way takes 800 instructions for eleven parameters, with a Python function in front of it 9800 for 36.
#pragma once

#include <nanobind/nanobind.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <exception>
#include <limits>
#include <utility>

namespace moe_act::python {

namespace nb = nanobind;

template <std::size_t count>
class Parameters {
 public:
  using Values = std::array<nb::handle, count>;  // None where nothing is given

  // The first `positional` may be given without their names; where there are such, the very first must be given.
  template <std::size_t... counts>
  Parameters(const char* function, std::size_t positional, const std::array<const char*, counts>&... names)
      : function_(function), positional_(positional) {
    static_assert((counts + ...) == count);
    auto end = names_.begin();  // held for good, as the function is
    ((end = std::transform(names.begin(), names.end(), end, &PyUnicode_InternFromString)), ...);
  }

  // As a vectorcall gives them: values by position, then those whose names the tuple (null: none) holds.
  Values parse(PyObject* const* given, std::size_t given_by_position, PyObject* given_names) {
    nb::object released;  // dies after the last look at what is known: its end may be a call of this function
    if (given_names != known_names_ || given_by_position != known_by_position_)
      released = learn(given_by_position, given_names);
    Values values;
    values.fill(nb::handle(Py_None));
    std::copy_n(given, given_by_position, values.begin());
    for (std::size_t i = 0; i < known_named_; ++i) values[known_places_[i]] = given[given_by_position + i];
    return values;
  }

 private:
  // Where the values of calls like this one belong. A line of code gives the same tuple in each of its calls. Returns
  // the tuple that was known before.
  nb::object learn(std::size_t given_by_position, PyObject* given_names) {
    if (given_by_position > 0 && positional_ == 0) refuse("%s() takes no positional arguments");
    if (given_by_position > positional_)
      refuse("%s() takes from 1 to %zu positional arguments but %zu were given", positional_, given_by_position);
    std::array<bool, count> is_given{};
    std::fill_n(is_given.begin(), given_by_position, true);
    const std::size_t named = given_names == nullptr ? 0 : static_cast<std::size_t>(PyTuple_Size(given_names));
    Places places{};
    for (std::size_t i = 0; i < named; ++i) {
      PyObject* name = PyTuple_GetItem(given_names, static_cast<Py_ssize_t>(i));
      const std::size_t place = index_of(name);
      if (std::exchange(is_given[place], true)) refuse("%s() got multiple values for argument '%U'", name);
      places[i] = place;
    }
    if (positional_ > 0 && !is_given[0]) refuse("%s() missing 1 required positional argument: '%U'", names_[0]);
    known_places_ = places;
    known_named_ = named;
    known_by_position_ = given_by_position;
    return nb::steal(std::exchange(known_names_, nb::borrow(given_names).release().ptr()));
  }

  std::size_t index_of(PyObject* name) const {
    auto found = std::find(names_.begin(), names_.end(), name);  // names in code are interned: the same object
    if (found == names_.end())
      found =
          std::find_if(names_.begin(), names_.end(), [&](PyObject* own) { return PyUnicode_Compare(own, name) == 0; });
    if (found == names_.end()) refuse("%s() got an unexpected keyword argument '%U'", name);
    return static_cast<std::size_t>(found - names_.begin());
  }

  template <typename... Facts>
  [[noreturn]] void refuse(const char* format, Facts... facts) const {
    PyErr_Format(PyExc_TypeError, format, function_, facts...);
    throw nb::python_error();
  }

  const char* function_;
  std::size_t positional_;
  std::array<PyObject*, count> names_;

  // The last call's: its names, held, so that their address stays their own, and the place of each one's value.
  using Places = std::array<std::size_t, count>;
  PyObject* known_names_ = nullptr;
  std::size_t known_by_position_ = std::numeric_limits<std::size_t>::max();  // none yet: no call gives as many
  std::size_t known_named_ = 0;
  Places known_places_{};
};

template <typename Struct, std::size_t first, std::size_t count, std::size_t... members>
Struct part(const std::array<nb::handle, count>& values, std::index_sequence<members...>) {
  return {values[first + members]...};
}

// A struct of handles, whose names are those of its members, from values that hold these in a row.
template <typename Struct, std::size_t first = 0, std::size_t count>
Struct part(const std::array<nb::handle, count>& values) {
  return part<Struct, first>(values, std::make_index_sequence<Struct::names.size()>());
}

// What Python is answered: the object that the function returns, or null and the exception that it throws.
template <typename Function>
PyObject* answer(Function function) {
  try {
    return nb::object(function()).release().ptr();
  } catch (nb::python_error& error) {
    error.restore();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

// The C function behind a method definition with METH_FASTCALL | METH_KEYWORDS.
using Fastcall = PyObject* (*)(PyObject* self, PyObject* const* given, Py_ssize_t given_by_position, PyObject* names);

inline PyCFunction definition_of(Fastcall function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

}  // namespace moe_act::python

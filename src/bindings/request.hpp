// What a call asks for, read from its parameters, and how it is done: of functions and of operators.
#pragma once

#include <array>
#include <cstddef>

#include "bindings/call.hpp"
#include "bindings/parameters.hpp"

namespace moe_act::python {

struct Request {
  static constexpr std::size_t parameters = Arguments::names.size() + OptionNames::names.size();

  Arguments arguments;
  moe_act_options options;
  RowArguments row_arguments;

  // From parameters in the order of the members; signatures are in an order for readers.
  template <std::size_t count>
  explicit Request(const std::array<nb::handle, count>& values)
      : Request(part<Arguments>(values), options_in(values), RowArguments(part<Arguments>(values))) {}

  Request(const Arguments& given, const moe_act_options& parsed, RowArguments rows);

  template <std::size_t count>
  static moe_act_options options_in(const std::array<nb::handle, count>& values) {
    return parse(part<OptionNames, Arguments::names.size()>(values));
  }
};

// Results that the library allocates hold nothing of what memory held before, where padding can be told.
std::int32_t padding_of(const moe_act_options& options, const moe_act_problem& problem, const Call& call);

// Runs the call by the plan of the call before, if it was for the same problem, allocating the results not given.
Result run(Call& call, moe_act_options options, bool validate);

}  // namespace moe_act::python

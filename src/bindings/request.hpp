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
      : arguments(part<Arguments>(values)),
        options(parse(part<OptionNames, Arguments::names.size()>(values))),
        row_arguments(arguments) {
    complete();
  }

  // The same of an operator, which has no objects in the place of names, numbers and tensors.
  template <std::size_t count>
  Request(const std::array<nb::handle, count>& values, const FlatArguments& flat)
      : arguments(part<Arguments>(values)),
        options(parse(part<OptionNames, Arguments::names.size()>(values))),
        row_arguments(flat, arguments.expanded_idx_to_permuted_idx) {
    parse_parts(options, flat);
    if (!flat.alpha_of_expert.is_none()) arguments.alpha = flat.alpha_of_expert;
    if (!flat.beta_of_expert.is_none()) arguments.beta = flat.beta_of_expert;
    if (!flat.limit_of_expert.is_none()) arguments.limit = flat.limit_of_expert;
    complete();
  }

 private:
  void complete() {
    ParameterOptions::of(arguments).apply_to(options);
    row_arguments.options.apply_to(options);
    options.workspace_limit = workspace_limit_of(arguments.x);
  }
};

// Results that the library allocates hold nothing of what memory held before, where padding can be told.
std::int32_t padding_of(const moe_act_options& options, const moe_act_problem& problem, const Call& call);

// Runs the call by the plan of the call before, if it was for the same problem, allocating the results not given.
[[gnu::hot]] Result run(Call& call, moe_act_options& options, bool validate);

}  // namespace moe_act::python

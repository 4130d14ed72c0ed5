#include "bindings/plan.hpp"

#include "bindings/parameters.hpp"

namespace moe_act::python {

void Plan::prepare(Call& call, const Arguments& arguments, const RowArguments& rows) const {
  const auto parameters = ParameterOptions::of(arguments);
  if (call.is_of(accepted_.tensors) && rows.options == accepted_.rows && parameters == accepted_.parameters) return;
  moe_act_options options = options_;
  parameters.apply_to(options);
  rows.options.apply_to(options);
  moe_act_problem problem = call.describe(options);
  if (call.allocate(problem)) problem = call.describe(options);
  if (!same(problem, problem_)) check(moe_act_plan_accepts(handle(), &problem));
  accepted_ = {call.facts(), rows.options, parameters};
}

const Plan& plan_of(nb::handle self) {
  if (!nb::inst_ready(self)) raise(PyExc_TypeError, "self", "expected a plan that moe_act.plan made");
  return *nb::inst_ptr<Plan>(self);
}

namespace {

[[gnu::hot]] Result run(const Plan& plan, const Arguments& arguments, nb::handle stream, nb::handle validate) {
  const RowArguments rows(arguments);
  Call call(arguments, rows, stream);
  plan.prepare(call, arguments, rows);
  return call.run(plan.handle(), plan.info().workspace_bytes, truth(validate));
}

// Plan.run, as Python calls it.
[[gnu::hot]] PyObject* run_method(PyObject* self, PyObject* const* given, Py_ssize_t given_by_position,
                                  PyObject* given_names) {
  return answer([=] {
    constexpr std::size_t tensors = Arguments::names.size();
    static Parameters<tensors + 2> parameters("run", 2, Arguments::names, std::array{"stream", "validate"});
    const Plan& plan = plan_of(self);
    const auto values = parameters.parse(given, static_cast<std::size_t>(given_by_position), given_names);
    return run(plan, part<Arguments>(values), values[tensors], values[tensors + 1]);
  });
}

}  // namespace

PyMethodDef run_definition{
    "run", definition_of(&run_method), METH_FASTCALL | METH_KEYWORDS,
    "run($self, x, x_scale=None, *, out=None, out_scale=None, static_scale=None, "
    "expanded_idx_to_permuted_idx=None, total_num_padded_tokens=None, rows=None, bias=None, alpha=None, "
    "beta=None, limit=None, weight=None, out_unquantized=None, stream=None, validate=False)"
    R"(
--

Launch the plan for these tensors; the arguments are those of :func:`moe_act.gated_act_quant`.

Their description must be the plan's: same dtypes, shapes, strides and device, at least the promised alignment.

Returns:
    ``(out, out_scale)``, as :func:`moe_act.gated_act_quant` does.

Raises:
    ValueError: a tensor is not what the plan was made for; the text says in what.)"};

}  // namespace moe_act::python

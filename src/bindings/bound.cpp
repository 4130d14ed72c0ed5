#include "bindings/bound.hpp"

#include <algorithm>

#include "bindings/parameters.hpp"

namespace moe_act::python {

BoundLaunch::BoundLaunch(nb::handle plan, const Given& tensors)
    : plan_(nb::borrow(plan)),
      handle_(plan_of(plan).handle()),
      arguments_(part<Arguments>(tensors)),
      rows_(arguments_),
      call_(arguments_, rows_, nb::none()) {
  std::transform(tensors.begin(), tensors.end(), tensors_.begin(), [](nb::handle given) { return nb::borrow(given); });
  plan_of(plan).prepare(call_, arguments_, rows_);
  call_.allocate_workspace(plan_of(plan).info().workspace_bytes);
  result_ = call_.result();
}

const nb::object& BoundLaunch::run(nb::handle stream, bool validate) const {
  call_.launch(handle_, call_.resolve(stream), validate);
  return result_;
}

namespace {

// Plan.bind, as Python calls it.
PyObject* bind_method(PyObject* self, PyObject* const* given, Py_ssize_t given_by_position, PyObject* given_names) {
  return answer([=] {
    static Parameters<Arguments::names.size()> parameters("bind", 2, Arguments::names);
    plan_of(self);
    const auto tensors = parameters.parse(given, static_cast<std::size_t>(given_by_position), given_names);
    return nb::cast(new BoundLaunch(self, tensors), nb::rv_policy::take_ownership);
  });
}

// BoundLaunch.run, as Python calls it.
[[gnu::hot]] PyObject* run_method(PyObject* self, PyObject* const* given, Py_ssize_t given_by_position,
                                  PyObject* given_names) {
  return answer([=] {
    static Parameters<2> parameters("run", 0, std::array{"stream", "validate"});
    if (!nb::inst_ready(self)) raise(PyExc_TypeError, "self", "expected a bound launch that Plan.bind made");
    const auto [stream, validate] = parameters.parse(given, static_cast<std::size_t>(given_by_position), given_names);
    return nb::inst_ptr<BoundLaunch>(self)->run(stream, truth(validate));
  });
}

}  // namespace

PyMethodDef bind_definition{
    "bind", definition_of(&bind_method), METH_FASTCALL | METH_KEYWORDS,
    "bind($self, x, x_scale=None, *, out=None, out_scale=None, static_scale=None, "
    "expanded_idx_to_permuted_idx=None, total_num_padded_tokens=None, rows=None, bias=None, alpha=None, "
    "beta=None, limit=None, weight=None, out_unquantized=None)"
    R"(
--

Import and check these tensors once, to launch the plan on them again and again; nothing is launched yet.

The arguments are those of :meth:`Plan.run`, and what it refuses is refused here.

Returns:
    The plan with its tensors, which :meth:`BoundLaunch.run` launches. Results that are not given, and the workspace
    of a plan that has one, are allocated now, on the stream that is current in the framework of ``x``.

Raises:
    ValueError: a tensor is not what the plan was made for; the text says in what.)"};

PyMethodDef run_bound_definition{"run", definition_of(&run_method), METH_FASTCALL | METH_KEYWORDS,
                                 "run($self, *, stream=None, validate=False)"
                                 R"(
--

Launch the plan for the bound tensors, whatever they hold now.

Args:
    stream: as for :func:`moe_act.gated_act_quant`; None is the stream that is current at the time of this call.
    validate: as for :func:`moe_act.gated_act_quant`.

Returns:
    ``(out, out_scale)``, the same object from each run, overwritten by the next.

Raises:
    ValueError: a stream for tensors on the CPU, or of another device than theirs.
    RuntimeError: CUDA reported an error.)"};

}  // namespace moe_act::python

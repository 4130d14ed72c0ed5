#include "bindings/call.hpp"

#include <limits>

#include "bindings/errors.hpp"
#include "bindings/fact_of_type.hpp"
#include "bindings/frameworks.hpp"
#include "bindings/structs.hpp"

namespace moe_act::python {
namespace {

// Is there more in a tuple than its items? Since Python 3.14 there is a hash, which only tuple.__new__ clears.
bool tuples_keep_hashes() {
  return nb::cast<std::int64_t>(nb::handle(PySys_GetObject("hexversion"))) >= 0x030E0000;
}

// What moe_act.Result(out, out_scale) does, less the Python function in which a named tuple does it, and where it can
// be filled in place less the two tuples that tuple.__new__ takes.
[[gnu::hot]] Result make_result(nb::handle out, nb::handle out_scale) {
  static PyObject* result_type = nullptr;
  if (result_type == nullptr) result_type = nb::object(frameworks().attr("Result")).release().ptr();
  static const auto new_tuple = reinterpret_cast<newfunc>(PyType_GetSlot(&PyTuple_Type, Py_tp_new));
  static const bool with_hash = tuples_keep_hashes();
  auto* type = reinterpret_cast<PyTypeObject*>(result_type);
  const auto checked = [](PyObject* made) {
    if (made == nullptr) throw nb::python_error();
    return nb::steal<Result>(made);
  };
  if (with_hash) return checked(new_tuple(type, nb::make_tuple(nb::make_tuple(out, out_scale)).ptr(), nullptr));
  Result result = checked(PyType_GenericAlloc(type, 2));
  PyTuple_SetItem(result.ptr(), 0, nb::borrow(out).release().ptr());
  PyTuple_SetItem(result.ptr(), 1, nb::borrow(out_scale).release().ptr());
  return result;
}

[[gnu::hot]] void* resolve_stream(nb::handle x, dlpack::Device device, nb::handle stream) {
  const bool cuda = is_cuda(device);
  if (stream.is_none()) {
    if (!cuda) return nullptr;
    if (const dlpack::ExchangeApi* api = exchange_api(x); api != nullptr && api->current_work_stream != nullptr) {
      void* current = nullptr;
      if (api->current_work_stream(MOE_ACT_DEVICE_CUDA, device.id, &current) != 0) throw nb::python_error();
      return current;
    }
  }
  const auto handle = nb::cast<std::intptr_t>(frameworks().attr("stream_handle")(x, stream, cuda, device.id));
  return reinterpret_cast<void*>(handle);
}

struct Tensor {
  Place place;
  bool may_be_number;
  const char* name;
  nb::handle Arguments::* argument;
};

constexpr Tensor tensors_of_a_call[] = {
    {Place::x, false, "x", &Arguments::x},
    {Place::x_scale, false, "x_scale", &Arguments::x_scale},
    {Place::out, false, "out", &Arguments::out},
    {Place::out_scale, false, "out_scale", &Arguments::out_scale},
    {Place::static_scale, false, "static_scale", &Arguments::static_scale},
    {Place::total_num_padded_tokens, false, "total_num_padded_tokens", &Arguments::total_num_padded_tokens},
    {Place::bias, false, "bias", &Arguments::bias},
    {Place::alpha, true, "alpha", &Arguments::alpha},
    {Place::beta, true, "beta", &Arguments::beta},
    {Place::limit, true, "limit", &Arguments::limit},
    {Place::weight, false, "weight", &Arguments::weight},
    {Place::out_unquantized, false, "out_unquantized", &Arguments::out_unquantized},
};

struct TensorOfRows {
  Place place;
  const char* name;
  nb::handle value;
};

}  // namespace

std::int64_t workspace_limit_of(nb::handle x) {
  static FactOfType<bool> allocates;
  const auto ask = [&](nb::handle) { return nb::cast<bool>(frameworks().attr("allocates_workspace")(x)); };
  return allocates.get(x, ask) ? std::numeric_limits<std::int64_t>::max() : 0;
}

Call::Call(const Arguments& arguments, const RowArguments& rows, nb::handle stream)
    : arguments_(arguments), out_(arguments.out), out_scale_(arguments.out_scale) {
  // The device of x says which stream is current, and the stream how a producer makes its data ready.
  const bool imported = is_exported_as_it_is(arguments_.x);
  if (imported) tensors_.import(Place::x, "x", arguments_.x, nullptr);
  stream_ = resolve_stream(arguments_.x, imported ? tensors_.device() : device_of("x", arguments_.x), stream);
  const auto is_given = [](nb::handle value) { return value.is_valid() && !value.is_none(); };
  // In loops: code that runs once a call is fetched once a call (bench/NOTES.md, "host path").
  for (const Tensor& tensor : tensors_of_a_call) {
    const nb::handle value = arguments_.*tensor.argument;
    if (!is_given(value) || (tensor.may_be_number && is_number(value))) continue;
    if (tensor.place != Place::x || !imported) tensors_.import(tensor.place, tensor.name, value, stream_);
  }
  const TensorOfRows tensors_of_rows[] = {
      {Place::row_index, rows.index_name, rows.index},
      {Place::row_count, rows.count_name, rows.count},
      {Place::tile_to_expert, "tile_to_expert", rows.tile_to_expert},
      {Place::permuted_to_expanded, "permuted_to_expanded", rows.permuted_to_expanded}};
  for (const auto& [place, name, value] : tensors_of_rows)
    if (is_given(value)) tensors_.import(place, name, value, stream_);
}

moe_act_problem Call::describe(const moe_act_options& options) {
  // Calls come in long rows of the same: what the last one was found to be need not be found again. A call that
  // allocates asks twice, first without its results.
  struct Known {
    DescriptionKey key;
    moe_act_problem problem;
  };
  static Known last_without_and_with_results[2]{};
  Known& last = last_without_and_with_results[out_.is_none() ? 0 : 1];
  if (!is_of(last.key, options)) {
    last.problem = tensors_.describe(options);
    last.key = key(options);
  }
  return last.problem;
}

bool Call::allocates_out_scale(const moe_act_problem& problem) const {
  const bool delivered = problem.out_scaling == MOE_ACT_SCALING_BLOCK || problem.out_scaling == MOE_ACT_SCALING_ROW;
  return delivered && out_scale_.is_none();
}

bool Call::allocates(const moe_act_problem& problem) const {
  return out_.is_none() || allocates_out_scale(problem);
}

bool Call::allocate(const moe_act_problem& problem) {
  const bool per_row = problem.out_scaling == MOE_ACT_SCALING_ROW;
  const bool needs_out = out_.is_none();
  const bool needs_out_scale = allocates_out_scale(problem);
  if ((needs_out || needs_out_scale) && PyCapsule_CheckExact(arguments_.x.ptr()) && is_cuda(tensors_.device()))
    raise(PyExc_TypeError, needs_out ? "out" : "out_scale",
          "expected memory for the result: a DLPack capsule on CUDA has no framework to allocate it");
  const nb::object experts =
      problem.row_kind == MOE_ACT_ROWS_MASKED ? nb::object(nb::int_(problem.experts)) : nb::object(nb::none());
  if (needs_out) {
    const nb::tuple shape = experts.is_none() ? nb::make_tuple(problem.rows, problem.columns)
                                              : nb::make_tuple(experts, problem.rows, problem.columns);
    allocated_out_ =
        frameworks().attr("empty_like")(arguments_.x, shape, moe_act_option_name("format", problem.out_format));
    out_ = allocated_out_;
    tensors_.import(Place::out, "out", out_, stream_);
  }
  if (needs_out_scale) {
    const bool flat = problem.out_scale_stride == MOE_ACT_STRIDE_ON_DEVICE;
    const char* layout = per_row ? "row"
                         : flat  ? "flat"
                                 : moe_act_option_name("scale_layout", problem.out_scale_layout);
    // The compact stride of swizzled scales is their number of rows.
    const std::int64_t rows =
        problem.out_scale_layout == MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4 ? problem.out_scale_stride : problem.rows;
    const std::int64_t blocks = (problem.columns + problem.out_block - 1) / problem.out_block;
    allocated_out_scale_ = frameworks().attr("empty_scale_like")(
        arguments_.x, layout, moe_act_option_name("scale_format", problem.out_scale_format),
        per_row ? problem.rows : rows, blocks, experts);
    out_scale_ = allocated_out_scale_;
    tensors_.import(Place::out_scale, "out_scale", out_scale_, stream_);
  }
  return needs_out || needs_out_scale;
}

void Call::allocate_workspace(std::int64_t bytes) {
  if (bytes == 0) return;
  allocated_workspace_ =
      frameworks().attr("workspace_like")(arguments_.x, bytes, reinterpret_cast<std::intptr_t>(stream_));
  Tensors tensors;
  tensors.import(Place::x, "workspace", allocated_workspace_, stream_);
  workspace_ = tensors.data(Place::x);
}

void* Call::resolve(nb::handle stream) const {
  return resolve_stream(arguments_.x, tensors_.device(), stream);
}

void Call::launch(const moe_act_plan* plan, void* stream, bool validate) const {
  moe_act_status status = MOE_ACT_OK;
  {
    // A launch waits where the device's queue is full, perhaps for a host function on the stream that needs the GIL.
    nb::gil_scoped_release released;
    if (validate) status = moe_act_validate(plan, &tensors_.buffers(), stream);
    if (status == MOE_ACT_OK) status = moe_act_launch(plan, &tensors_.buffers(), workspace_, stream);
  }
  check(status);
}

Result Call::result() const {
  return make_result(out_, out_scale_);
}

Result Call::run(const moe_act_plan* plan, std::int64_t workspace_bytes, bool validate) {
  allocate_workspace(workspace_bytes);
  launch(plan, stream_, validate);
  return result();
}

PlanHandle make_plan(const moe_act_problem& problem, const moe_act_device_info* device,
                     const moe_act_launch_choice* choice) {
  moe_act_plan* plan = nullptr;
  check(choice == nullptr ? moe_act_plan_create(&problem, device, &plan)
                          : moe_act_plan_create_chosen(&problem, device, choice, &plan));
  return PlanHandle(plan);
}

std::int64_t workspace_bytes_of(const moe_act_plan* plan) {
  auto info = sized<moe_act_plan_info>();
  check(moe_act_plan_get_info(plan, &info));
  return info.workspace_bytes;
}

std::shared_ptr<const moe_act_plan> recent_plan(const moe_act_problem& problem) {
  static moe_act_problem last_problem{};
  static std::shared_ptr<const moe_act_plan> last_plan;
  if (last_plan == nullptr || !same(problem, last_problem)) {
    last_plan = make_plan(problem, nullptr);
    last_problem = problem;
  }
  return last_plan;
}

}  // namespace moe_act::python

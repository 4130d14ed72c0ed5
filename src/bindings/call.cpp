#include "bindings/call.hpp"

#include <algorithm>
#include <limits>

#include "bindings/description_key.hpp"
#include "bindings/errors.hpp"
#include "bindings/fact_of_type.hpp"
#include "bindings/frameworks.hpp"
#include "bindings/structs.hpp"

namespace moe_act::python {
namespace {

// What moe_act.Result(out, out_scale) does, less the Python function in which a named tuple does it.
Result make_result(nb::handle out, nb::handle out_scale) {
  static PyObject* type = nullptr;
  if (type == nullptr) type = nb::object(frameworks().attr("Result")).release().ptr();
  static const auto new_tuple = reinterpret_cast<newfunc>(PyType_GetSlot(&PyTuple_Type, Py_tp_new));
  const nb::tuple arguments = nb::make_tuple(nb::make_tuple(out, out_scale));
  PyObject* result = new_tuple(reinterpret_cast<PyTypeObject*>(type), arguments.ptr(), nullptr);
  if (result == nullptr) throw nb::python_error();
  return nb::steal<Result>(result);
}

void* resolve_stream(nb::handle x, dlpack::Device device, nb::handle stream) {
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

moe_act_buffers buffers_of(const moe_act_tensors& tensors) {
  const auto data = [](const moe_act_tensor* tensor) { return tensor != nullptr ? tensor->data : nullptr; };
  auto buffers = sized<moe_act_buffers>();
  buffers.x = data(tensors.x);
  buffers.x_scale = data(tensors.x_scale);
  buffers.out = data(tensors.out);
  buffers.out_scale = data(tensors.out_scale);
  buffers.static_scale = static_cast<const float*>(data(tensors.static_scale));
  buffers.row_index = data(tensors.row_index);
  buffers.total_num_padded_tokens = static_cast<const std::int32_t*>(data(tensors.total_num_padded_tokens));
  buffers.row_count = data(tensors.row_count);
  buffers.bias = data(tensors.bias);
  buffers.alpha = static_cast<const float*>(data(tensors.alpha));
  buffers.beta = static_cast<const float*>(data(tensors.beta));
  buffers.limit = static_cast<const float*>(data(tensors.limit));
  buffers.weight = static_cast<const float*>(data(tensors.weight));
  buffers.tile_to_expert = data(tensors.tile_to_expert);
  buffers.permuted_to_expanded = data(tensors.permuted_to_expanded);
  buffers.out_unquantized = data(tensors.out_unquantized);
  return buffers;
}

}  // namespace

std::int64_t workspace_limit_of(nb::handle x) {
  static FactOfType<bool> allocates;
  const auto ask = [&](nb::handle) { return nb::cast<bool>(frameworks().attr("allocates_workspace")(x)); };
  return allocates.get(x, ask) ? std::numeric_limits<std::int64_t>::max() : 0;
}

Call::Call(const Arguments& arguments, const RowArguments& rows, nb::handle stream) : arguments_(arguments) {
  // The device of x says which stream is current, and the stream how a producer makes its data ready.
  const bool imported = x_.import_by_exchange_api("x", arguments_.x);
  stream_ = resolve_stream(arguments_.x, imported ? x_.device() : device_of("x", arguments_.x), stream);
  if (!imported) x_.import("x", arguments_.x, stream_);
  x_scale_.import("x_scale", arguments_.x_scale, stream_);
  out_.import("out", arguments_.out, stream_);
  out_scale_.import("out_scale", arguments_.out_scale, stream_);
  static_scale_.import("static_scale", arguments_.static_scale, stream_);
  if (rows.index.is_valid()) row_index_.import(rows.index_name, rows.index, stream_);
  total_.import("total_num_padded_tokens", arguments_.total_num_padded_tokens, stream_);
  if (rows.count.is_valid()) row_count_.import(rows.count_name, rows.count, stream_);
  bias_.import("bias", arguments_.bias, stream_);
  const auto import_parameter = [&](Tensor& tensor, const char* name, nb::handle value) {
    if (!is_number(value)) tensor.import(name, value, stream_);
  };
  import_parameter(alpha_, "alpha", arguments_.alpha);
  import_parameter(beta_, "beta", arguments_.beta);
  import_parameter(limit_, "limit", arguments_.limit);
  weight_.import("weight", arguments_.weight, stream_);
  out_unquantized_.import("out_unquantized", arguments_.out_unquantized, stream_);
  if (rows.tile_to_expert.is_valid()) tile_to_expert_.import("tile_to_expert", rows.tile_to_expert, stream_);
  if (rows.permuted_to_expanded.is_valid())
    permuted_to_expanded_.import("permuted_to_expanded", rows.permuted_to_expanded, stream_);
}

std::array<Tensor*, 16> Call::imported() {
  return {&x_,
          &x_scale_,
          &out_,
          &out_scale_,
          &static_scale_,
          &row_index_,
          &total_,
          &row_count_,
          &bias_,
          &alpha_,
          &beta_,
          &limit_,
          &weight_,
          &tile_to_expert_,
          &permuted_to_expanded_,
          &out_unquantized_};
}

bool Call::requires_grad() {
  const auto tensors = imported();
  return std::any_of(tensors.begin(), tensors.end(), [](const Tensor* tensor) { return tensor->has_gradient(); });
}

void Call::ignore_gradients() {
  for (Tensor* tensor : imported()) tensor->ignore_gradient();
}

moe_act_problem Call::describe(const moe_act_options& options) {
  auto tensors = sized<moe_act_tensors>();
  tensors.x = x_.get();
  tensors.x_scale = x_scale_.get();
  tensors.out = out_.get();
  tensors.out_scale = out_scale_.get();
  tensors.static_scale = static_scale_.get();
  tensors.row_index = row_index_.get();
  tensors.total_num_padded_tokens = total_.get();
  tensors.row_count = row_count_.get();
  tensors.bias = bias_.get();
  tensors.alpha = alpha_.get();
  tensors.beta = beta_.get();
  tensors.limit = limit_.get();
  tensors.weight = weight_.get();
  tensors.tile_to_expert = tile_to_expert_.get();
  tensors.permuted_to_expanded = permuted_to_expanded_.get();
  tensors.out_unquantized = out_unquantized_.get();
  buffers_ = buffers_of(tensors);

  // Calls come in long rows of the same: what the last one was found to be need not be found again. A call that
  // allocates asks twice, first without its results.
  struct Known {
    DescriptionKey key;
    moe_act_problem problem;
  };
  static Known last_without_and_with_results[2]{};
  Known& last = last_without_and_with_results[tensors.out != nullptr ? 1 : 0];
  if (!last.key.is_of(tensors, options)) {
    auto problem = sized<moe_act_problem>();
    auto buffers = sized<moe_act_buffers>();
    check(moe_act_describe(&tensors, &options, &problem, &buffers));
    last.key.assign(tensors, options);
    last.problem = problem;
  }
  return last.problem;
}

bool Call::allocates_out_scale(const moe_act_problem& problem) const {
  const bool delivered = problem.out_scaling == MOE_ACT_SCALING_BLOCK || problem.out_scaling == MOE_ACT_SCALING_ROW;
  return delivered && arguments_.out_scale.is_none();
}

bool Call::allocates(const moe_act_problem& problem) const {
  return arguments_.out.is_none() || allocates_out_scale(problem);
}

bool Call::allocate(const moe_act_problem& problem) {
  const bool per_row = problem.out_scaling == MOE_ACT_SCALING_ROW;
  const bool needs_out = arguments_.out.is_none();
  const bool needs_out_scale = allocates_out_scale(problem);
  if ((needs_out || needs_out_scale) && PyCapsule_CheckExact(arguments_.x.ptr()) && is_cuda(x_.device()))
    raise(PyExc_TypeError, needs_out ? "out" : "out_scale",
          "expected memory for the result: a DLPack capsule on CUDA has no framework to allocate it");
  const nb::object experts =
      problem.row_kind == MOE_ACT_ROWS_MASKED ? nb::object(nb::int_(problem.experts)) : nb::object(nb::none());
  if (needs_out) {
    const nb::tuple shape = experts.is_none() ? nb::make_tuple(problem.rows, problem.columns)
                                              : nb::make_tuple(experts, problem.rows, problem.columns);
    allocated_out_ =
        frameworks().attr("empty_like")(arguments_.x, shape, moe_act_option_name("format", problem.out_format));
    arguments_.out = allocated_out_;
    out_.import("out", arguments_.out, stream_);
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
    arguments_.out_scale = allocated_out_scale_;
    out_scale_.import("out_scale", arguments_.out_scale, stream_);
  }
  return needs_out || needs_out_scale;
}

void Call::allocate_workspace(std::int64_t bytes) {
  if (bytes == 0) return;
  allocated_workspace_ =
      frameworks().attr("workspace_like")(arguments_.x, bytes, reinterpret_cast<std::intptr_t>(stream_));
  Tensor tensor;
  tensor.import("workspace", allocated_workspace_, stream_);
  workspace_ = tensor.get()->data;
}

void* Call::resolve(nb::handle stream) const {
  return resolve_stream(arguments_.x, x_.device(), stream);
}

void Call::launch(const moe_act_plan* plan, void* stream, bool validate) const {
  moe_act_status status = MOE_ACT_OK;
  {
    // A launch waits where the device's queue is full, perhaps for a host function on the stream that needs the GIL.
    nb::gil_scoped_release released;
    if (validate) status = moe_act_validate(plan, &buffers_, stream);
    if (status == MOE_ACT_OK) status = moe_act_launch(plan, &buffers_, workspace_, stream);
  }
  check(status);
}

Result Call::result() const {
  return make_result(arguments_.out, arguments_.out_scale);
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
  static std::shared_ptr<const moe_act_plan> last_plan;  // shared: a launch under way in another thread needs its own
  if (last_plan == nullptr || !same(problem, last_problem)) {
    last_plan = make_plan(problem, nullptr);
    last_problem = problem;
  }
  return last_plan;
}

}  // namespace moe_act::python

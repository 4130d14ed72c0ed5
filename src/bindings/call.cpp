#include "bindings/call.hpp"

namespace moe_act::python {
namespace {

template <typename Struct>
Struct sized() {
  Struct value{};
  value.struct_size = sizeof(value);
  return value;
}

// Everything that knows a framework by name lives in this Python module.
nb::module_ frameworks() {
  return nb::module_::import_("moe_act._frameworks");
}

void* resolve_stream(nb::handle x, nb::handle stream) {
  const dlpack::Device device = device_of("x", x);
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

std::int32_t parse_one(const char* option, nb::handle name) {
  std::int32_t value = 0;
  if (name.is_none()) return value;
  if (!nb::isinstance<nb::str>(name)) raise(PyExc_TypeError, option, "expected a str, got " + type_name_of(name));
  check(moe_act_parse_option(option, nb::cast<std::string>(name).c_str(), &value));
  return value;
}

std::int64_t parse_int(const char* option, nb::handle number) {
  std::int64_t value = 0;
  const nb::object integer = nb::steal(PyNumber_Index(number.ptr()));  // numpy's integers have an index, floats do not
  PyErr_Clear();
  if (!integer.is_valid()) raise(PyExc_TypeError, option, "expected an int, got " + type_name_of(number));
  if (!nb::try_cast(integer, value))
    raise(PyExc_ValueError, option, "expected at most 2^63 - 1, got " + nb::cast<std::string>(nb::str(integer)));
  return value;
}

}  // namespace

void check(moe_act_status status) {
  if (status == MOE_ACT_OK) return;
  PyObject* type = PyExc_RuntimeError;
  if (status == MOE_ACT_INVALID_PROBLEM) type = PyExc_ValueError;
  if (status == MOE_ACT_UNSUPPORTED) type = PyExc_NotImplementedError;
  if (status == MOE_ACT_WRONG_TYPE) type = PyExc_TypeError;
  PyErr_SetString(type, moe_act_last_error());
  throw nb::python_error();
}

moe_act_options parse(const OptionNames& names) {
  auto options = sized<moe_act_options>();
  options.x_format = parse_one("x_format", names.x_format);
  options.x_scale_layout = parse_one("x_scale_layout", names.x_scale_layout);
  options.out_format = parse_one("out_format", names.out_format);
  options.out_scaling = parse_one("out_scaling", names.out_scaling);
  options.out_scale_layout = parse_one("out_scale_layout", names.out_scale_layout);
  options.activation = parse_one("activation", names.activation);
  options.gate = parse_one("gate", names.gate);
  options.padding = parse_one("padding", names.padding);
  options.pdl = parse_one("pdl", names.pdl);
  if (!names.expected_rows.is_none()) {
    options.has_expected_rows = 1;
    options.expected_rows = parse_int("expected_rows", names.expected_rows);
  }
  return options;
}

moe_act_options options_of(const moe_act_problem& problem) {
  auto options = sized<moe_act_options>();
  options.x_format = problem.x_format;
  options.x_scale_layout = problem.x_scale_layout;
  options.out_format = problem.out_format;
  options.out_scaling = problem.out_scaling;
  options.out_scale_layout = problem.out_scale_layout;
  options.activation = problem.activation;
  options.gate = problem.gate;
  options.padding = problem.padding;
  options.pdl = problem.pdl;
  options.has_expected_rows = problem.expected_rows >= 0 ? 1 : 0;
  options.expected_rows = problem.expected_rows;
  return options;
}

Call::Call(Arguments arguments, nb::handle stream) : arguments_(std::move(arguments)) {
  stream_ = resolve_stream(arguments_.x, stream);
  x_.import("x", arguments_.x, stream_);
  x_scale_.import("x_scale", arguments_.x_scale, stream_);
  out_.import("out", arguments_.out, stream_);
  out_scale_.import("out_scale", arguments_.out_scale, stream_);
  static_scale_.import("static_scale", arguments_.static_scale, stream_);
  map_.import("expanded_idx_to_permuted_idx", arguments_.expanded_idx_to_permuted_idx, stream_);
  total_.import("total_num_padded_tokens", arguments_.total_num_padded_tokens, stream_);
}

moe_act_problem Call::describe(const moe_act_options& options) {
  auto tensors = sized<moe_act_tensors>();
  tensors.x = x_.get();
  tensors.x_scale = x_scale_.get();
  tensors.out = out_.get();
  tensors.out_scale = out_scale_.get();
  tensors.static_scale = static_scale_.get();
  tensors.expanded_idx_to_permuted_idx = map_.get();
  tensors.total_num_padded_tokens = total_.get();
  auto problem = sized<moe_act_problem>();
  buffers_ = sized<moe_act_buffers>();
  check(moe_act_describe(&tensors, &options, &problem, &buffers_));
  return problem;
}

void Call::allocate(const moe_act_problem& problem) {
  if (arguments_.out.is_none()) {
    arguments_.out = frameworks().attr("empty_like")(arguments_.x, nb::make_tuple(problem.rows, problem.columns),
                                                     moe_act_option_name("format", problem.out_format));
    out_.import("out", arguments_.out, stream_);
  }
  if (problem.out_scaling == MOE_ACT_SCALING_BLOCK && arguments_.out_scale.is_none()) {
    const std::int64_t blocks = (problem.columns + 127) / 128;
    const bool flat = problem.out_scale_stride == MOE_ACT_STRIDE_ON_DEVICE;
    const bool column_major = problem.out_scale_layout == MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR;
    const nb::tuple shape = flat           ? nb::make_tuple(blocks * problem.rows)
                            : column_major ? nb::make_tuple(blocks, problem.rows)
                                           : nb::make_tuple(problem.rows, blocks);
    arguments_.out_scale = frameworks().attr("empty_like")(arguments_.x, shape, "fp32");
    out_scale_.import("out_scale", arguments_.out_scale, stream_);
  }
}

nb::object Call::launch(const moe_act_plan* plan, bool validate) {
  moe_act_status status = MOE_ACT_OK;
  {
    nb::gil_scoped_release released;
    if (validate) status = moe_act_validate(plan, &buffers_, stream_);
    if (status == MOE_ACT_OK) status = moe_act_launch(plan, &buffers_, nullptr, stream_);
  }
  check(status);
  return frameworks().attr("Result")(arguments_.out, arguments_.out_scale);
}

PlanHandle make_plan(const moe_act_problem& problem, const moe_act_device_info* device) {
  moe_act_plan* plan = nullptr;
  check(moe_act_plan_create(&problem, device, &plan));
  return PlanHandle(plan);
}

}  // namespace moe_act::python

#include "bindings/call.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "bindings/description_key.hpp"

namespace moe_act::python {
namespace {

template <typename Struct>
Struct sized() {
  Struct value{};
  value.struct_size = sizeof(value);
  return value;
}

// Everything that knows a framework by name lives in this Python module, which is held for good.
nb::handle frameworks() {
  static PyObject* module = nullptr;  // initialized without a guard: an import may let another thread in
  if (module == nullptr) module = nb::module_::import_("moe_act._frameworks").release().ptr();
  return module;
}

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

// The value behind an option's name: a field of moe_act_options.
template <std::int32_t moe_act_options::* field>
void parse_one(moe_act_options& options, const char* option, nb::handle name) {
  // Nearly always the object of the last call again, a literal or a default. It is held: its address stays its own.
  static PyObject* last_name = nullptr;
  static std::int32_t last_value = 0;
  if (name.is_none()) return;
  if (name.ptr() != last_name) {
    if (!nb::isinstance<nb::str>(name)) raise(PyExc_TypeError, option, "expected a str, got " + type_name_of(name));
    check(moe_act_parse_option(option, nb::cast<std::string>(name).c_str(), &last_value));
    const nb::object released = nb::steal(std::exchange(last_name, nb::borrow(name).release().ptr()));
  }
  options.*field = last_value;
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

std::int64_t parse_int(const char* option, nb::handle number) {
  std::int64_t value = 0;
  const nb::object integer = nb::steal(PyNumber_Index(number.ptr()));  // numpy's integers have an index, floats do not
  PyErr_Clear();
  if (!integer.is_valid()) raise(PyExc_TypeError, option, "expected an int, got " + type_name_of(number));
  if (!nb::try_cast(integer, value))
    raise(PyExc_ValueError, option, "expected at most 2^63 - 1, got " + nb::cast<std::string>(nb::str(integer)));
  return value;
}

bool is_number(nb::handle value) {
  return PyFloat_Check(value.ptr()) || PyLong_Check(value.ptr());
}

// NaN and infinity are judged by name later on.
float parse_float(const char* option, nb::handle number) {
  if (number.is_none()) return 0.0f;
  double value = 0.0;
  if (!is_number(number) || !nb::try_cast(number, value))
    raise(PyExc_TypeError, option, "expected a number, got " + type_name_of(number));
  return static_cast<float>(value);
}

// A preset's name, or a moe_act.Numerics, whose fields are None where they are the preset's.
void parse_numerics(moe_act_options& options, nb::handle numerics) {
  if (numerics.is_none() || nb::isinstance<nb::str>(numerics))
    return parse_one<&moe_act_options::preset>(options, "preset", numerics);
  if (!nb::isinstance(numerics, frameworks().attr("Numerics")))
    raise(PyExc_TypeError, "numerics",
          "expected the name of a preset or a moe_act.Numerics, got " + type_name_of(numerics));
  const auto part = [&](const char* name) -> nb::object { return numerics.attr(name); };
  const nb::object product_rounding = part("product_rounding"), quantization = part("quantization"),
                   clamp_rounding = part("clamp_rounding"), smallest_amax = part("smallest_amax"),
                   smallest_scale = part("smallest_scale");
  parse_one<&moe_act_options::preset>(options, "preset", part("preset"));
  FlatArguments parts{};
  parts.product_rounding = product_rounding;
  parts.quantization = quantization;
  parts.clamp_rounding = clamp_rounding;
  parts.smallest_amax = smallest_amax;
  parts.smallest_scale = smallest_scale;
  parse_parts(options, parts);
}

// alpha, beta or limit where it is a number; tensors, which are imported with the others, take the place of a plan's.
void parse_parameter(const char* name, nb::handle value, std::int32_t& from, float& number) {
  if (value.is_none()) return;
  const bool is_scalar = is_number(value);
  from = is_scalar ? MOE_ACT_PARAMETER_SCALAR : MOE_ACT_PARAMETER_NONE;
  number = is_scalar ? parse_float(name, value) : 0.0f;
}

std::int32_t parse_block(const char* option, nb::handle number) {
  if (number.is_none()) return 0;
  const std::int64_t block = parse_int(option, number);
  constexpr std::int64_t no_block = -1;  // which is refused by name, as 0 would not be
  return static_cast<std::int32_t>(block > 0 && block <= 1024 ? block : no_block);
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

bool truth(nb::handle value) {
  const int answer = PyObject_IsTrue(value.ptr());
  if (answer < 0) throw nb::python_error();
  return answer != 0;
}

moe_act_options parse(const OptionNames& names) {
  auto options = sized<moe_act_options>();
  parse_one<&moe_act_options::x_format>(options, "x_format", names.x_format);
  parse_one<&moe_act_options::x_scale_layout>(options, "x_scale_layout", names.x_scale_layout);
  parse_one<&moe_act_options::out_format>(options, "out_format", names.out_format);
  parse_one<&moe_act_options::out_scaling>(options, "out_scaling", names.out_scaling);
  parse_one<&moe_act_options::out_scale_layout>(options, "out_scale_layout", names.out_scale_layout);
  parse_one<&moe_act_options::activation>(options, "activation", names.activation);
  parse_one<&moe_act_options::gate>(options, "gate", names.gate);
  parse_one<&moe_act_options::padding>(options, "padding", names.padding);
  parse_one<&moe_act_options::pdl>(options, "pdl", names.pdl);
  parse_one<&moe_act_options::x_scale_format>(options, "x_scale_format", names.x_scale_format);
  parse_one<&moe_act_options::out_scale_format>(options, "out_scale_format", names.out_scale_format);
  parse_one<&moe_act_options::scale_rounding>(options, "scale_rounding", names.scale_rounding);
  parse_one<&moe_act_options::unquantized_format>(options, "unquantized_format", names.unquantized_format);
  parse_numerics(options, names.numerics);
  options.gate_bound = parse_float("gate_bound", names.gate_bound);
  options.up_bound = parse_float("up_bound", names.up_bound);
  options.interleave = parse_block("interleave", names.interleave);
  options.x_block = parse_block("x_block", names.x_block);
  options.out_block = parse_block("out_block", names.out_block);
  if (!names.expected_rows.is_none()) {
    options.has_expected_rows = 1;
    options.expected_rows = parse_int("expected_rows", names.expected_rows);
  }
  return options;
}

void parse_parts(moe_act_options& options, const FlatArguments& arguments) {
  parse_one<&moe_act_options::product_rounding>(options, "product_rounding", arguments.product_rounding);
  parse_one<&moe_act_options::quantization>(options, "quantization", arguments.quantization);
  parse_one<&moe_act_options::clamp_rounding>(options, "clamp_rounding", arguments.clamp_rounding);
  options.smallest_amax = parse_float("smallest_amax", arguments.smallest_amax);
  options.smallest_scale = parse_float("smallest_scale", arguments.smallest_scale);
}

void parse_parameters(moe_act_options& options, const Arguments& arguments) {
  parse_parameter("alpha", arguments.alpha, options.alpha_from, options.alpha);
  parse_parameter("beta", arguments.beta, options.beta_from, options.beta);
  parse_parameter("limit", arguments.limit, options.limit_from, options.limit);
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
  options.workspace_limit = problem.workspace_limit;
  options.x_scale_format = problem.x_scale_format;
  options.out_scale_format = problem.out_scale_format;
  options.x_block = problem.x_block;
  options.out_block = problem.out_block;
  options.scale_rounding = problem.scale_rounding;
  options.interleave = problem.interleave;
  const auto scalar = [](std::int32_t from) {
    return from == MOE_ACT_PARAMETER_SCALAR ? from : std::int32_t{MOE_ACT_PARAMETER_NONE};
  };
  options.alpha_from = scalar(problem.alpha_from);
  options.beta_from = scalar(problem.beta_from);
  options.limit_from = scalar(problem.limit_from);
  options.alpha = problem.alpha;
  options.beta = problem.beta;
  options.limit = problem.limit;
  options.gate_bound = problem.gate_bound;
  options.up_bound = problem.up_bound;
  options.preset = problem.preset;
  options.product_rounding = problem.product_rounding;
  options.quantization = problem.quantization;
  options.clamp_rounding = problem.clamp_rounding;
  options.smallest_amax = problem.smallest_amax;
  options.smallest_scale = problem.smallest_scale;
  options.unquantized_format = problem.unquantized_format;
  return options;
}

std::int64_t workspace_limit_of(nb::handle x) {
  // One type after the other, as tensors are asked for their exchange API.
  static nb::handle last_type;  // held forever: as an object it would be released after the interpreter
  static bool allocates = false;
  nb::handle type(reinterpret_cast<PyObject*>(Py_TYPE(x.ptr())));
  if (!last_type.is(type)) {
    allocates = nb::cast<bool>(frameworks().attr("allocates_workspace")(x));
    type.inc_ref();
    last_type.dec_ref();
    last_type = type;
  }
  return allocates ? std::numeric_limits<std::int64_t>::max() : 0;
}

RowArguments::RowArguments(const Arguments& arguments) {
  if (!arguments.expanded_idx_to_permuted_idx.is_none()) index = nb::borrow(arguments.expanded_idx_to_permuted_idx);
  if (arguments.rows.is_none()) return;
  if (index.is_valid())
    raise(PyExc_ValueError, "rows", "expected None: expanded_idx_to_permuted_idx says which rows there are");
  if (!nb::isinstance(arguments.rows, frameworks().attr("RowConvention")))
    raise(PyExc_TypeError, "rows", "expected an object of moe_act.rows, got " + type_name_of(arguments.rows));
  said_ = arguments.rows.attr("_said")();
  const nb::object& said = said_;
  const auto text = [&](const char* name) { return nb::cast<const char*>(said.attr(name)); };
  check(moe_act_parse_option("row_kind", text("kind"), &kind));
  check(moe_act_parse_option("buffer_row", text("buffer_row"), &sorted_rows));
  index_name = text("index_name");
  count_name = text("count_name");
  index = said.attr("index");
  count = said.attr("count");
  tile_tokens = parse_int("tile_tokens", said.attr("tile_tokens"));
  expert_alignment = parse_int("expert_alignment", said.attr("expert_alignment"));
  num_valid_ids = parse_int("num_valid_ids", said.attr("num_valid_ids"));
  tile_to_expert = said.attr("tile_to_expert");
  permuted_to_expanded = said.attr("permuted_to_expanded");
}

RowArguments::RowArguments(const FlatArguments& arguments, nb::handle map) {
  const auto given = [](nb::handle value) { return value.is_none() ? nb::object() : nb::borrow(value); };
  index = given(arguments.row_index);
  count = given(arguments.row_count);
  if (arguments.row_kind.is_none() && (index.is_valid() || count.is_valid()))
    raise(PyExc_ValueError, "row_kind", "expected the name of a convention, as its tensors are given");
  if (!arguments.row_kind.is_none() && !map.is_none())
    raise(PyExc_ValueError, "row_kind", "expected None: expanded_idx_to_permuted_idx says which rows there are");
  if (!map.is_none())
    index = nb::borrow(map);
  else
    index_name = "row_index";
  const auto value_of = [](const char* option, nb::handle name, std::int32_t& value) {
    if (!name.is_none()) check(moe_act_parse_option(option, nb::cast<const char*>(name), &value));
  };
  value_of("row_kind", arguments.row_kind, kind);
  value_of("buffer_row", arguments.buffer_row, sorted_rows);
  const auto number = [](const char* name, nb::handle value) { return value.is_none() ? 0 : parse_int(name, value); };
  tile_tokens = number("tile_tokens", arguments.tile_tokens);
  expert_alignment = number("expert_alignment", arguments.expert_alignment);
  num_valid_ids = number("num_valid_ids", arguments.num_valid_ids);
  tile_to_expert = given(arguments.tile_to_expert);
  permuted_to_expanded = given(arguments.permuted_to_expanded);
}

void RowArguments::apply_to(moe_act_options& options) const {
  options.row_kind = kind;
  options.sorted_rows = sorted_rows;
  options.tile_tokens = tile_tokens;
  options.expert_alignment = expert_alignment;
  options.num_valid_ids = num_valid_ids;
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

Result Call::launch(const moe_act_plan* plan, std::int64_t workspace_bytes, bool validate) {
  nb::object owner;  // released after the launch: frameworks reuse memory in the order of its stream
  void* workspace = nullptr;
  if (workspace_bytes > 0) {
    owner =
        frameworks().attr("workspace_like")(arguments_.x, workspace_bytes, reinterpret_cast<std::intptr_t>(stream_));
    Tensor tensor;
    tensor.import("workspace", owner, stream_);
    workspace = tensor.get()->data;
  }
  moe_act_status status = MOE_ACT_OK;
  {
    // A launch waits where the device's queue is full, perhaps for a host function on the stream that needs the GIL.
    nb::gil_scoped_release released;
    if (validate) status = moe_act_validate(plan, &buffers_, stream_);
    if (status == MOE_ACT_OK) status = moe_act_launch(plan, &buffers_, workspace, stream_);
  }
  check(status);
  return make_result(arguments_.out, arguments_.out_scale);
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

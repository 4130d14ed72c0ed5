// moe_act._jax: the operation as a call that XLA makes. python/moe_act/jax.py registers it and says which calls to
// make; like the other bindings this is a client of the C interface.
//
// The attributes "operands" and "results" name the buffers in their order, as moe_act_tensors does; every other
// attribute is the option of its name. Results are XLA's own memory, and so is the workspace, one of them.
#include <nanobind/nanobind.h>

#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <type_traits>

#include "bindings/jax_tensors.hpp"

namespace {

namespace nb = nanobind;
using namespace moe_act::python;

// Options whose values have names, and those that are numbers.
constexpr Named<std::int32_t moe_act_options::*> choices[] = {
    {"x_format", &moe_act_options::x_format},
    {"x_scale_layout", &moe_act_options::x_scale_layout},
    {"x_scale_format", &moe_act_options::x_scale_format},
    {"out_format", &moe_act_options::out_format},
    {"out_scaling", &moe_act_options::out_scaling},
    {"out_scale_layout", &moe_act_options::out_scale_layout},
    {"out_scale_format", &moe_act_options::out_scale_format},
    {"scale_rounding", &moe_act_options::scale_rounding},
    {"activation", &moe_act_options::activation},
    {"gate", &moe_act_options::gate},
    {"preset", &moe_act_options::preset},
    {"product_rounding", &moe_act_options::product_rounding},
    {"quantization", &moe_act_options::quantization},
    {"clamp_rounding", &moe_act_options::clamp_rounding},
    {"padding", &moe_act_options::padding},
    {"pdl", &moe_act_options::pdl},
    {"unquantized_format", &moe_act_options::unquantized_format},
    {"row_kind", &moe_act_options::row_kind},
    {"buffer_row", &moe_act_options::sorted_rows},
};
constexpr Named<std::int32_t moe_act_options::*> short_numbers[] = {
    {"x_block", &moe_act_options::x_block},
    {"out_block", &moe_act_options::out_block},
    {"interleave", &moe_act_options::interleave},
};
constexpr Named<std::int64_t moe_act_options::*> long_numbers[] = {
    {"expected_rows", &moe_act_options::expected_rows},
    {"tile_tokens", &moe_act_options::tile_tokens},
    {"expert_alignment", &moe_act_options::expert_alignment},
    {"num_valid_ids", &moe_act_options::num_valid_ids},
};
constexpr Named<float moe_act_options::*> fractions[] = {
    {"alpha", &moe_act_options::alpha},
    {"beta", &moe_act_options::beta},
    {"limit", &moe_act_options::limit},
    {"gate_bound", &moe_act_options::gate_bound},
    {"up_bound", &moe_act_options::up_bound},
    {"smallest_amax", &moe_act_options::smallest_amax},
    {"smallest_scale", &moe_act_options::smallest_scale},
};

ffi::Error error_of(moe_act_status status) {
  if (status == MOE_ACT_OK) return ffi::Error::Success();
  ffi::ErrorCode code = ffi::ErrorCode::kInternal;
  if (status == MOE_ACT_INVALID_PROBLEM || status == MOE_ACT_WRONG_TYPE) code = ffi::ErrorCode::kInvalidArgument;
  if (status == MOE_ACT_UNSUPPORTED) code = ffi::ErrorCode::kUnimplemented;
  return {code, moe_act_last_error()};
}

// Asked for only where it is there: saying that one is missing takes XLA microseconds.
template <typename Value, typename Field>
ffi::Error read_one(const ffi::Dictionary& attributes, const char* name, Field& field, std::size_t& known) {
  if (!attributes.contains(name)) return ffi::Error::Success();
  ++known;
  const auto value = attributes.get<Value>(name);
  if (!value) return value.error();
  if constexpr (std::is_same_v<Value, std::string_view>)
    return error_of(moe_act_parse_option(name, std::string(*value).c_str(), &field));
  else
    field = static_cast<Field>(*value);
  return ffi::Error::Success();
}

template <typename Value, typename Table>
ffi::Error read_table(const ffi::Dictionary& attributes, const Table& table, moe_act_options& options,
                      std::size_t& known) {
  for (const auto& [name, field] : table)
    if (ffi::Error error = read_one<Value>(attributes, name, options.*field, known); error.failure()) return error;
  return ffi::Error::Success();
}

// Every attribute but the two that name buffers. One that is not known is an error: it would have changed the result.
ffi::Error read(const ffi::Dictionary& attributes, moe_act_options& options) {
  std::size_t known = 2;
  ffi::Error error = read_table<std::string_view>(attributes, choices, options, known);
  if (error.success()) error = read_table<std::int64_t>(attributes, short_numbers, options, known);
  if (error.success()) error = read_table<std::int64_t>(attributes, long_numbers, options, known);
  if (error.success()) error = read_table<float>(attributes, fractions, options, known);
  const auto from = [&](const char* name) {
    return attributes.contains(name) ? MOE_ACT_PARAMETER_SCALAR : MOE_ACT_PARAMETER_NONE;
  };
  options.alpha_from = from("alpha");
  options.beta_from = from("beta");
  options.limit_from = from("limit");
  options.has_expected_rows = attributes.contains("expected_rows") ? 1 : 0;
  if (error.success() && known != attributes.size())
    error = ffi::Error::InvalidArgument("moe_act: expected no attributes but the names of buffers and known options");
  return error;
}

using PlanHandle = std::shared_ptr<const moe_act_plan>;

// Plans of the problems that XLA's programs have; it may ask from several threads.
class Plans {
 public:
  ffi::ErrorOr<PlanHandle> get(const moe_act_problem& problem) {
    const std::string_view key(reinterpret_cast<const char*>(&problem), sizeof(problem));
    const std::lock_guard lock(mutex_);
    if (const auto found = plans_.find(key); found != plans_.end()) return found->second;
    moe_act_plan* plan = nullptr;
    const moe_act_status status = moe_act_plan_create(&problem, nullptr, &plan);
    if (status != MOE_ACT_OK) return ffi::Unexpected(error_of(status));
    if (plans_.size() == most_plans) plans_.clear();
    return plans_.emplace(key, PlanHandle(plan, moe_act_plan_destroy)).first->second;
  }

 private:
  static constexpr std::size_t most_plans = 256;
  std::mutex mutex_;
  std::map<std::string, PlanHandle, std::less<>> plans_;
};

ffi::Error call(std::int32_t device_type, std::int32_t device_id, void* stream, ffi::RemainingArgs operands,
                ffi::RemainingRets results, ffi::Dictionary attributes) try {
  const auto operand_names = attributes.get<std::string_view>("operands");
  if (!operand_names) return operand_names.error();
  const auto result_names = attributes.get<std::string_view>("results");
  if (!result_names) return result_names.error();
  Tensors tensors(device_type, device_id);
  ffi::Error error = tensors.take(*operand_names, operands.size(),
                                  [&](std::size_t index) { return *operands.get<ffi::AnyBuffer>(index); });
  if (error.failure()) return error;
  error = tensors.take(*result_names, results.size(),
                       [&](std::size_t index) { return **results.get<ffi::AnyBuffer>(index); });
  if (error.failure()) return error;

  auto options = sized<moe_act_options>();
  options.workspace_limit = tensors.workspace_bytes();
  if (error = read(attributes, options); error.failure()) return error;
  auto problem = sized<moe_act_problem>();
  auto buffers = sized<moe_act_buffers>();
  const moe_act_status described = moe_act_describe(&tensors.all(), &options, &problem, &buffers);
  if (described != MOE_ACT_OK) return error_of(described);

  static auto* plans = new Plans;  // never destroyed: XLA's threads may outlive this module's statics
  const auto plan = plans->get(problem);
  if (!plan) return plan.error();
  return error_of(moe_act_launch(plan->get(), &buffers, tensors.workspace(), stream));
} catch (const std::exception& error) {  // out of host memory; XLA knows no exceptions
  return ffi::Error::Internal(error.what());
}

ffi::Error call_on_cpu(ffi::RemainingArgs operands, ffi::RemainingRets results, ffi::Dictionary attributes) {
  return call(MOE_ACT_DEVICE_CPU, 0, nullptr, operands, results, attributes);
}

ffi::Error call_on_cuda(void* stream, std::int32_t device, ffi::RemainingArgs operands, ffi::RemainingRets results,
                        ffi::Dictionary attributes) {
  return call(MOE_ACT_DEVICE_CUDA, device, stream, operands, results, attributes);
}

XLA_FFI_DEFINE_HANDLER(cpu_handler, call_on_cpu, ffi::Ffi::Bind().RemainingArgs().RemainingRets().Attrs());

// A launch neither allocates nor waits, so that XLA may capture it in a CUDA graph.
XLA_FFI_DEFINE_HANDLER(cuda_handler, call_on_cuda,
                       ffi::Ffi::Bind()
                           .Ctx<ffi::PlatformStream<void*>>()
                           .Ctx<ffi::DeviceOrdinal>()
                           .RemainingArgs()
                           .RemainingRets()
                           .Attrs(),
                       {ffi::Traits::kCmdBufferCompatible});

nb::capsule capsule(XLA_FFI_Handler* handler) {
  return nb::capsule(reinterpret_cast<void*>(handler));
}

template <typename Table>
void add_types(nb::dict& types, const Table& table, PyTypeObject& type) {
  for (const auto& known : table) types[known.name] = nb::borrow(reinterpret_cast<PyObject*>(&type));
}

}  // namespace

NB_MODULE(_jax, module) {
  module.doc() = "The call that XLA makes; the documented face is moe_act.jax.";
  module.def("cpu_handler", [] { return capsule(cpu_handler); }, nb::sig("def cpu_handler() -> typing.Any"));
  module.def("cuda_handler", [] { return capsule(cuda_handler); }, nb::sig("def cuda_handler() -> typing.Any"));
  module.def(
      "option_types",
      [] {
        nb::dict types;
        add_types(types, choices, PyUnicode_Type);
        add_types(types, short_numbers, PyLong_Type);
        add_types(types, long_numbers, PyLong_Type);
        add_types(types, fractions, PyFloat_Type);
        return types;
      },
      nb::sig("def option_types() -> dict[str, type]"), "The options that attributes can say, and by what.");
  module.def(
      "jaxlib_version", [] { return nb::str(MOE_ACT_JAXLIB_VERSION); }, nb::sig("def jaxlib_version() -> str"),
      "Of the headers that this was built with: the oldest it runs under.");
}

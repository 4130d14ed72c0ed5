#include "bindings/arguments.hpp"

#include <nanobind/stl/string.h>

#include <string>
#include <utility>

#include "bindings/errors.hpp"
#include "bindings/fact_of_type.hpp"
#include "bindings/frameworks.hpp"
#include "bindings/structs.hpp"
#include "bindings/tensor.hpp"

namespace moe_act::python {
namespace {

// The value behind an option's name: a field of moe_act_options.
template <std::int32_t moe_act_options::* field>
void parse_one(moe_act_options& options, const char* option, nb::handle name) {
  // Nearly always the object of the last call again, a literal or a default. It is held: its address stays its own.
  static PyObject* last_name = nullptr;
  static std::int32_t last_value = 0;
  if (name.is_none()) return;
  if (name.ptr() == last_name) {
    options.*field = last_value;
    return;
  }
  if (!nb::isinstance<nb::str>(name)) raise(PyExc_TypeError, option, "expected a str, got " + type_name_of(name));
  check(moe_act_parse_option(option, nb::cast<std::string>(name).c_str(), &(options.*field)));
  last_value = options.*field;
  const nb::object released = nb::steal(std::exchange(last_name, nb::borrow(name).release().ptr()));
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

// NaN and infinity are judged by name later on.
float parse_float(const char* option, nb::handle number) {
  if (number.is_none()) return 0.0f;
  if (!is_number(number)) raise(PyExc_TypeError, option, "expected a number, got " + type_name_of(number));
  const double value = PyFloat_AsDouble(number.ptr());
  if (value == -1.0 && PyErr_Occurred() != nullptr) {
    nb::python_error error;
    raise_failed(error, option, "conversion to a float");
  }
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

ParameterOptions::Parameter parse_parameter(const char* name, nb::handle value) {
  if (value.is_none()) return {};
  if (!is_number(value)) return {true, MOE_ACT_PARAMETER_NONE, 0.0f};
  return {true, MOE_ACT_PARAMETER_SCALAR, parse_float(name, value)};
}

void apply(const ParameterOptions::Parameter& parameter, std::int32_t& from, float& number) {
  if (!parameter.is_given) return;
  from = parameter.from;
  number = parameter.number;
}

std::int32_t parse_block(const char* option, nb::handle number) {
  if (number.is_none()) return 0;
  const std::int64_t block = parse_int(option, number);
  constexpr std::int64_t no_block = -1;  // which is refused by name, as 0 would not be
  return static_cast<std::int32_t>(block > 0 && block <= 1024 ? block : no_block);
}

}  // namespace

bool is_number(nb::handle value) {
  if (PyFloat_Check(value.ptr()) || PyLong_Check(value.ptr())) return true;
  // A tensor stays one where it has no axes: its value may lie on a GPU, or have a gradient. NumPy's do not.
  static FactOfType<bool> known;
  const bool can_be = known.get(value, [&](nb::handle type) {
    auto* slots = reinterpret_cast<PyTypeObject*>(type.ptr());
    const bool converts =
        PyType_GetSlot(slots, Py_nb_float) != nullptr || PyType_GetSlot(slots, Py_nb_index) != nullptr;
    return converts && (is_of_numpy(value) || !nb::hasattr(type, "__dlpack__"));
  });
  if (!can_be) return false;
  if (!is_of_numpy(value)) return true;
  if (nb::cast<std::int64_t>(value.attr("ndim")) != 0) return false;
  // Text, truth values, dates and complex numbers convert, too.
  const std::string kind = nb::cast<std::string>(nb::str(value.attr("dtype").attr("kind")));
  return kind == "f" || kind == "i" || kind == "u";
}

bool truth(nb::handle value) {
  if (value.is_none() || value.is(nb::handle(Py_False))) return false;
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

ParameterOptions ParameterOptions::of_some(const Arguments& arguments) {
  return {parse_parameter("alpha", arguments.alpha), parse_parameter("beta", arguments.beta),
          parse_parameter("limit", arguments.limit)};
}

void ParameterOptions::apply_to(moe_act_options& options) const {
  apply(alpha, options.alpha_from, options.alpha);
  apply(beta, options.beta_from, options.beta);
  apply(limit, options.limit_from, options.limit);
}

void RowOptions::apply_to(moe_act_options& options) const {
  options.row_kind = kind;
  options.sorted_rows = sorted_rows;
  options.tile_tokens = tile_tokens;
  options.expert_alignment = expert_alignment;
  options.num_valid_ids = num_valid_ids;
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
  check(moe_act_parse_option("row_kind", text("kind"), &options.kind));
  check(moe_act_parse_option("buffer_row", text("buffer_row"), &options.sorted_rows));
  index_name = text("index_name");
  count_name = text("count_name");
  index = said.attr("index");
  count = said.attr("count");
  options.tile_tokens = parse_int("tile_tokens", said.attr("tile_tokens"));
  options.expert_alignment = parse_int("expert_alignment", said.attr("expert_alignment"));
  options.num_valid_ids = parse_int("num_valid_ids", said.attr("num_valid_ids"));
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
  value_of("row_kind", arguments.row_kind, options.kind);
  value_of("buffer_row", arguments.buffer_row, options.sorted_rows);
  const auto number = [](const char* name, nb::handle value) { return value.is_none() ? 0 : parse_int(name, value); };
  options.tile_tokens = number("tile_tokens", arguments.tile_tokens);
  options.expert_alignment = number("expert_alignment", arguments.expert_alignment);
  options.num_valid_ids = number("num_valid_ids", arguments.num_valid_ids);
  tile_to_expert = given(arguments.tile_to_expert);
  permuted_to_expanded = given(arguments.permuted_to_expanded);
}

}  // namespace moe_act::python

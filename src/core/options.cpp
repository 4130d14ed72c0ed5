#include "core/options.hpp"

#include <cstring>

#include "core/error.hpp"
#include "math/formats.hpp"

namespace moe_act {
namespace {

struct OptionValue {
  const char* option;
  const char* name;
  std::int32_t value;
};

constexpr OptionValue option_values[] = {
    {"format", "fp32", MOE_ACT_FORMAT_FP32},
    {"format", "fp16", MOE_ACT_FORMAT_FP16},
    {"format", "bf16", MOE_ACT_FORMAT_BF16},
    {"format", "e4m3", MOE_ACT_FORMAT_E4M3},
    {"format", "e5m2", MOE_ACT_FORMAT_E5M2},
    {"format", "e2m1", MOE_ACT_FORMAT_E2M1},
    {"out_scaling", "none", MOE_ACT_SCALING_NONE},
    {"out_scaling", "block", MOE_ACT_SCALING_BLOCK},
    {"out_scaling", "tensor", MOE_ACT_SCALING_TENSOR},
    {"scale_layout", "column_major", MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR},
    {"scale_layout", "row_major", MOE_ACT_SCALE_LAYOUT_ROW_MAJOR},
    {"gate", "second_half", MOE_ACT_GATE_SECOND_HALF},
    {"gate", "first_half", MOE_ACT_GATE_FIRST_HALF},
    {"activation", "swiglu", MOE_ACT_ACTIVATION_SWIGLU},
    {"padding", "skip", MOE_ACT_PADDING_SKIP},
    {"padding", "zero", MOE_ACT_PADDING_ZERO},
    {"pdl", "off", MOE_ACT_PDL_OFF},
    {"pdl", "on", MOE_ACT_PDL_ON},
    {"pdl", "metadata_ready", MOE_ACT_PDL_METADATA_READY},
    {"device", "cpu", MOE_ACT_DEVICE_CPU},
    {"device", "cuda", MOE_ACT_DEVICE_CUDA},
    {"row_kind", "dense", MOE_ACT_ROWS_DENSE},
    {"row_kind", "expanded_to_permuted", MOE_ACT_ROWS_EXPANDED_TO_PERMUTED},
};

// Several arguments share one set of names: "x_format" and "out_format" are formats.
bool names_values_of(const char* argument, const char* option) {
  const std::size_t length = std::strlen(argument);
  const std::size_t suffix = std::strlen(option);
  if (std::strcmp(argument, option) == 0) return true;
  return length > suffix && argument[length - suffix - 1] == '_' &&
         std::strcmp(argument + length - suffix, option) == 0;
}

}  // namespace

const char* option_name(const char* option, std::int32_t value) {
  for (const OptionValue& known : option_values)
    if (names_values_of(option, known.option) && known.value == value) return known.name;
  return nullptr;
}

std::string known_names(const char* option) {
  std::string names;
  for (const OptionValue& known : option_values)
    if (names_values_of(option, known.option)) names += (names.empty() ? "'" : ", '") + std::string(known.name) + "'";
  return names;
}

std::int32_t parse_option(const char* option, const char* name) {
  for (const OptionValue& known : option_values)
    if (names_values_of(option, known.option) && std::strcmp(known.name, name) == 0) return known.value;
  const std::string names = known_names(option);
  if (names.empty()) invalid("option", "there is no option '" + std::string(option) + "'");
  invalid(option, "expected one of " + names + ", got '" + name + "'");
}

void require_option(const char* option, std::int32_t value) {
  if (option_name(option, value) == nullptr)
    invalid(option, "expected one of " + known_names(option) + ", got value " + std::to_string(value));
}

}  // namespace moe_act

// The names of every option's values, in one table that parsing, printing and validation read.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "moe_act/c_api.h"

namespace moe_act {

struct OptionValue {
  const char* name = nullptr;
  std::int32_t value = 0;
};

using OptionValues = std::array<OptionValue, 11>;  // the rest unnamed

struct Option {
  std::string_view name;
  OptionValues values;
};

inline constexpr OptionValues sorted_rows_values = {
    {{"position", MOE_ACT_SORTED_ROWS_POSITION}, {"id", MOE_ACT_SORTED_ROWS_ID}}};

inline constexpr Option known_options[] = {
    {"out_scaling",
     {{{"none", MOE_ACT_SCALING_NONE},
       {"block", MOE_ACT_SCALING_BLOCK},
       {"tensor", MOE_ACT_SCALING_TENSOR},
       {"row", MOE_ACT_SCALING_ROW}}}},
    {"scale_layout",
     {{{"column_major", MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR},
       {"row_major", MOE_ACT_SCALE_LAYOUT_ROW_MAJOR},
       {"tma_column_major", MOE_ACT_SCALE_LAYOUT_TMA_COLUMN_MAJOR},
       {"packed_ue8m0", MOE_ACT_SCALE_LAYOUT_PACKED_UE8M0},
       {"swizzled_128x4", MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4}}}},
    // Before "format", whose name ends alike.
    {"scale_format", {{{"fp32", MOE_ACT_FORMAT_FP32}, {"ue8m0", MOE_ACT_FORMAT_UE8M0}}}},
    {"format",
     {{{"fp32", MOE_ACT_FORMAT_FP32},
       {"fp16", MOE_ACT_FORMAT_FP16},
       {"bf16", MOE_ACT_FORMAT_BF16},
       {"e4m3", MOE_ACT_FORMAT_E4M3},
       {"e5m2", MOE_ACT_FORMAT_E5M2},
       {"e2m1", MOE_ACT_FORMAT_E2M1}}}},
    {"scale_rounding",
     {{{"none", MOE_ACT_SCALE_ROUNDING_NONE}, {"power_of_two", MOE_ACT_SCALE_ROUNDING_POWER_OF_TWO}}}},
    {"sorted_rows", sorted_rows_values},
    {"buffer_row", sorted_rows_values},  // as the C++ and Python classes call it
    {"gate",
     {{{"second_half", MOE_ACT_GATE_SECOND_HALF},
       {"first_half", MOE_ACT_GATE_FIRST_HALF},
       {"interleaved", MOE_ACT_GATE_INTERLEAVED}}}},
    {"activation",
     {{{"swiglu", MOE_ACT_ACTIVATION_SWIGLU},
       {"swiglu_step", MOE_ACT_ACTIVATION_SWIGLU_STEP},
       {"geglu", MOE_ACT_ACTIVATION_GEGLU},
       {"geglu_tanh", MOE_ACT_ACTIVATION_GEGLU_TANH},
       {"reglu", MOE_ACT_ACTIVATION_REGLU},
       {"situ", MOE_ACT_ACTIVATION_SITU},
       {"silu", MOE_ACT_ACTIVATION_SILU},
       {"gelu", MOE_ACT_ACTIVATION_GELU},
       {"gelu_tanh", MOE_ACT_ACTIVATION_GELU_TANH},
       {"relu", MOE_ACT_ACTIVATION_RELU},
       {"relu2", MOE_ACT_ACTIVATION_RELU2}}}},
    // alpha, beta and limit
    {"parameter",
     {{{"none", MOE_ACT_PARAMETER_NONE},
       {"number", MOE_ACT_PARAMETER_SCALAR},
       {"one for each expert", MOE_ACT_PARAMETER_PER_EXPERT}}}},
    {"preset",
     {{{"flashinfer", MOE_ACT_PRESET_FLASHINFER},
       {"deepgemm", MOE_ACT_PRESET_DEEPGEMM},
       {"tilekernels", MOE_ACT_PRESET_DEEPGEMM},
       {"vllm_block", MOE_ACT_PRESET_VLLM_BLOCK},
       {"vllm_masked", MOE_ACT_PRESET_VLLM_MASKED},
       {"sglang", MOE_ACT_PRESET_SGLANG},
       {"lmdeploy", MOE_ACT_PRESET_LMDEPLOY},
       {"te_mxfp8", MOE_ACT_PRESET_TE_MXFP8}}}},
    {"product_rounding",
     {{{"none", MOE_ACT_PRODUCT_ROUNDING_NONE},
       {"product", MOE_ACT_PRODUCT_ROUNDING_PRODUCT},
       {"activation_and_product", MOE_ACT_PRODUCT_ROUNDING_ACTIVATION_AND_PRODUCT}}}},
    {"quantization",
     {{{"divide", MOE_ACT_QUANTIZATION_DIVIDE},
       {"multiply", MOE_ACT_QUANTIZATION_MULTIPLY},
       {"multiply_bf16", MOE_ACT_QUANTIZATION_MULTIPLY_BF16}}}},
    {"clamp_rounding", {{{"none", MOE_ACT_CLAMP_ROUNDING_NONE}, {"input", MOE_ACT_CLAMP_ROUNDING_INPUT}}}},
    {"padding", {{{"skip", MOE_ACT_PADDING_SKIP}, {"zero", MOE_ACT_PADDING_ZERO}}}},
    {"pdl", {{{"off", MOE_ACT_PDL_OFF}, {"on", MOE_ACT_PDL_ON}, {"metadata_ready", MOE_ACT_PDL_METADATA_READY}}}},
    {"device", {{{"cpu", MOE_ACT_DEVICE_CPU}, {"cuda", MOE_ACT_DEVICE_CUDA}}}},
    {"schedule",
     {{{"rows", MOE_ACT_SCHEDULE_ROWS},
       {"tiles", MOE_ACT_SCHEDULE_TILES},
       {"sparse", MOE_ACT_SCHEDULE_SPARSE},
       {"loop", MOE_ACT_SCHEDULE_LOOP},
       {"list", MOE_ACT_SCHEDULE_LIST},
       {"segments", MOE_ACT_SCHEDULE_SEGMENTS},
       {"span", MOE_ACT_SCHEDULE_SPAN},
       {"entry", MOE_ACT_SCHEDULE_ENTRY}}}},
    {"row_kind",
     {{{"dense", MOE_ACT_ROWS_DENSE},
       {"expanded_to_permuted", MOE_ACT_ROWS_EXPANDED_TO_PERMUTED},
       {"valid_prefix", MOE_ACT_ROWS_VALID_PREFIX},
       {"tile_limits", MOE_ACT_ROWS_TILE_LIMITS},
       {"row_to_expert", MOE_ACT_ROWS_ROW_TO_EXPERT},
       {"sorted_token_ids", MOE_ACT_ROWS_SORTED_TOKEN_IDS},
       {"expert_offsets", MOE_ACT_ROWS_EXPERT_OFFSETS},
       {"expert_ends", MOE_ACT_ROWS_EXPERT_ENDS},
       {"masked", MOE_ACT_ROWS_MASKED}}}},
};

// The option behind an argument, or null. Several arguments share one: "x_format" and "out_format" are formats.
constexpr const Option* find_option(std::string_view argument) {
  for (const Option& option : known_options)
    if (argument == option.name ||
        (argument.ends_with(option.name) && argument[argument.size() - option.name.size() - 1] == '_'))
      return &option;
  return nullptr;
}

// An argument with its option, looked up by the compiler, which accepts no other.
struct OptionArgument {
  const char* name;
  const Option* option;
  consteval OptionArgument(const char* argument) : name(argument), option(find_option(argument)) {
    if (option == nullptr) throw "no such option";
  }
};

// Throws Error unless the value is one of the option's. On the way of every launch.
void require_option(OptionArgument argument, std::int32_t value);

// Null if the value is not one of the option's.
const char* option_name(const char* option, std::int32_t value);

// The name in quotes, of a value that is one of the option's.
std::string quoted(const char* option, std::int32_t value);

// Throws Error listing the known names.
std::int32_t parse_option(const char* option, const char* name);

}  // namespace moe_act

#include "core/presets.hpp"

#include <cmath>

#include "core/error.hpp"
#include "core/options.hpp"
#include "core/text.hpp"

namespace moe_act {
namespace {

static_assert(MOE_ACT_PRODUCT_ROUNDING_NONE == static_cast<int>(ProductRounding::none));
static_assert(MOE_ACT_PRODUCT_ROUNDING_PRODUCT == static_cast<int>(ProductRounding::product));
static_assert(MOE_ACT_PRODUCT_ROUNDING_ACTIVATION_AND_PRODUCT ==
              static_cast<int>(ProductRounding::activation_and_product));
static_assert(MOE_ACT_QUANTIZATION_DIVIDE == static_cast<int>(Quantization::divide));
static_assert(MOE_ACT_QUANTIZATION_MULTIPLY == static_cast<int>(Quantization::multiply));
static_assert(MOE_ACT_QUANTIZATION_MULTIPLY_BF16 == static_cast<int>(Quantization::multiply_bf16));

// A peer's numerics; docs/contract.md has the same table.
struct Preset {
  std::int32_t preset;
  std::int32_t product_rounding;
  float smallest_amax;
  float smallest_scale;
  std::int32_t quantization;
  bool takes_fp32, takes_fp16, takes_e4m3;  // as x, beside bf16, which all do
};

constexpr Preset presets[] = {
    {MOE_ACT_PRESET_FLASHINFER, MOE_ACT_PRODUCT_ROUNDING_NONE, 0.0f, 0x1p-126f, MOE_ACT_QUANTIZATION_DIVIDE, true, true,
     true},
    {MOE_ACT_PRESET_DEEPGEMM, MOE_ACT_PRODUCT_ROUNDING_NONE, 1e-4f, 0x1p-126f, MOE_ACT_QUANTIZATION_MULTIPLY, true,
     true, true},
    {MOE_ACT_PRESET_VLLM_BLOCK, MOE_ACT_PRODUCT_ROUNDING_NONE, 0.0f, 1.0f / (448.0f * 512.0f),
     MOE_ACT_QUANTIZATION_DIVIDE, true, true, true},
    {MOE_ACT_PRESET_VLLM_MASKED, MOE_ACT_PRODUCT_ROUNDING_ACTIVATION_AND_PRODUCT, 1e-10f, 0x1p-126f,
     MOE_ACT_QUANTIZATION_MULTIPLY_BF16, false, false, false},
    {MOE_ACT_PRESET_SGLANG, MOE_ACT_PRODUCT_ROUNDING_ACTIVATION_AND_PRODUCT, 1e-10f, 0x1p-126f,
     MOE_ACT_QUANTIZATION_DIVIDE, false, true, false},
    {MOE_ACT_PRESET_LMDEPLOY, MOE_ACT_PRODUCT_ROUNDING_PRODUCT, 1e-6f, 0x1p-126f, MOE_ACT_QUANTIZATION_MULTIPLY, false,
     false, false},
    {MOE_ACT_PRESET_TE_MXFP8, MOE_ACT_PRODUCT_ROUNDING_PRODUCT, 0.0f, 0x1p-127f, MOE_ACT_QUANTIZATION_DIVIDE, true,
     true, false},
};

const Preset& preset_of(const moe_act_problem& problem) {
  for (const Preset& preset : presets)
    if (preset.preset == problem.preset) return preset;
  return presets[0];
}

}  // namespace

void resolve_numerics(moe_act_problem& problem) {
  if (problem.preset == MOE_ACT_PRESET_DEFAULT) problem.preset = MOE_ACT_PRESET_FLASHINFER;
  const Preset& preset = preset_of(problem);
  if (problem.product_rounding == MOE_ACT_PRODUCT_ROUNDING_DEFAULT) problem.product_rounding = preset.product_rounding;
  if (problem.quantization == MOE_ACT_QUANTIZATION_DEFAULT) problem.quantization = preset.quantization;
  if (problem.clamp_rounding == MOE_ACT_CLAMP_ROUNDING_DEFAULT) problem.clamp_rounding = MOE_ACT_CLAMP_ROUNDING_NONE;
  if (problem.smallest_amax == 0.0f) problem.smallest_amax = preset.smallest_amax;
  if (problem.smallest_scale == 0.0f) problem.smallest_scale = preset.smallest_scale;
  if (problem.preset == MOE_ACT_PRESET_TE_MXFP8) {
    if (problem.out_scale_format == MOE_ACT_FORMAT_NONE) problem.out_scale_format = MOE_ACT_FORMAT_UE8M0;
    if (problem.out_block == 0) problem.out_block = 32;
  }
}

void require_numerics(const moe_act_problem& problem) {
  require_option("preset", problem.preset);
  require_option("product_rounding", problem.product_rounding);
  require_option("quantization", problem.quantization);
  require_option("clamp_rounding", problem.clamp_rounding);
  const auto input = static_cast<Format>(problem.x_format);
  const Preset& preset = preset_of(problem);
  const bool taken = input == Format::bf16 || (input == Format::fp32 && preset.takes_fp32) ||
                     (input == Format::fp16 && preset.takes_fp16) || (input == Format::e4m3 && preset.takes_e4m3);
  const std::string got = std::string(", got ") + traits(input).name;
  if (!taken)
    invalid("preset", quoted("preset", problem.preset) + " expects x in bf16" + (preset.takes_fp16 ? ", fp16" : "") +
                          (preset.takes_fp32 ? ", fp32" : "") + got);
  if (problem.product_rounding != MOE_ACT_PRODUCT_ROUNDING_NONE && input == Format::e4m3)
    invalid("product_rounding", "products are rounded to the format of x: expected bf16, fp16 or fp32" + got);
  if (problem.clamp_rounding != MOE_ACT_CLAMP_ROUNDING_NONE && input == Format::e4m3)
    invalid("clamp_rounding", "gate and up are rounded to the format of x: expected bf16, fp16 or fp32" + got);
  if (!(problem.smallest_amax >= 0.0f && std::isfinite(problem.smallest_amax)))
    invalid("smallest_amax", "expected a finite number of at least 0, got " + number(problem.smallest_amax));
  const bool mxfp8 = problem.preset == MOE_ACT_PRESET_TE_MXFP8;
  if (!mxfp8 && !(problem.smallest_scale >= math::smallest_scale && problem.smallest_scale <= 0x1p126f))
    invalid("smallest_scale", "expected a number from 2^-126 to 2^126, got " + number(problem.smallest_scale));
  if (!mxfp8) return;
  if (problem.out_scaling != MOE_ACT_SCALING_BLOCK || problem.out_scale_format != MOE_ACT_FORMAT_UE8M0 ||
      problem.out_block != 32)
    invalid("preset", "'te_mxfp8' expects block scaling with ue8m0 scales of 32 columns, got out_scaling " +
                          quoted("out_scaling", problem.out_scaling) + ", " +
                          traits(static_cast<Format>(problem.out_scale_format)).name + " scales of " +
                          number(problem.out_block) + " columns");
  if (problem.quantization != MOE_ACT_QUANTIZATION_DIVIDE || problem.smallest_amax != 0.0f ||
      problem.smallest_scale != preset.smallest_scale)
    invalid("preset", "'te_mxfp8' expects its own quantization, smallest_amax and smallest_scale");
}

bool has_default_numerics(const moe_act_problem& problem) {
  const Preset& plain = presets[0];
  return problem.product_rounding == plain.product_rounding && problem.quantization == plain.quantization &&
         problem.smallest_amax == plain.smallest_amax && problem.smallest_scale == plain.smallest_scale;
}

Numerics numerics_of(const moe_act_problem& problem) {
  // A preset says how codes are made by scales of its own making; one that is given divides.
  const bool given = problem.out_scaling == MOE_ACT_SCALING_TENSOR;
  return {static_cast<ProductRounding>(problem.product_rounding),
          given ? Quantization::divide : static_cast<Quantization>(problem.quantization),
          problem.smallest_amax,
          problem.smallest_scale,
          problem.scale_rounding == MOE_ACT_SCALE_ROUNDING_POWER_OF_TWO,
          problem.preset == MOE_ACT_PRESET_TE_MXFP8};
}

}  // namespace moe_act

// Activations, parameters, bias, weights, copies and numerics that cannot be, one mutation of a good problem each.
#include <cmath>
#include <limits>

#include "refusals.hpp"

namespace {

using namespace refused;

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

void scalar(std::int32_t& from, float& field, float value) {
  from = MOE_ACT_PARAMETER_SCALAR;
  field = value;
}

void situ(moe_act_problem& problem, float gate_bound, float up_bound) {
  problem.activation = MOE_ACT_ACTIVATION_SITU;
  problem.gate_bound = gate_bound;
  problem.up_bound = up_bound;
}

void interleaved(moe_act_problem& problem, std::int32_t group) {
  problem.gate = MOE_ACT_GATE_INTERLEAVED;
  problem.interleave = group;
}

// Three experts with rows of their own and a bias for each.
void biased(moe_act_problem& problem) {
  problem.row_kind = MOE_ACT_ROWS_EXPERT_OFFSETS;
  problem.experts = problem.parameter_experts = 3;
  problem.bias_format = MOE_ACT_FORMAT_BF16;
  problem.bias_expert_stride = 384;
}

void weighed(moe_act_problem& problem) {
  problem.has_weight = 1;
  problem.weights = 4;
}

void copied(moe_act_problem& problem) {
  problem.unquantized_format = MOE_ACT_FORMAT_BF16;
  problem.unquantized_row_stride = 192;
}

void mxfp8(moe_act_problem& problem) {
  problem.x_format = MOE_ACT_FORMAT_BF16;
  problem.preset = MOE_ACT_PRESET_TE_MXFP8;
}

const Refusal activations[] = {
    {[](auto& p) { p.activation = -1; }, invalid, {"activation: ", "'swiglu'", "got value -1"}},
    {[](auto& p) { p.activation = MOE_ACT_ACTIVATION_RELU2, p.gate = MOE_ACT_GATE_FIRST_HALF; },
     invalid,
     {"gate: ", "'relu2' has no gate order", "got 'first_half'"}},
    {[](auto& p) { interleaved(p, 2); }, invalid, {"interleave: ", "1, 8 or 32", "got 2"}},
    {[](auto& p) { interleaved(p, -1); }, invalid, {"interleave: ", "1, 8 or 32", "got -1"}},
    {[](auto& p) { p.interleave = 8; }, invalid, {"interleave: ", "not 'interleaved'", "got 8"}},
    {[](auto& p) { interleaved(p, 32), p.columns = 80; }, invalid, {"interleave: ", "divisor of the 80", "got 32"}},
    {[](auto& p) { p.alpha_from = 3; }, invalid, {"alpha: ", "for each expert (2)", "got 3"}},
    {[](auto& p) { p.limit_from = -1; }, invalid, {"limit: ", "for each expert (2)", "got -1"}},
    {[](auto& p) { scalar(p.alpha_from, p.alpha, 0.0f); }, invalid, {"alpha: ", "other than 0", "got 0.0"}},
    {[](auto& p) { scalar(p.alpha_from, p.alpha, nan); }, invalid, {"alpha: ", "finite", "nan"}},
    {[](auto& p) { scalar(p.beta_from, p.beta, infinity); }, invalid, {"beta: ", "finite", "inf"}},
    {[](auto& p) { scalar(p.limit_from, p.limit, 0.0f); }, invalid, {"limit: ", "positive", "got 0.0"}},
    {[](auto& p) { scalar(p.limit_from, p.limit, -7.0f); }, invalid, {"limit: ", "positive", "got -7.0"}},
    {[](auto& p) { scalar(p.limit_from, p.limit, nan); }, invalid, {"limit: ", "positive", "nan"}},
    {[](auto& p) { p.beta = 1.0f; }, invalid, {"beta: ", "0 where it is not a scalar", "got 1.0"}},
    {[](auto& p) { p.limit = nan; }, invalid, {"limit: ", "0 where it is not a scalar", "nan"}},
    {[](auto& p) { p.activation = MOE_ACT_ACTIVATION_GEGLU, scalar(p.alpha_from, p.alpha, 1.0f); },
     invalid,
     {"alpha: ", "'geglu' takes none"}},
    {[](auto& p) { p.activation = MOE_ACT_ACTIVATION_SWIGLU_STEP, scalar(p.beta_from, p.beta, 1.0f); },
     invalid,
     {"beta: ", "'swiglu_step' takes none"}},
    {[](auto& p) { p.activation = MOE_ACT_ACTIVATION_SILU, scalar(p.limit_from, p.limit, 1.0f); },
     invalid,
     {"limit: ", "'silu' takes none"}},
    {[](auto& p) { situ(p, 0.0f, 1.0f); }, invalid, {"gate_bound: ", "positive", "got 0.0"}},
    {[](auto& p) { situ(p, infinity, 1.0f); }, invalid, {"gate_bound: ", "positive", "inf"}},
    {[](auto& p) { situ(p, 1e-40f, 1.0f); }, invalid, {"gate_bound: ", "from 2^-126 to 2^125"}},
    {[](auto& p) { situ(p, 1.0f, 1e38f); }, invalid, {"up_bound: ", "from 2^-126 to 2^125"}},
    {[](auto& p) { situ(p, 1.0f, -1.0f); }, invalid, {"up_bound: ", "positive", "got -1.0"}},
    {[](auto& p) { situ(p, 1.0f, nan); }, invalid, {"up_bound: ", "positive", "nan"}},
    {[](auto& p) { p.gate_bound = 1.0f; }, invalid, {"gate_bound: ", "only 'situ' has bounds", "got 1.0"}},
    {[](auto& p) { p.up_bound = nan; }, invalid, {"up_bound: ", "only 'situ' has bounds"}},
};

const Refusal experts[] = {
    {[](auto& p) { biased(p), p.bias_format = MOE_ACT_FORMAT_FP16; }, invalid, {"bias: ", "fp32 or bf16", "format 2"}},
    {[](auto& p) { biased(p), p.bias_format = 99; }, invalid, {"bias: ", "fp32 or bf16", "format 99"}},
    {[](auto& p) { biased(p), p.parameter_experts = 0; }, invalid, {"bias: ", "at least one expert", "got 0"}},
    {[](auto& p) { biased(p), p.parameter_experts = 2; }, invalid, {"bias: ", "each of the 3 experts", "got 2"}},
    {[](auto& p) { biased(p), p.row_kind = MOE_ACT_ROWS_DENSE, p.experts = 0; },
     invalid,
     {"bias: ", "'dense', which do not say whose they are", "expected tile_to_expert"}},
    {[](auto& p) { biased(p), p.bias_expert_stride = 383; }, invalid, {"bias: ", "at least 384", "got 383"}},
    {[](auto& p) { biased(p), p.bias_expert_stride = huge; }, invalid, {"bias: ", "exceeds the address space"}},
    {[](auto& p) { biased(p), p.bias_alignment = 3; }, invalid, {"bias: ", "power of two", "got 3"}},
    {[](auto& p) { biased(p), p.bias_alignment = 16, p.bias_expert_stride = 386; },
     invalid,
     {"bias: ", "16 bytes does not hold", "386 elements"}},
    {[](auto& p) { p.parameter_experts = 3; }, invalid, {"parameter_experts: ", "expected 0", "got 3"}},
    {[](auto& p) { p.parameter_experts = -3; }, invalid, {"parameter_experts: ", "expected 0", "got -3"}},
    {[](auto& p) { p.parameter_experts = huge; }, invalid, {"parameter_experts: ", "at most 2^53"}},
    {[](auto& p) { p.alpha_from = MOE_ACT_PARAMETER_PER_EXPERT, p.parameter_experts = 3; },
     invalid,
     {"alpha: ", "'dense', which do not say", "expected tile_to_expert"}},
    {[](auto& p) { p.limit_from = MOE_ACT_PARAMETER_PER_EXPERT; },
     invalid,
     {"limit: ", "at least one expert", "got 0"}},
    {[](auto& p) { p.expert_tiles = -1; }, invalid, {"tile_to_expert: ", "at least 0 tiles", "got -1"}},
    {[](auto& p) { biased(p), p.expert_tiles = p.tile_tokens = 2; },
     invalid,
     {"tile_to_expert: ", "expected none", "'expert_offsets', which say themselves whose they are"}},
};

const Refusal weights[] = {
    {[](auto& p) { p.weights = 4; }, invalid, {"weight: ", "0 weights where there are none", "got 4"}},
    {[](auto& p) { weighed(p), p.weights = 3; }, invalid, {"weight: ", "expected 4 weights", "got 3"}},
    {[](auto& p) { weighed(p), p.weights = -4; }, invalid, {"weight: ", "expected 4 weights", "got -4"}},
    {[](auto& p) { weighed(p), p.weights = huge; }, invalid, {"weights: ", "at most 2^53"}},
    {[](auto& p) { p.permuted_to_expanded_bits = 32; }, invalid, {"permuted_to_expanded: ", "there is no weight"}},
    {[](auto& p) { weighed(p), p.permuted_to_expanded_bits = 16; },
     invalid,
     {"permuted_to_expanded: ", "32 or 64", "got 16"}},
    {[](auto& p) { weighed(p), p.permuted_to_expanded_bits = 64; },
     invalid,
     {"permuted_to_expanded: ", "'dense', which say themselves", "expected none"}},
    {[](auto& p) { weighed(p), p.row_kind = MOE_ACT_ROWS_EXPERT_OFFSETS; },
     invalid,
     {"weight: ", "'expert_offsets', which do not say", "expected permuted_to_expanded"}},
    {[](auto& p) {
       weighed(p);
       p.row_kind = MOE_ACT_ROWS_EXPERT_OFFSETS;
       p.permuted_to_expanded_bits = 32;
       p.weights = -1;
     },
     invalid,
     {"weight: ", "got -1"}},
    {[](auto& p) {
       weighed(p);
       p.row_kind = MOE_ACT_ROWS_SORTED_TOKEN_IDS;
       p.entries = 4;
       p.num_valid_ids = 5;
     },
     invalid,
     {"weight: ", "at least 5 weights", "got 4"}},
};

const Refusal copies[] = {
    {[](auto& p) { copied(p), p.unquantized_format = MOE_ACT_FORMAT_E4M3; },
     invalid,
     {"out_unquantized: ", "fp32, fp16 or bf16", "format 4"}},
    {[](auto& p) { copied(p), p.unquantized_format = -1; }, invalid, {"out_unquantized: ", "format -1"}},
    {[](auto& p) { copied(p), plain(p, MOE_ACT_FORMAT_FP16); },
     invalid,
     {"out_unquantized: ", "fp16 is not quantized itself"}},
    {[](auto& p) { copied(p), p.unquantized_row_stride = 191; }, invalid, {"out_unquantized: ", "at least 192"}},
    {[](auto& p) { copied(p), p.unquantized_row_stride = huge; }, invalid, {"out_unquantized: ", "address space"}},
    {[](auto& p) { copied(p), p.unquantized_alignment = 1; }, invalid, {"out_unquantized: ", "at least 2 bytes"}},
    {[](auto& p) { copied(p), p.unquantized_alignment = 16, p.unquantized_row_stride = 196; },
     invalid,
     {"out_unquantized: ", "16 bytes does not hold"}},
    {[](auto& p) {
       copied(p);
       p.row_kind = MOE_ACT_ROWS_MASKED;
       p.experts = 2;
       p.unquantized_expert_stride = 4 * 192 - 1;
     },
     invalid,
     {"out_unquantized: ", "experts at least 768", "got 767"}},
};

const Refusal numerics[] = {
    {[](auto& p) { p.preset = 99; }, invalid, {"preset: ", "'flashinfer'", "got value 99"}},
    {[](auto& p) { p.preset = -1; }, invalid, {"preset: ", "got value -1"}},
    {[](auto& p) { p.product_rounding = 9; }, invalid, {"product_rounding: ", "'product'", "got value 9"}},
    {[](auto& p) { p.quantization = 9; }, invalid, {"quantization: ", "'divide'", "got value 9"}},
    {[](auto& p) { p.clamp_rounding = 9; }, invalid, {"clamp_rounding: ", "'input'", "got value 9"}},
    {[](auto& p) { p.preset = MOE_ACT_PRESET_SGLANG; },
     invalid,
     {"preset: ", "'sglang' expects x in bf16", "got e4m3"}},
    {[](auto& p) { p.preset = MOE_ACT_PRESET_VLLM_MASKED, p.x_format = MOE_ACT_FORMAT_FP32; },
     invalid,
     {"preset: ", "'vllm_masked' expects x in bf16", "got fp32"}},
    {[](auto& p) { p.product_rounding = MOE_ACT_PRODUCT_ROUNDING_PRODUCT; },
     invalid,
     {"product_rounding: ", "bf16, fp16 or fp32", "got e4m3"}},
    {[](auto& p) { p.clamp_rounding = MOE_ACT_CLAMP_ROUNDING_INPUT; },
     invalid,
     {"clamp_rounding: ", "bf16, fp16 or fp32", "got e4m3"}},
    {[](auto& p) { p.smallest_amax = -1.0f; }, invalid, {"smallest_amax: ", "at least 0", "got -1.0"}},
    {[](auto& p) { p.smallest_amax = nan; }, invalid, {"smallest_amax: ", "finite", "nan"}},
    {[](auto& p) { p.smallest_amax = infinity; }, invalid, {"smallest_amax: ", "finite", "inf"}},
    {[](auto& p) { p.smallest_scale = 0x1p-127f; }, invalid, {"smallest_scale: ", "2^-126 to 2^126"}},
    {[](auto& p) { p.smallest_scale = nan; }, invalid, {"smallest_scale: ", "2^-126 to 2^126", "nan"}},
    {[](auto& p) { mxfp8(p), p.out_scaling = MOE_ACT_SCALING_ROW; },
     invalid,
     {"preset: ", "'te_mxfp8' expects block scaling", "got out_scaling 'row'"}},
    {[](auto& p) { mxfp8(p), p.out_block = 128; }, invalid, {"preset: ", "'te_mxfp8'", "scales of 128 columns"}},
    {[](auto& p) { mxfp8(p), p.out_scale_format = MOE_ACT_FORMAT_FP32; }, invalid, {"preset: ", "fp32 scales of 32"}},
    {[](auto& p) { mxfp8(p), p.quantization = MOE_ACT_QUANTIZATION_MULTIPLY; }, invalid, {"preset: ", "its own"}},
    {[](auto& p) { mxfp8(p), plain(p, MOE_ACT_FORMAT_BF16); }, invalid, {"preset: ", "got out_scaling 'none'"}},
};

TEST("activations and their parameters that cannot be") {
  check_refused(activations);
}

TEST("bias and parameters whose experts cannot be") {
  check_refused(experts);
}

TEST("weights that cannot be") {
  check_refused(weights);
}

TEST("unquantized copies that cannot be") {
  check_refused(copies);
}

TEST("numerics that cannot be") {
  check_refused(numerics);
}

}  // namespace

// The C++ wrapper, through the shared library.
#include <array>
#include <cstddef>
#include <initializer_list>
#include <type_traits>
#include <utility>

#include "check.hpp"
#include "moe_act/moe_act.hpp"

namespace {

using namespace moe_act;

static_assert(!std::is_copy_constructible_v<Plan> && !std::is_copy_assignable_v<Plan>);
static_assert(std::is_nothrow_move_constructible_v<Plan> && std::is_nothrow_move_assignable_v<Plan>);

// The wrapper's Buffers and Tensors become the C structs bit by bit.
#define SAME_PLACE(type, c_type, member) static_assert(offsetof(type, member) == offsetof(c_type, member))
SAME_PLACE(Buffers, moe_act_buffers, x);
SAME_PLACE(Buffers, moe_act_buffers, x_scale);
SAME_PLACE(Buffers, moe_act_buffers, out);
SAME_PLACE(Buffers, moe_act_buffers, out_scale);
SAME_PLACE(Buffers, moe_act_buffers, static_scale);
SAME_PLACE(Buffers, moe_act_buffers, row_index);
SAME_PLACE(Buffers, moe_act_buffers, total_num_padded_tokens);
SAME_PLACE(Buffers, moe_act_buffers, row_count);
SAME_PLACE(Tensors, moe_act_tensors, x);
SAME_PLACE(Tensors, moe_act_tensors, x_scale);
SAME_PLACE(Tensors, moe_act_tensors, out);
SAME_PLACE(Tensors, moe_act_tensors, out_scale);
SAME_PLACE(Tensors, moe_act_tensors, static_scale);
SAME_PLACE(Tensors, moe_act_tensors, row_index);
SAME_PLACE(Tensors, moe_act_tensors, total_num_padded_tokens);
SAME_PLACE(Tensors, moe_act_tensors, row_count);
SAME_PLACE(Tensors, moe_act_tensors, bias);
SAME_PLACE(Tensors, moe_act_tensors, weight);
SAME_PLACE(Tensors, moe_act_tensors, tile_to_expert);
SAME_PLACE(Tensors, moe_act_tensors, out_unquantized);
SAME_PLACE(Buffers, moe_act_buffers, bias);
SAME_PLACE(Buffers, moe_act_buffers, limit);
SAME_PLACE(Buffers, moe_act_buffers, permuted_to_expanded);
SAME_PLACE(Buffers, moe_act_buffers, out_unquantized);

template <typename Expected, typename Body>
void check_throws(const char* words, Body body) {
  try {
    body();
    CHECK(false, "no exception, expected ", words);
  } catch (const Expected& error) {
    CHECK_CONTAINS(error.what(), words);
  }
}

template <typename Enum>
void check_names(const char* option, std::initializer_list<std::pair<Enum, const char*>> values) {
  int named = 0;
  for (std::int32_t i = 1; i < 20; ++i) named += moe_act_option_name(option, i) != nullptr ? 1 : 0;
  CHECK_EQUAL(values.size(), named, option);
  for (const auto& [value, name] : values) {
    const char* known = moe_act_option_name(option, static_cast<std::int32_t>(value));
    CHECK_EQUAL(std::string(known == nullptr ? "(none)" : known), name, option);
  }
}

TEST("the enum classes are the C enums") {
  check_names<Format>("format", {{Format::fp32, "fp32"},
                                 {Format::fp16, "fp16"},
                                 {Format::bf16, "bf16"},
                                 {Format::e4m3, "e4m3"},
                                 {Format::e5m2, "e5m2"},
                                 {Format::e2m1, "e2m1"}});
  CHECK_EQUAL(static_cast<int>(Format::ue8m0), static_cast<int>(MOE_ACT_FORMAT_UE8M0));
  check_names<Scaling>(
      "out_scaling",
      {{Scaling::none, "none"}, {Scaling::block, "block"}, {Scaling::tensor, "tensor"}, {Scaling::row, "row"}});
  check_names<ScaleLayout>("x_scale_layout", {{ScaleLayout::column_major, "column_major"},
                                              {ScaleLayout::row_major, "row_major"},
                                              {ScaleLayout::tma_column_major, "tma_column_major"},
                                              {ScaleLayout::packed_ue8m0, "packed_ue8m0"},
                                              {ScaleLayout::swizzled_128x4, "swizzled_128x4"}});
  check_names<ScaleRounding>("scale_rounding",
                             {{ScaleRounding::none, "none"}, {ScaleRounding::power_of_two, "power_of_two"}});
  check_names<SortedRows>("sorted_rows", {{SortedRows::position, "position"}, {SortedRows::id, "id"}});
  check_names<RowKind>("row_kind", {{RowKind::dense, "dense"},
                                    {RowKind::expanded_to_permuted, "expanded_to_permuted"},
                                    {RowKind::valid_prefix, "valid_prefix"},
                                    {RowKind::tile_limits, "tile_limits"},
                                    {RowKind::row_to_expert, "row_to_expert"},
                                    {RowKind::sorted_token_ids, "sorted_token_ids"},
                                    {RowKind::expert_offsets, "expert_offsets"},
                                    {RowKind::expert_ends, "expert_ends"},
                                    {RowKind::masked, "masked"}});
  check_names<Gate>(
      "gate",
      {{Gate::second_half, "second_half"}, {Gate::first_half, "first_half"}, {Gate::interleaved, "interleaved"}});
  check_names<Activation>("activation", {{Activation::swiglu, "swiglu"},
                                         {Activation::swiglu_step, "swiglu_step"},
                                         {Activation::geglu, "geglu"},
                                         {Activation::geglu_tanh, "geglu_tanh"},
                                         {Activation::reglu, "reglu"},
                                         {Activation::situ, "situ"},
                                         {Activation::silu, "silu"},
                                         {Activation::gelu, "gelu"},
                                         {Activation::gelu_tanh, "gelu_tanh"},
                                         {Activation::relu, "relu"},
                                         {Activation::relu2, "relu2"}});
  check_names<Preset>("preset", {{Preset::flashinfer, "flashinfer"},
                                 {Preset::deepgemm, "deepgemm"},
                                 {Preset::vllm_block, "vllm_block"},
                                 {Preset::vllm_masked, "vllm_masked"},
                                 {Preset::sglang, "sglang"},
                                 {Preset::lmdeploy, "lmdeploy"},
                                 {Preset::te_mxfp8, "te_mxfp8"}});
  check_names<ProductRounding>("product_rounding",
                               {{ProductRounding::none, "none"},
                                {ProductRounding::product, "product"},
                                {ProductRounding::activation_and_product, "activation_and_product"}});
  check_names<Quantization>("quantization", {{Quantization::divide, "divide"},
                                             {Quantization::multiply, "multiply"},
                                             {Quantization::multiply_bf16, "multiply_bf16"}});
  check_names<ClampRounding>("clamp_rounding", {{ClampRounding::none, "none"}, {ClampRounding::input, "input"}});
  check_names<Padding>("padding", {{Padding::skip, "skip"}, {Padding::zero, "zero"}});
  check_names<Pdl>("pdl", {{Pdl::off, "off"}, {Pdl::on, "on"}, {Pdl::metadata_ready, "metadata_ready"}});
}

TEST("a problem is contiguous on the CPU until it is told otherwise") {
  Problem problem = Problem::contiguous(Format::e4m3, Format::e4m3, 40, 192);
  CHECK_EQUAL(problem.device_type, static_cast<int>(MOE_ACT_DEVICE_CPU));
  CHECK_EQUAL(problem.x_row_stride, 384);
  CHECK_EQUAL(problem.x_scale_stride, 40);
  problem.on_cuda(3).rows_of_map(320).expect_rows(17).set(Gate::first_half).set(Pdl::on).set(Padding::skip);
  CHECK_EQUAL(problem.device_type, static_cast<int>(MOE_ACT_DEVICE_CUDA));
  CHECK_EQUAL(problem.device_id, 3);
  CHECK_EQUAL(problem.row_kind, static_cast<int>(MOE_ACT_ROWS_EXPANDED_TO_PERMUTED));
  CHECK_EQUAL(problem.entries, 320);
  CHECK_EQUAL(problem.expected_rows, 17);
  CHECK_EQUAL(problem.gate, static_cast<int>(MOE_ACT_GATE_FIRST_HALF));
  CHECK_EQUAL(problem.pdl, static_cast<int>(MOE_ACT_PDL_ON));
  problem.scales_of_x(ScaleLayout::row_major).scales_of_out(ScaleLayout::row_major);
  CHECK_EQUAL(problem.x_scale_stride, 3);
  CHECK_EQUAL(problem.out_scale_stride, 2);
  problem.scale_strides_on_device();
  CHECK_EQUAL(problem.x_scale_layout, static_cast<int>(MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR));
  CHECK_EQUAL(problem.out_scale_stride, MOE_ACT_STRIDE_ON_DEVICE);
  problem.scales_of_out(ScaleLayout::column_major).set(Scaling::tensor).set(Activation::swiglu);
  CHECK_EQUAL(problem.out_scale_stride, 40);
}

TEST("a row through a plan, and the plan through a move") {
  // sigmoid(32) is 1 in fp32: out = 32 * up.
  alignas(16) const std::array<float, 8> x = {14, -7, 0.5, 3, 32, 32, 32, 0};
  alignas(16) std::array<float, 4> out = {};
  Plan plan(Problem::contiguous(Format::fp32, Format::fp32, 1, 4));
  const Buffers buffers{.x = x.data(), .out = out.data()};
  plan.validate(buffers);
  plan.launch(buffers);
  CHECK(out == (std::array<float, 4>{448, -224, 16, 0}));
  CHECK_EQUAL(plan.info().workspace_bytes, 0);
  CHECK_EQUAL(plan.problem().columns, 4);
  CHECK_CONTAINS(plan.text(), "CPU");

  out = {};
  const Plan moved = std::move(plan);
  moved.launch(buffers);
  CHECK_EQUAL(out[0], 448.0f);
  check_throws<InvalidProblem>("plan: expected a plan, got null", [&] { plan.launch(buffers); });
}

TEST("a plan for a device that is not there") {
  Problem problem = Problem::contiguous(Format::bf16, Format::e4m3, 4096, 2048);
  const DeviceInfo h100(132, 9, 0, 50 << 20);
  const Plan plan(problem.on_cuda(0).set(Pdl::on), h100);
  CHECK(plan.info().grid_x > 0);
  CHECK_CONTAINS(plan.text(), "132 SMs");
  check_throws<Unsupported>("pdl: ", [&] { Plan(problem, DeviceInfo(108, 8, 0, 40 << 20)); });
}

TEST("every status has its exception, all of them an Error") {
  Problem problem = Problem::contiguous(Format::bf16, Format::e4m3, 4, 128);
  check_throws<InvalidProblem>("columns: expected at least 1",
                               [] { Plan(Problem::contiguous(Format::bf16, Format::bf16, 1, 0)); });
  check_throws<Unsupported>("x: e5m2 input has no kernel",
                            [] { Plan(Problem::contiguous(Format::e5m2, Format::bf16, 1, 1)); });
  check_throws<Error>("pdl: ", [&] { Plan(problem.set(Pdl::on)); });
  check_throws<InvalidProblem>("gate: the plan was made for", [] {
    Problem other = Problem::contiguous(Format::fp32, Format::fp32, 1, 4);
    Plan(other).require_accepts(Problem(other).set(Gate::first_half));
  });
  check_throws<WrongType>("", [] { detail::check(MOE_ACT_WRONG_TYPE); });
  check_throws<CudaError>("", [] { detail::check(MOE_ACT_CUDA_ERROR); });
  check_throws<InternalError>("", [] { detail::check(MOE_ACT_INTERNAL_ERROR); });
  if (cuda_device_count() == 0) check_throws<Error>("", [] { device_info(0); });
}

struct Tensor : moe_act_tensor {
  std::array<std::int64_t, 2> sizes;

  Tensor(void* pointer, std::uint8_t code, std::uint8_t bits, std::int64_t rows, std::int64_t columns = 0)
      : moe_act_tensor{}, sizes{rows, columns} {
    data = pointer;
    device_type = MOE_ACT_DEVICE_CPU;
    dtype_code = code;
    dtype_bits = bits;
    dtype_lanes = 1;
    ndim = columns == 0 ? 1 : 2;
    shape = sizes.data();
  }
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;
};

constexpr std::uint8_t dlpack_int = 0, dlpack_uint = 1, dlpack_float = 2;

TEST("tensors and options are described as the problem they are") {
  alignas(16) std::uint8_t x_data[4 * 256] = {};
  alignas(16) std::uint8_t out_data[4 * 128] = {};
  float x_scale_data[2 * 4] = {}, static_scale_data[1] = {1};
  std::int32_t map_data[6] = {-1, -1, -1, -1, -1, -1}, total_data[1] = {4};
  const Tensor x(x_data, dlpack_uint, 8, 4, 256), out(out_data, dlpack_uint, 8, 4, 128);
  const Tensor x_scale(x_scale_data, dlpack_float, 32, 2 * 4), static_scale(static_scale_data, dlpack_float, 32, 1);
  const Tensor map(map_data, dlpack_int, 32, 3, 2), total(total_data, dlpack_int, 32, 1);

  const Description all = describe({.x = &x,
                                    .x_scale = &x_scale,
                                    .out = &out,
                                    .static_scale = &static_scale,
                                    .row_index = &map,
                                    .total_num_padded_tokens = &total},
                                   {.x_format = Format::e4m3, .gate = Gate::first_half, .expected_rows = 0});
  CHECK_EQUAL(all.problem.out_scaling, static_cast<int>(MOE_ACT_SCALING_TENSOR));
  CHECK_EQUAL(all.problem.gate, static_cast<int>(MOE_ACT_GATE_FIRST_HALF));
  CHECK_EQUAL(all.problem.entries, 6);
  CHECK_EQUAL(all.problem.expected_rows, 0);
  CHECK_EQUAL(all.problem.x_scale_stride, MOE_ACT_STRIDE_ON_DEVICE);
  CHECK_EQUAL(all.buffers.x, x_data);
  CHECK_EQUAL(all.buffers.x_scale, x_scale_data);
  CHECK_EQUAL(all.buffers.out, static_cast<void*>(out_data));
  CHECK_EQUAL(all.buffers.out_scale, nullptr);
  CHECK_EQUAL(all.buffers.static_scale, static_scale_data);
  CHECK_EQUAL(all.buffers.row_index, map_data);
  CHECK_EQUAL(all.buffers.total_num_padded_tokens, total_data);
  const Plan plan(all.problem);
  plan.validate(all.buffers);
  plan.launch(all.buffers);

  // What an engine fills in itself is the same problem.
  const Tensor bf16(x_data, 4, 16, 4, 128);
  Plan(Problem::contiguous(Format::bf16, Format::e4m3, 4, 64)).require_accepts(describe({.x = &bf16}).problem);
}

TEST("what tensors cannot be is refused by type and name") {
  alignas(16) std::uint8_t data[4 * 256] = {};
  const Tensor bytes(data, dlpack_uint, 8, 4, 256);
  check_throws<WrongType>("x: expected", [&] { describe({}); });
  check_throws<WrongType>("x: expected float32, float16, bfloat16 or float8_e4m3fn", [&] { describe({.x = &bytes}); });
  check_throws<InvalidProblem>("x_scale: expected a tensor, got none",
                               [&] { describe({.x = &bytes}, {.x_format = Format::e4m3}); });
  // Numbers that are no format at all, from a caller with another header.
  check_throws<InvalidProblem>("x_format: expected one of",
                               [&] { describe({.x = &bytes}, {.x_format = static_cast<Format>(99)}); });
  const Tensor bf16(data, 4, 16, 4, 128);
  check_throws<InvalidProblem>("out_format: expected one of",
                               [&] { describe({.x = &bf16}, {.out_format = static_cast<Format>(-5)}); });
}

}  // namespace

// moe_act for C++20: the C interface with RAII, exceptions and enum classes. Header-only, no CUDA header needed.
//
//     auto problem = moe_act::Problem::contiguous(moe_act::Format::bf16, moe_act::Format::e4m3, rows, columns);
//     const moe_act::Plan plan(problem.on_cuda(0));
//     plan.launch({.x = x, .out = out, .out_scale = out_scale}, stream);
//
// Shapes are written [rows, columns]; H is the number of output columns. Strides are in elements. Every failure throws
// a moe_act::Error. What is not wrapped here (names of options, CPU levels) is a plain call of moe_act/c_api.h.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "moe_act/c_api.h"

namespace moe_act {

// What the values mean is said at the C enums, which these are.
enum class Format { fp32 = 1, fp16 = 2, bf16 = 3, e4m3 = 4, e5m2 = 5, e2m1 = 6, ue8m0 = 7 };
enum class Scaling { none = 1, block = 2, tensor = 3, row = 4 };
enum class ScaleLayout { column_major = 1, row_major = 2, tma_column_major = 3, packed_ue8m0 = 4, swizzled_128x4 = 5 };
enum class ScaleRounding { none = 1, power_of_two = 2 };
enum class RowKind {
  dense = 1,
  expanded_to_permuted = 2,
  valid_prefix = 3,
  tile_limits = 4,
  row_to_expert = 5,
  sorted_token_ids = 6,
  expert_offsets = 7,
  expert_ends = 8,
  masked = 9,
};
enum class SortedRows { position = 1, id = 2 };
enum class Gate { second_half = 1, first_half = 2, interleaved = 3 };
enum class Activation {
  swiglu = 1,
  swiglu_step = 2,
  geglu = 3,
  geglu_tanh = 4,
  reglu = 5,
  situ = 6,
  silu = 7,  // from here on x is [rows, H]
  gelu = 8,
  gelu_tanh = 9,
  relu = 10,
  relu2 = 11,
};
enum class Preset {
  flashinfer = 1,
  deepgemm = 2,
  vllm_block = 3,
  vllm_masked = 4,
  sglang = 5,
  lmdeploy = 6,
  te_mxfp8 = 7,
};
enum class ProductRounding { none = 1, product = 2, activation_and_product = 3 };
enum class Quantization { divide = 1, multiply = 2, multiply_bf16 = 3 };
enum class ClampRounding { none = 1, input = 2 };
enum class Padding { skip = 1, zero = 2 };
enum class Pdl { off = 1, on = 2, metadata_ready = 3 };

// What failed, in one line that names the argument, what it was and what was expected.
class Error : public std::runtime_error {
  using std::runtime_error::runtime_error;
};
template <moe_act_status status>
class ErrorOf : public Error {
  using Error::Error;
};
using InvalidProblem = ErrorOf<MOE_ACT_INVALID_PROBLEM>;  // a value, shape, alignment or combination that cannot be
using Unsupported = ErrorOf<MOE_ACT_UNSUPPORTED>;         // meaningful, but this build or device has no kernel for it
using CudaError = ErrorOf<MOE_ACT_CUDA_ERROR>;            // reported by the CUDA runtime
using WrongType = ErrorOf<MOE_ACT_WRONG_TYPE>;            // a tensor of another element type than the argument takes
using InternalError = ErrorOf<MOE_ACT_INTERNAL_ERROR>;    // out of host memory, or a defect of the library

namespace detail {

inline void check(moe_act_status status) {
  if (status == MOE_ACT_OK) return;
  if (status == MOE_ACT_INVALID_PROBLEM) throw InvalidProblem(moe_act_last_error());
  if (status == MOE_ACT_UNSUPPORTED) throw Unsupported(moe_act_last_error());
  if (status == MOE_ACT_CUDA_ERROR) throw CudaError(moe_act_last_error());
  if (status == MOE_ACT_WRONG_TYPE) throw WrongType(moe_act_last_error());
  throw InternalError(moe_act_last_error());
}

// A struct of the C interface that says its size, everything else zero.
template <typename Struct>
Struct sized() {
  Struct value{};
  value.struct_size = sizeof(Struct);
  return value;
}

template <typename Enum>
std::int32_t value_or_default(const std::optional<Enum>& option) {
  return option ? static_cast<std::int32_t>(*option) : 0;
}

}  // namespace detail

// What to compute, pointer-free: moe_act_problem, its fields open, with names for the usual ways to fill them.
struct Problem : moe_act_problem {
  explicit Problem(const moe_act_problem& problem) : moe_act_problem(problem) {}

  // Dense rows on the CPU, x [rows, 2H] to out [rows, H], all contiguous, scales column major, e4m3 output block
  // scaled, every pointer aligned to 16 bytes as far as its rows are. The calls below state what differs.
  static Problem contiguous(Format x, Format out, std::int64_t rows, std::int64_t columns) {
    moe_act_problem problem;
    detail::check(
        moe_act_problem_init(&problem, static_cast<std::int32_t>(x), static_cast<std::int32_t>(out), rows, columns));
    return Problem(problem);
  }

  Problem& on_cuda(std::int32_t device) { return put(device_type, MOE_ACT_DEVICE_CUDA).put(device_id, device); }
  // The rows are those named by an int32 map [entries], expanded_idx_to_permuted_idx; -1 is skipped.
  Problem& rows_of_map(std::int64_t count) {
    return put(row_kind, MOE_ACT_ROWS_EXPANDED_TO_PERMUTED).put(entries, count);
  }
  // Other conventions; what each means is said at moe_act_row_kind. Indices and counts are int32 unless set otherwise.
  Problem& rows_of_prefix() { return put(row_kind, RowKind::valid_prefix); }
  Problem& rows_of_tiles(std::int64_t tiles, std::int64_t tokens) {
    return put(row_kind, RowKind::tile_limits).put(entries, tiles).put(tile_tokens, tokens);
  }
  Problem& rows_of_experts() { return put(row_kind, RowKind::row_to_expert).put(entries, rows); }
  Problem& rows_of_sorted_ids(std::int64_t positions, std::int64_t valid_ids, SortedRows buffer_row) {
    put(row_kind, RowKind::sorted_token_ids).put(entries, positions);
    return put(num_valid_ids, valid_ids).put(sorted_rows, buffer_row);
  }
  Problem& rows_of_offsets(std::int64_t expert_count) {
    return put(row_kind, RowKind::expert_offsets).put(experts, expert_count);
  }
  Problem& rows_of_ends(std::int64_t expert_count, std::int64_t alignment) {
    return put(row_kind, RowKind::expert_ends).put(experts, expert_count).put(expert_alignment, alignment);
  }
  // Every buffer has a part for each expert, one directly after the other; state it before the scales' layouts.
  Problem& rows_masked(std::int64_t expert_count) {
    put(row_kind, RowKind::masked).put(experts, expert_count);
    put(x_expert_stride, rows * x_row_stride).put(out_expert_stride, rows * out_row_stride);
    scales_of_x(static_cast<ScaleLayout>(x_scale_layout), x_block);
    return scales_of_out(static_cast<ScaleLayout>(out_scale_layout), out_block);
  }
  Problem& index_of(std::int32_t bits) { return put(index_bits, bits).put(count_bits, bits); }
  // Bytes that launches may ask for: large problems run faster with some, see Plan::info().workspace_bytes.
  Problem& allow_workspace(std::int64_t bytes) { return put(workspace_limit, bytes); }
  Problem& expect_rows(std::int64_t count) { return put(expected_rows, count); }  // a hint, never a limit
  Problem& set(Gate value) { return put(gate, value); }
  // Without a gate x is [rows, H]: state it before the scales' layouts.
  Problem& set(Activation value) {
    if (value >= Activation::silu) put(x_row_stride, columns);
    return put(activation, value);
  }
  Problem& set(Preset value) { return put(preset, value); }
  Problem& set(ProductRounding value) { return put(product_rounding, value); }
  Problem& set(Quantization value) { return put(quantization, value); }
  Problem& set(ClampRounding value) { return put(clamp_rounding, value); }
  // Gate and up take turns, so many columns of each.
  Problem& interleaved_by(std::int32_t group) { return set(Gate::interleaved).put(interleave, group); }
  // One number for all rows; the per-expert calls below are for buffers [experts] instead.
  Problem& alpha_of(float value) { return put(alpha_from, MOE_ACT_PARAMETER_SCALAR).put(alpha, value); }
  Problem& beta_of(float value) { return put(beta_from, MOE_ACT_PARAMETER_SCALAR).put(beta, value); }
  Problem& limit_of(float value) { return put(limit_from, MOE_ACT_PARAMETER_SCALAR).put(limit, value); }
  Problem& bounds_of(float gate_value, float up_value) { return put(gate_bound, gate_value).put(up_bound, up_value); }
  Problem& alpha_per_expert(std::int64_t count) {
    return put(alpha_from, MOE_ACT_PARAMETER_PER_EXPERT).put(parameter_experts, count);
  }
  Problem& beta_per_expert(std::int64_t count) {
    return put(beta_from, MOE_ACT_PARAMETER_PER_EXPERT).put(parameter_experts, count);
  }
  Problem& limit_per_expert(std::int64_t count) {
    return put(limit_from, MOE_ACT_PARAMETER_PER_EXPERT).put(parameter_experts, count);
  }
  // A bias [experts, columns of x], fp32 or bf16, compact and aligned to `alignment` bytes.
  Problem& bias_of(Format format, std::int64_t count, std::int32_t alignment) {
    const bool gated = activation < static_cast<std::int32_t>(Activation::silu);
    put(bias_format, format).put(bias_alignment, alignment).put(bias_expert_stride, gated ? 2 * columns : columns);
    return put(parameter_experts, count);
  }
  // Routing weights, applied here: the rows must not be weighed again after the second GEMM.
  Problem& weigh_by(std::int64_t count) { return put(has_weight, 1).put(weights, count); }
  // Which expert a tile of rows (or of sorted positions) belongs to, where the rows do not say.
  Problem& experts_of_tiles(std::int64_t tiles, std::int64_t tokens) {
    return put(expert_tiles, tiles).put(tile_tokens, tokens);
  }
  // A compact copy of the result before it is quantized; state it after the rows.
  Problem& copy_unquantized(Format format, std::int32_t alignment) {
    put(unquantized_format, format).put(unquantized_alignment, alignment).put(unquantized_row_stride, columns);
    return put(unquantized_expert_stride, row_kind == MOE_ACT_ROWS_MASKED ? rows * columns : 0);
  }
  Problem& set(Padding value) { return put(padding, value); }
  Problem& set(Pdl value) { return put(pdl, value); }
  Problem& set(Scaling value) { return put(out_scaling, value); }
  Problem& set(ScaleRounding value) { return put(scale_rounding, value); }
  // Compact scales, one for so many columns: [blocks, rows] when column major, [rows, blocks] when row major.
  Problem& scales_of_x(ScaleLayout layout, std::int32_t block = 128) {
    put(x_scale_layout, layout).put(x_block, block);
    const bool gated = activation < static_cast<std::int32_t>(Activation::silu);
    return compact(layout, block, gated ? 2 * columns : columns, x_scale_stride, x_scale_expert_stride);
  }
  Problem& scales_of_out(ScaleLayout layout, std::int32_t block = 128) {
    put(out_scale_layout, layout).put(out_block, block);
    return compact(layout, block, columns, out_scale_stride, out_scale_expert_stride);
  }
  // All scales column major with the stride total_num_padded_tokens[0], which only the device knows.
  Problem& scale_strides_on_device() {
    put(x_scale_layout, ScaleLayout::column_major).put(x_scale_stride, MOE_ACT_STRIDE_ON_DEVICE);
    return put(out_scale_layout, ScaleLayout::column_major).put(out_scale_stride, MOE_ACT_STRIDE_ON_DEVICE);
  }

 private:
  template <typename Field, typename Value>
  Problem& put(Field& field, Value value) {
    field = static_cast<Field>(value);
    return *this;
  }
  Problem& compact(ScaleLayout layout, std::int32_t block, std::int64_t scaled_columns, std::int64_t& stride,
                   std::int64_t& expert_stride) {
    const auto up = [](std::int64_t value, std::int64_t step) { return (value + step - 1) / step * step; };
    const std::int64_t width = block > 0 ? block : 128;
    const std::int64_t blocks = (scaled_columns + width - 1) / width;
    const std::int64_t segments = row_kind == MOE_ACT_ROWS_MASKED || experts == 0 ? 0 : std::min(experts, rows);
    const std::int64_t quads = (blocks + 3) / 4;
    std::int64_t part = rows * blocks;
    stride = layout == ScaleLayout::row_major ? blocks : rows;
    if (layout == ScaleLayout::tma_column_major || layout == ScaleLayout::packed_ue8m0) {
      stride = up(rows, 4);
      part = stride * (layout == ScaleLayout::packed_ue8m0 ? quads : blocks);
    } else if (layout == ScaleLayout::swizzled_128x4) {
      stride = segments > 0 ? (rows + 127 * segments) / 128 * 128 : up(rows, 128);
      part = stride * quads * 4;
    }
    expert_stride = row_kind == MOE_ACT_ROWS_MASKED ? part : 0;
    return *this;
  }
};

// The pointers of one launch, on the problem's device. Null where the problem has no such argument.
struct Buffers {
  std::uint64_t struct_size = sizeof(moe_act_buffers);
  const void* x = nullptr;              // [rows, 2H], the input format
  const void* x_scale = nullptr;        // as its layout says, of 2H columns; e4m3 input only
  void* out = nullptr;                  // [rows, H], the output format
  void* out_scale = nullptr;            // as its layout says, of H columns; fp32 [rows] for row scaling
  const float* static_scale = nullptr;  // [1]; tensor scaling only
  const void* row_index = nullptr;      // int32 or int64, as the row kind says; rows_of_map: [entries]
  const std::int32_t* total_num_padded_tokens = nullptr;  // [1]; scale_strides_on_device only
  const void* row_count = nullptr;                        // [1], int32 or int64, as the row kind says
  const void* bias = nullptr;                             // [experts, columns of x]; bias_of
  const float* alpha = nullptr;                           // [experts]; alpha_per_expert
  const float* beta = nullptr;                            // likewise
  const float* limit = nullptr;                           // likewise
  const float* weight = nullptr;                          // [weights]; weigh_by
  const void* tile_to_expert = nullptr;                   // [tiles], int32 or int64; experts_of_tiles
  const void* permuted_to_expanded = nullptr;             // [rows], int32 or int64
  void* out_unquantized = nullptr;                        // [rows, H]; copy_unquantized
};

// A GPU, as far as planning is concerned; it need not be there.
struct DeviceInfo : moe_act_device_info {
  explicit DeviceInfo(const moe_act_device_info& info) : moe_act_device_info(info) {}
  DeviceInfo(std::int32_t sm_count, std::int32_t major, std::int32_t minor, std::int64_t l2_size)
      : moe_act_device_info{sizeof(moe_act_device_info), sm_count, major, minor, 0, l2_size} {}
};

// 0 without CUDA, driver or device.
inline std::int32_t cuda_device_count() {
  return moe_act_cuda_device_count();
}

inline DeviceInfo device_info(std::int32_t device_id) {
  auto info = detail::sized<moe_act_device_info>();
  detail::check(moe_act_device_query(device_id, &info));
  return DeviceInfo(info);
}

// Every way to run a CUDA problem, for a search over plans. Results do not depend on it.
using LaunchChoice = moe_act_launch_choice;
inline std::vector<LaunchChoice> launch_choices(const moe_act_problem& problem) {
  std::int64_t count = 0;
  detail::check(moe_act_launch_choice_count(&problem, &count));
  std::vector<LaunchChoice> choices(static_cast<std::size_t>(count), detail::sized<LaunchChoice>());
  for (std::int64_t i = 0; i < count; ++i)
    detail::check(moe_act_launch_choice_at(&problem, i, &choices[static_cast<std::size_t>(i)]));
  return choices;
}

// A validated problem with everything decided about running it. Made once, launched often, from any thread.
class Plan {
 public:
  // Asks the problem's own device, if that is a GPU.
  explicit Plan(const moe_act_problem& problem) : plan_(create(problem, nullptr)) {}
  // Asks nothing: plans for any GPU. On the CPU the device is not looked at.
  Plan(const moe_act_problem& problem, const DeviceInfo& device) : plan_(create(problem, &device)) {}
  // The same two with a choice in place of the planner's own.
  Plan(const moe_act_problem& problem, const LaunchChoice& choice) : plan_(create(problem, nullptr, &choice)) {}
  Plan(const moe_act_problem& problem, const DeviceInfo& device, const LaunchChoice& choice)
      : plan_(create(problem, &device, &choice)) {}

  // stream is a cudaStream_t, null on the CPU, where the result is complete on return. workspace has
  // [info().workspace_bytes], null if that is 0. Allocates nothing, queries nothing, waits for nothing.
  void launch(const Buffers& buffers, void* stream = nullptr, void* workspace = nullptr) const {
    const auto given = std::bit_cast<moe_act_buffers>(buffers);
    detail::check(moe_act_launch(get(), &given, workspace, stream));
  }
  // Looks at the data that launch must not look at: the map, the padded total, the static scale. Waits for the stream.
  void validate(const Buffers& buffers, void* stream = nullptr) const {
    const auto given = std::bit_cast<moe_act_buffers>(buffers);
    detail::check(moe_act_validate(get(), &given, stream));
  }
  // Throws, naming what differs, unless buffers that this problem describes may be given to the plan.
  void require_accepts(const moe_act_problem& problem) const { detail::check(moe_act_plan_accepts(get(), &problem)); }

  moe_act_plan_info info() const {
    auto info = detail::sized<moe_act_plan_info>();
    detail::check(moe_act_plan_get_info(get(), &info));
    return info;
  }
  Problem problem() const {
    auto problem = detail::sized<moe_act_problem>();
    detail::check(moe_act_plan_get_problem(get(), &problem));
    return Problem(problem);
  }
  std::string text() const { return moe_act_plan_text(get()); }  // a few lines for people
  const moe_act_plan* get() const { return plan_.get(); }        // null once moved from

 private:
  struct Destroy {
    void operator()(moe_act_plan* plan) const { moe_act_plan_destroy(plan); }
  };
  static moe_act_plan* create(const moe_act_problem& problem, const moe_act_device_info* device,
                              const moe_act_launch_choice* choice = nullptr) {
    moe_act_plan* plan = nullptr;
    detail::check(choice == nullptr ? moe_act_plan_create(&problem, device, &plan)
                                    : moe_act_plan_create_chosen(&problem, device, choice, &plan));
    return plan;
  }

  std::unique_ptr<moe_act_plan, Destroy> plan_;
};

// DLPack tensors of one call, null where there is none; out and out_scale may be allocated once they are described.
struct Tensors {
  std::uint64_t struct_size = sizeof(moe_act_tensors);
  const moe_act_tensor* x = nullptr;             // [rows, 2H]; fp32, fp16, bf16, e4m3, or an integer view of one
  const moe_act_tensor* x_scale = nullptr;       // as its layout says; flat with a total
  const moe_act_tensor* out = nullptr;           // [rows, H]
  const moe_act_tensor* out_scale = nullptr;     // as its layout says; flat with a total
  const moe_act_tensor* static_scale = nullptr;  // fp32, one element
  const moe_act_tensor* row_index = nullptr;     // int32 or int64, as the row kind says; a map without one
  const moe_act_tensor* total_num_padded_tokens = nullptr;  // int32, one element: the scales' stride
  const moe_act_tensor* row_count = nullptr;                // int32 or int64, one element, as the row kind says
  const moe_act_tensor* bias = nullptr;                     // fp32 or bf16 [experts, columns of x]
  const moe_act_tensor* alpha = nullptr;                    // fp32 [experts]
  const moe_act_tensor* beta = nullptr;                     // likewise
  const moe_act_tensor* limit = nullptr;                    // likewise
  const moe_act_tensor* weight = nullptr;                   // fp32, a shape as the rows say
  const moe_act_tensor* tile_to_expert = nullptr;           // int32 or int64 [tiles]
  const moe_act_tensor* permuted_to_expanded = nullptr;     // int32 or int64 [rows]
  const moe_act_tensor* out_unquantized = nullptr;          // fp32, fp16 or bf16 [rows, H]
};

// What tensors cannot say. Left out, each has the default of the C interface.
struct Options {
  std::optional<Format> x_format = {};  // names the format behind an integer view
  std::optional<ScaleLayout> x_scale_layout = {};
  std::optional<Format> out_format = {};
  std::optional<Scaling> out_scaling = {};
  std::optional<ScaleLayout> out_scale_layout = {};
  std::optional<Activation> activation = {};
  std::optional<Gate> gate = {};
  std::optional<Padding> padding = {};
  std::optional<Pdl> pdl = {};
  std::optional<std::int64_t> expected_rows = {};
  std::int64_t workspace_limit = 0;
  std::optional<Format> x_scale_format = {};
  std::optional<Format> out_scale_format = {};
  std::int32_t x_block = 0;  // columns that share a scale; 0 = 128
  std::int32_t out_block = 0;
  std::optional<ScaleRounding> scale_rounding = {};
  std::optional<RowKind> row_kind = {};
  std::optional<SortedRows> sorted_rows = {};
  std::int64_t tile_tokens = 0;
  std::int64_t expert_alignment = 0;
  std::int64_t num_valid_ids = 0;
  std::int32_t interleave = 0;
  std::optional<float> alpha = {};  // per-expert values are tensors
  std::optional<float> beta = {};
  std::optional<float> limit = {};
  float gate_bound = 0.0f;
  float up_bound = 0.0f;
  std::optional<Preset> preset = {};
  std::optional<ProductRounding> product_rounding = {};
  std::optional<Quantization> quantization = {};
  std::optional<ClampRounding> clamp_rounding = {};
  float smallest_amax = 0.0f;  // 0 = the preset's
  float smallest_scale = 0.0f;
  std::optional<Format> unquantized_format = {};
};

struct Description {
  Problem problem;
  Buffers buffers;  // out and out_scale are null where no tensor was given
};

// Tensors and options to a validated problem and its pointers.
inline Description describe(const Tensors& tensors, const Options& options = {}) {
  const auto given = std::bit_cast<moe_act_tensors>(tensors);
  auto chosen = detail::sized<moe_act_options>();
  chosen.x_format = detail::value_or_default(options.x_format);
  chosen.x_scale_layout = detail::value_or_default(options.x_scale_layout);
  chosen.out_format = detail::value_or_default(options.out_format);
  chosen.out_scaling = detail::value_or_default(options.out_scaling);
  chosen.out_scale_layout = detail::value_or_default(options.out_scale_layout);
  chosen.activation = detail::value_or_default(options.activation);
  chosen.gate = detail::value_or_default(options.gate);
  chosen.padding = detail::value_or_default(options.padding);
  chosen.pdl = detail::value_or_default(options.pdl);
  chosen.has_expected_rows = options.expected_rows.has_value();
  chosen.expected_rows = options.expected_rows.value_or(0);
  chosen.workspace_limit = options.workspace_limit;
  chosen.x_scale_format = detail::value_or_default(options.x_scale_format);
  chosen.out_scale_format = detail::value_or_default(options.out_scale_format);
  chosen.x_block = options.x_block;
  chosen.out_block = options.out_block;
  chosen.scale_rounding = detail::value_or_default(options.scale_rounding);
  chosen.row_kind = detail::value_or_default(options.row_kind);
  chosen.sorted_rows = detail::value_or_default(options.sorted_rows);
  chosen.tile_tokens = options.tile_tokens;
  chosen.expert_alignment = options.expert_alignment;
  chosen.num_valid_ids = options.num_valid_ids;
  chosen.interleave = options.interleave;
  chosen.alpha_from = options.alpha ? MOE_ACT_PARAMETER_SCALAR : MOE_ACT_PARAMETER_NONE;
  chosen.alpha = options.alpha.value_or(0.0f);
  chosen.beta_from = options.beta ? MOE_ACT_PARAMETER_SCALAR : MOE_ACT_PARAMETER_NONE;
  chosen.beta = options.beta.value_or(0.0f);
  chosen.limit_from = options.limit ? MOE_ACT_PARAMETER_SCALAR : MOE_ACT_PARAMETER_NONE;
  chosen.limit = options.limit.value_or(0.0f);
  chosen.gate_bound = options.gate_bound;
  chosen.up_bound = options.up_bound;
  chosen.preset = detail::value_or_default(options.preset);
  chosen.product_rounding = detail::value_or_default(options.product_rounding);
  chosen.quantization = detail::value_or_default(options.quantization);
  chosen.clamp_rounding = detail::value_or_default(options.clamp_rounding);
  chosen.smallest_amax = options.smallest_amax;
  chosen.smallest_scale = options.smallest_scale;
  chosen.unquantized_format = detail::value_or_default(options.unquantized_format);
  auto problem = detail::sized<moe_act_problem>();
  auto buffers = detail::sized<moe_act_buffers>();
  detail::check(moe_act_describe(&given, &chosen, &problem, &buffers));
  return {Problem(problem), std::bit_cast<Buffers>(buffers)};
}

}  // namespace moe_act

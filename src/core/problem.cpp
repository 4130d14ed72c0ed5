#include "core/problem.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "core/model.hpp"
#include "core/options.hpp"
#include "core/rows.hpp"
#include "core/scale_spec.hpp"
#include "core/text.hpp"
#include "math/entry_rule.hpp"

namespace moe_act {
namespace {

static_assert(MOE_ACT_FORMAT_FP32 == static_cast<int>(Format::fp32));
static_assert(MOE_ACT_FORMAT_FP16 == static_cast<int>(Format::fp16));
static_assert(MOE_ACT_FORMAT_BF16 == static_cast<int>(Format::bf16));
static_assert(MOE_ACT_FORMAT_E4M3 == static_cast<int>(Format::e4m3));
static_assert(MOE_ACT_FORMAT_E5M2 == static_cast<int>(Format::e5m2));
static_assert(MOE_ACT_FORMAT_E2M1 == static_cast<int>(Format::e2m1));
static_assert(MOE_ACT_FORMAT_UE8M0 == static_cast<int>(Format::ue8m0));
static_assert(MOE_ACT_ROWS_DENSE == static_cast<int>(RowKind::dense));
static_assert(MOE_ACT_ROWS_EXPANDED_TO_PERMUTED == static_cast<int>(RowKind::expanded_to_permuted));
static_assert(MOE_ACT_ROWS_VALID_PREFIX == static_cast<int>(RowKind::valid_prefix));
static_assert(MOE_ACT_ROWS_TILE_LIMITS == static_cast<int>(RowKind::tile_limits));
static_assert(MOE_ACT_ROWS_ROW_TO_EXPERT == static_cast<int>(RowKind::row_to_expert));
static_assert(MOE_ACT_ROWS_SORTED_TOKEN_IDS == static_cast<int>(RowKind::sorted_token_ids));
static_assert(MOE_ACT_ROWS_EXPERT_OFFSETS == static_cast<int>(RowKind::expert_offsets));
static_assert(MOE_ACT_ROWS_EXPERT_ENDS == static_cast<int>(RowKind::expert_ends));
static_assert(MOE_ACT_ROWS_MASKED == static_cast<int>(RowKind::masked));
static_assert(MOE_ACT_PDL_OFF == static_cast<int>(Pdl::off));
static_assert(MOE_ACT_PDL_ON == static_cast<int>(Pdl::on));
static_assert(MOE_ACT_PDL_METADATA_READY == static_cast<int>(Pdl::metadata_ready));

// Rows within which offsets fit 32 bits.
constexpr std::int64_t max_columns = std::int64_t{1} << 28;

void require_at_least(const char* argument, std::int64_t value, std::int64_t least) {
  if (value < least) invalid(argument, "expected at least " + number(least) + ", got " + number(value));
}

// "'fp32', 'fp16'"
template <typename Predicate>
std::string names_of_formats(Predicate predicate) {
  std::string names;
  for (const FormatTraits& format : format_traits)
    if (predicate(format.format)) names += (names.empty() ? "'" : ", '") + std::string(format.name) + "'";
  return names;
}

void require_formats(const moe_act_problem& problem) {
  require_option("x_format", problem.x_format);
  require_option("out_format", problem.out_format);
  const auto output = static_cast<Format>(problem.out_format);
  require_input_kernel(static_cast<Format>(problem.x_format));
  require_output_kernel(output);
  require_option("out_scaling", problem.out_scaling);
  if (is_scaled(output) && problem.out_scaling == MOE_ACT_SCALING_NONE)
    invalid("out_scaling", std::string(traits(output).name) + " output expects 'block', 'tensor' or 'row', got 'none'");
  if (!is_scaled(output) && problem.out_scaling != MOE_ACT_SCALING_NONE)
    invalid("out_scaling", std::string("plain ") + traits(output).name + " output expects 'none', got " +
                               quoted("out_scaling", problem.out_scaling));
}

}  // namespace

void require_columns(const char* argument, std::int64_t columns) {
  require_at_least(argument, columns, 1);
  if (columns > max_columns)
    invalid(argument, "expected at most " + number(max_columns) + " output columns, got " + number(columns));
}

void require_input_kernel(Format format) {
  if (!is_input(format))
    fail(MOE_ACT_UNSUPPORTED, "x",
         std::string(traits(format).name) + " input has no kernel; supported: " + names_of_formats(is_input));
}

void require_output_kernel(Format format) {
  constexpr auto is_output = [](Format candidate) { return output_kind_of(candidate).has_value(); };
  if (!is_output(format))
    fail(MOE_ACT_UNSUPPORTED, "out_format",
         std::string(traits(format).name) + " output has no kernel; supported: " + names_of_formats(is_output));
}

void require_scale_options(OptionArgument layout_argument, std::int32_t layout, OptionArgument format_argument,
                           std::int32_t format, const char* block_argument, std::int32_t block) {
  require_option(layout_argument, layout);
  require_option(format_argument, format);
  if (block != 32 && block != 64 && block != 128)
    invalid(block_argument, "expected 32, 64 or 128 columns that share a scale, got " + number(block));
}

// What a field left at 0 means.
void resolve_scale(std::int32_t layout, std::int32_t& format, std::int32_t& block) {
  const bool exponents = layout == MOE_ACT_SCALE_LAYOUT_PACKED_UE8M0 || layout == MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4;
  if (format == MOE_ACT_FORMAT_NONE) format = exponents ? MOE_ACT_FORMAT_UE8M0 : MOE_ACT_FORMAT_FP32;
  if (block == 0) block = block_columns;
}

moe_act_problem normalized(moe_act_problem problem) {
  resolve_model(problem);
  resolve_scale(problem.x_scale_layout, problem.x_scale_format, problem.x_block);
  // One scale for each row lies the same way in every layout: none is read.
  if (problem.out_scaling == MOE_ACT_SCALING_ROW) problem.out_scale_layout = MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR;
  resolve_scale(problem.out_scale_layout, problem.out_scale_format, problem.out_block);
  if (problem.scale_rounding == MOE_ACT_SCALE_ROUNDING_DEFAULT) {
    const bool exponents =
        problem.out_scaling == MOE_ACT_SCALING_BLOCK && problem.out_scale_format == MOE_ACT_FORMAT_UE8M0;
    problem.scale_rounding = exponents ? MOE_ACT_SCALE_ROUNDING_POWER_OF_TWO : MOE_ACT_SCALE_ROUNDING_NONE;
  }
  if (problem.sorted_rows == MOE_ACT_SORTED_ROWS_DEFAULT) problem.sorted_rows = MOE_ACT_SORTED_ROWS_POSITION;
  if (problem.index_bits == 0) problem.index_bits = 32;
  if (problem.count_bits == 0) problem.count_bits = 32;
  return problem;
}

Problem::Problem(const moe_act_problem& description) : description_(normalized(description)) {
  const moe_act_problem& problem = description_;
  if (problem.device_type != MOE_ACT_DEVICE_CPU && problem.device_type != MOE_ACT_DEVICE_CUDA)
    fail(MOE_ACT_UNSUPPORTED, "device",
         "expected CPU (1) or CUDA (2), got DLPack device type " + number(problem.device_type));
  require_at_least("device", problem.device_id, 0);
  require_formats(problem);
  require_option("padding", problem.padding);
  require_option("pdl", problem.pdl);
  require_option("scale_rounding", problem.scale_rounding);

  require_rows(problem);
  require_columns("columns", problem.columns);
  require_model(problem);
  require_at_least("expected_rows", problem.expected_rows, -1);
  require_at_least("workspace_limit", problem.workspace_limit, 0);
  if (problem.padding == MOE_ACT_PADDING_ZERO && !padding_is_known())
    fail(MOE_ACT_UNSUPPORTED, "padding",
         "'zero' needs rows whose padding can be identified; " + std::string(row_index_name(problem.row_kind)) +
             " names the valid rows alone: use 'skip'");
  if (!on_cuda() && problem.pdl != MOE_ACT_PDL_OFF)
    fail(MOE_ACT_UNSUPPORTED, "pdl", "expected 'off' on the CPU, got " + quoted("pdl", problem.pdl));

  require_at_least("x", problem.x_row_stride, stored_columns(problem));
  require_at_least("out", problem.out_row_stride, problem.columns);
  const std::int64_t x_stride = distance("x", problem.x_row_stride, problem.x_expert_stride, stored_columns(problem));
  const std::int64_t out_stride = distance("out", problem.out_row_stride, problem.out_expert_stride, problem.columns);
  const bool has_strides = total_rows(problem) > 1;
  require_alignment("x", problem.x_alignment, input(), has_strides ? x_stride : 0);
  require_alignment("out", problem.out_alignment, output(), has_strides ? out_stride : 0);
  const std::int64_t parts = masked() ? problem.experts : 1;
  const auto bytes = [&](const char* name, std::int64_t stride, std::int64_t expert_stride, std::int64_t columns,
                         Format format) {
    const std::int64_t part = extent_bytes(name, problem.rows, stride, columns, 1);
    return extent_bytes(name, parts, expert_stride, part, bytes_per_element(format));
  };
  x_bytes_ = bytes("x", problem.x_row_stride, problem.x_expert_stride, stored_columns(problem), input());
  out_bytes_ = bytes("out", problem.out_row_stride, problem.out_expert_stride, problem.columns, output());
  if (has_unquantized())
    unquantized_bytes_ = bytes("out_unquantized", problem.unquantized_row_stride, problem.unquantized_expert_stride,
                               problem.columns, static_cast<Format>(problem.unquantized_format));
  bias_bytes_ =
      extent_bytes("bias", problem.bias_format != 0 ? problem.parameter_experts : 0, problem.bias_expert_stride,
                   stored_columns(problem), bytes_per_element(static_cast<Format>(problem.bias_format)));
  if (has_x_scale()) {
    require_scale_options("x_scale_layout", problem.x_scale_layout, "x_scale_format", problem.x_scale_format, "x_block",
                          problem.x_block);
    require_scale(x_scale_spec(problem));
    x_scale_bytes_ = scale_bytes(x_scale_spec(problem));
  }
  if (has_out_scale()) {
    require_scale_options("out_scale_layout", problem.out_scale_layout, "out_scale_format", problem.out_scale_format,
                          "out_block", problem.out_block);
    require_scale(out_scale_spec(problem));
    out_scale_bytes_ = scale_bytes(out_scale_spec(problem));
    const bool exponents = !scale_per_row() && problem.out_scale_format == MOE_ACT_FORMAT_UE8M0;
    if (exponents && problem.scale_rounding != MOE_ACT_SCALE_ROUNDING_POWER_OF_TWO)
      invalid("scale_rounding", "ue8m0 scales are powers of two: expected 'power_of_two', got 'none'");
  }
}

// The largest power of two that every distance between rows, whole experts apart or not, is a multiple of.
std::int64_t Problem::distance(const char* argument, std::int64_t row_stride, std::int64_t expert_stride,
                               std::int64_t columns) const {
  if (!masked()) return row_stride;
  const std::int64_t extent = extent_bytes(argument, description_.rows, row_stride, columns, 1);
  if (description_.experts > 1 && expert_stride < extent)
    invalid(argument, "expected experts at least " + number(extent) + " elements apart, got " + number(expert_stride));
  const std::int64_t both = row_stride | (description_.experts > 1 ? expert_stride : 0);
  return both & -both;
}

bool Problem::padding_is_known() const {
  const std::int32_t kind = description_.row_kind;
  return kind != MOE_ACT_ROWS_EXPANDED_TO_PERMUTED &&
         !(kind == MOE_ACT_ROWS_SORTED_TOKEN_IDS && description_.sorted_rows == MOE_ACT_SORTED_ROWS_ID);
}

bool Problem::pads_with_zero() const {
  const bool padded = description_.row_kind != MOE_ACT_ROWS_DENSE || description_.expert_tiles > 0 ||
                      (has_out_scale() && description_.out_scale_layout == MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4);
  return padded && description_.padding == MOE_ACT_PADDING_ZERO;
}

bool Problem::is_general() const {
  return moe_act::is_general(description_);
}

bool Problem::is_simple() const {
  const bool known_rows = description_.row_kind == MOE_ACT_ROWS_DENSE || (has_map() && description_.index_bits == 32);
  return known_rows && has_row_source(units(), description_.rows) && description_.expert_tiles == 0 &&
         !pads_with_zero() && reach() == Reach::plain;
}

Reach Problem::reach() const {
  if (is_general()) return Reach::models;
  return scales_are_plain() && output() != Format::e5m2 && has_narrow_strides() ? Reach::plain : Reach::layouts;
}

bool Problem::has_narrow_strides() const {
  const auto narrow = [&](std::int64_t stride, int bytes) {
    const std::int64_t most = UINT32_MAX / bytes;
    return (stride == MOE_ACT_STRIDE_ON_DEVICE ? description_.rows : stride) <= most;
  };
  const auto parts = [&](std::int64_t expert_stride, int bytes) { return !masked() || narrow(expert_stride, bytes); };
  if (has_x_scale() && !parts(description_.x_scale_expert_stride, sizeof(float))) return false;
  if (has_out_scale() && !parts(description_.out_scale_expert_stride, sizeof(float))) return false;
  return parts(description_.x_expert_stride, bytes_per_element(input())) &&
         parts(description_.out_expert_stride, bytes_per_element(output())) &&
         narrow(description_.x_row_stride, bytes_per_element(input())) &&
         narrow(description_.out_row_stride, bytes_per_element(output())) &&
         (!has_x_scale() || narrow(description_.x_scale_stride, sizeof(float))) &&
         (!has_out_scale() || narrow(description_.out_scale_stride, sizeof(float)));
}

// Plain kernels have indices and counts of 32 bits, strides of the launch and no fp32 input; what 32 bits cannot count
// is left to general ones.
Reach Problem::any_rows_reach() const {
  const RowAddressing rows = addressing_of(description_, {});
  const bool counts_far = rows.is_list() ? !has_entry_rule(rows) : !rows.has_small_segments();
  if (counts_far) return Reach::models;
  const bool wide = rows.index.is_64_bit || rows.count.is_64_bit || input() == Format::fp32 || stride_on_device();
  return std::max(reach(), wide ? Reach::layouts : Reach::plain);
}

bool Problem::scales_are_plain() const {
  const auto plain = [](std::int32_t layout, std::int32_t format, std::int32_t block) {
    return format == MOE_ACT_FORMAT_FP32 && block == block_columns && layout != MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4;
  };
  if (has_x_scale() && !plain(description_.x_scale_layout, description_.x_scale_format, description_.x_block))
    return false;
  if (!has_out_scale()) return true;
  return !scale_per_row() && description_.scale_rounding == MOE_ACT_SCALE_ROUNDING_NONE &&
         plain(description_.out_scale_layout, description_.out_scale_format, description_.out_block);
}

bool Problem::stride_on_device() const {
  return (has_x_scale() && description_.x_scale_stride == MOE_ACT_STRIDE_ON_DEVICE) ||
         (has_out_scale() && description_.out_scale_stride == MOE_ACT_STRIDE_ON_DEVICE);
}

}  // namespace moe_act

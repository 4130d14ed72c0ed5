#include "core/problem.hpp"

#include <bit>

#include "core/error.hpp"
#include "core/options.hpp"

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
static_assert(MOE_ACT_PDL_OFF == static_cast<int>(Pdl::off));
static_assert(MOE_ACT_PDL_ON == static_cast<int>(Pdl::on));
static_assert(MOE_ACT_PDL_METADATA_READY == static_cast<int>(Pdl::metadata_ready));

// Sizes whose byte offsets, even multiplied out, stay inside 63 bits; and rows within which offsets fit 32.
constexpr std::int64_t max_extent_bytes = std::int64_t{1} << 56;
constexpr std::int64_t max_columns = std::int64_t{1} << 28;

std::string number(std::int64_t value) {
  return std::to_string(value);
}

void require_at_least(const char* argument, std::int64_t value, std::int64_t least) {
  if (value < least) invalid(argument, "expected at least " + number(least) + ", got " + number(value));
}

// outer * stride + inner elements, or an error naming the argument if that leaves the address space.
std::int64_t extent_bytes(const char* argument, std::int64_t outer, std::int64_t stride, std::int64_t inner,
                          int bytes) {
  if (outer <= 0) return 0;
  std::int64_t extent = 0;
  if (__builtin_mul_overflow(outer - 1, stride, &extent) || __builtin_add_overflow(extent, inner, &extent) ||
      __builtin_mul_overflow(extent, bytes, &extent) || extent > max_extent_bytes)
    invalid(argument,
            "its extent of " + number(outer) + " x " + number(stride) + " elements exceeds the address space");
  return extent;
}

std::int64_t scale_bytes(const char* argument, std::int64_t rows, std::int64_t blocks, std::int32_t layout,
                         std::int64_t stride) {
  if (layout == MOE_ACT_SCALE_LAYOUT_ROW_MAJOR) return extent_bytes(argument, rows, stride, blocks, sizeof(float));
  const std::int64_t ld = stride == MOE_ACT_STRIDE_ON_DEVICE ? rows : stride;
  return rows == 0 ? 0 : extent_bytes(argument, blocks, ld, rows, sizeof(float));
}

void require_alignment(const char* argument, std::int32_t alignment, Format format, std::int64_t rows,
                       std::int64_t row_stride) {
  const int least = bytes_per_element(format);
  if (alignment < least || !std::has_single_bit(static_cast<std::uint32_t>(alignment)))
    invalid(argument, "expected an alignment that is a power of two of at least " + number(least) + " bytes, got " +
                          number(alignment));
  if (rows > 1 && row_stride % (alignment / least) != 0)
    invalid(argument, "the promised alignment of " + number(alignment) + " bytes does not hold for rows " +
                          number(row_stride) + " elements apart");
}

void require_scale_stride(const char* argument, std::int64_t stride, std::int32_t layout, std::int64_t rows,
                          std::int64_t blocks) {
  const bool column_major = layout == MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR;
  if (stride == MOE_ACT_STRIDE_ON_DEVICE) {
    if (!column_major) invalid(argument, "a stride that lies on the device needs the column_major layout");
    return;
  }
  const std::int64_t least = column_major ? rows : blocks;
  if (stride < least)
    invalid(argument, "expected a stride of at least " + number(least) + " floats (" +
                          (column_major ? "rows" : "blocks") + "), got " + number(stride));
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
    invalid("out_scaling", "e4m3 output expects 'block' or 'tensor', got 'none'");
  if (!is_scaled(output) && problem.out_scaling != MOE_ACT_SCALING_NONE)
    invalid("out_scaling", std::string("plain ") + traits(output).name + " output expects 'none', got '" +
                               option_name("out_scaling", problem.out_scaling) + "'");
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

std::string expected_scale(std::int64_t rows, std::int64_t blocks, std::int32_t layout) {
  if (layout == MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR)
    return "float32 [" + number(blocks) + ", " + number(rows) + "] (column major)";
  return "float32 [" + number(rows) + ", " + number(blocks) + "] (row major)";
}

Problem::Problem(const moe_act_problem& description) : description_(description) {
  const moe_act_problem& problem = description_;
  if (problem.device_type != MOE_ACT_DEVICE_CPU && problem.device_type != MOE_ACT_DEVICE_CUDA)
    fail(MOE_ACT_UNSUPPORTED, "device",
         "expected CPU (1) or CUDA (2), got DLPack device type " + number(problem.device_type));
  require_at_least("device", problem.device_id, 0);
  require_formats(problem);
  require_option("activation", problem.activation);
  require_option("gate", problem.gate);
  require_option("row_kind", problem.row_kind);
  require_option("padding", problem.padding);
  require_option("pdl", problem.pdl);

  require_at_least("rows", problem.rows, 0);
  require_columns("columns", problem.columns);
  require_at_least("expected_rows", problem.expected_rows, -1);
  require_at_least("workspace_limit", problem.workspace_limit, 0);
  require_at_least("expanded_rows", problem.expanded_rows, 0);
  if (!has_map() && problem.expanded_rows != 0)
    invalid("expanded_rows", "expected 0 for dense rows, got " + number(problem.expanded_rows));
  if (has_map() && problem.padding == MOE_ACT_PADDING_ZERO)
    fail(MOE_ACT_UNSUPPORTED, "padding",
         "'zero' needs rows whose padding can be identified; "
         "expanded_idx_to_permuted_idx names the valid rows alone: use 'skip'");
  if (!on_cuda() && problem.pdl != MOE_ACT_PDL_OFF)
    fail(MOE_ACT_UNSUPPORTED, "pdl",
         "expected 'off' on the CPU, got '" + std::string(option_name("pdl", problem.pdl)) + "'");

  require_at_least("x", problem.x_row_stride, 2 * problem.columns);
  require_at_least("out", problem.out_row_stride, problem.columns);
  require_alignment("x", problem.x_alignment, input(), problem.rows, problem.x_row_stride);
  require_alignment("out", problem.out_alignment, output(), problem.rows, problem.out_row_stride);
  if (has_x_scale()) {
    require_option("x_scale_layout", problem.x_scale_layout);
    require_scale_stride("x_scale", problem.x_scale_stride, problem.x_scale_layout, problem.rows,
                         blocks(2 * problem.columns));
  }
  if (has_out_scale()) {
    require_option("out_scale_layout", problem.out_scale_layout);
    require_scale_stride("out_scale", problem.out_scale_stride, problem.out_scale_layout, problem.rows,
                         blocks(problem.columns));
  }
  x_bytes_ = extent_bytes("x", problem.rows, problem.x_row_stride, 2 * problem.columns, bytes_per_element(input()));
  if (has_x_scale())
    x_scale_bytes_ = scale_bytes("x_scale", problem.rows, blocks(2 * problem.columns), problem.x_scale_layout,
                                 problem.x_scale_stride);
  out_bytes_ = extent_bytes("out", problem.rows, problem.out_row_stride, problem.columns, bytes_per_element(output()));
  if (has_out_scale())
    out_scale_bytes_ = scale_bytes("out_scale", problem.rows, blocks(problem.columns), problem.out_scale_layout,
                                   problem.out_scale_stride);
  (void)extent_bytes("expanded_idx_to_permuted_idx", problem.expanded_rows, 1, 1, sizeof(std::int32_t));
}

bool Problem::stride_on_device() const {
  return (has_x_scale() && description_.x_scale_stride == MOE_ACT_STRIDE_ON_DEVICE) ||
         (has_out_scale() && description_.out_scale_stride == MOE_ACT_STRIDE_ON_DEVICE);
}

}  // namespace moe_act

#include "core/scale_spec.hpp"

#include <bit>
#include <utility>

#include "core/error.hpp"
#include "core/model.hpp"
#include "core/options.hpp"
#include "core/text.hpp"

namespace moe_act {
namespace {

constexpr std::int64_t max_extent_bytes = std::int64_t{1} << 56;  // multiplied out, offsets stay inside 63 bits

std::int64_t ceil_div(std::int64_t value, std::int64_t divisor) {
  return value / divisor + (value % divisor != 0 ? 1 : 0);
}

bool is_masked(const moe_act_problem& problem) {
  return problem.row_kind == MOE_ACT_ROWS_MASKED;
}

bool pads_segments(const moe_act_problem& problem) {
  return problem.row_kind == MOE_ACT_ROWS_EXPERT_OFFSETS || problem.row_kind == MOE_ACT_ROWS_EXPERT_ENDS;
}

const char* dtype_name(const ScaleSpec& spec) {
  return spec.packed() ? "int32" : spec.format == Format::ue8m0 ? "uint8" : "float32";
}

// "float32 [32, 1024] (column major)", with the words that tell layouts apart.
std::string expected_text(const ScaleSpec& spec) {
  std::string text = std::string(dtype_name(spec)) + " [";
  if (spec.masked) text += number(spec.parts) + ", ";
  if (spec.per_row()) return text + number(spec.rows) + "] (one for each row)";
  const std::int64_t columns = spec.packed() ? spec.quads() : spec.blocks;
  switch (spec.layout) {
    case MOE_ACT_SCALE_LAYOUT_ROW_MAJOR: return text + number(spec.rows) + ", " + number(columns) + "] (row major)";
    case MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4:
      return text + number(spec.padded_rows()) + ", " + number(spec.quads() * math::quad_blocks) +
             "] or more rows, contiguous (swizzled 128x4)";
    case MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR:
      return text + number(columns) + ", " + number(spec.rows) + "] (column major)";
    default:
      return text + number(columns) + ", " + number(spec.rows) + "] or its transpose, rows adjacent, a multiple of " +
             "4 elements from column to column (" + (spec.packed() ? "packed ue8m0" : "TMA column major") + ")";
  }
}

void require_dtype(const ScaleSpec& spec, const TensorView& tensor) {
  if (spec.packed()) return tensor.require_dtype(code_int, 32, "int32");
  if (spec.format == Format::fp32) return tensor.require_dtype(code_float, 32, "float32");
  if (!tensor.has_dtype(code_float8_e8m0fnu, 8)) tensor.require_dtype(code_uint, 8, "uint8 or float8_e8m0fnu");
}

ScaleSpec spec_of(const moe_act_problem& problem, const char* name, std::int64_t columns, std::int32_t layout,
                  std::int32_t format, std::int32_t block, std::int64_t stride, std::int64_t expert_stride) {
  ScaleSpec spec{};
  spec.name = name;
  spec.layout = layout;
  spec.format = static_cast<Format>(format);
  spec.block = block;
  spec.rows = problem.rows;
  spec.blocks = block > 0 ? ceil_div(columns, block) : 1;
  spec.masked = is_masked(problem);
  spec.parts = spec.masked ? problem.experts : 1;
  spec.segments = pads_segments(problem) ? problem.experts : 0;
  spec.stride = stride;
  spec.expert_stride = expert_stride;
  return spec;
}

}  // namespace

std::int64_t extent_bytes(const char* argument, std::int64_t outer, std::int64_t stride, std::int64_t inner,
                          int bytes) {
  if (outer <= 0 || inner <= 0) return 0;
  std::int64_t extent = 0;
  if (__builtin_mul_overflow(outer - 1, stride, &extent) || __builtin_add_overflow(extent, inner, &extent) ||
      __builtin_mul_overflow(extent, bytes, &extent) || extent > max_extent_bytes)
    invalid(argument,
            "its extent of " + number(outer) + " x " + number(stride) + " elements exceeds the address space");
  return extent;
}

bool ScaleSpec::column_like() const {
  return layout == MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR || for_tma();
}

std::int64_t ScaleSpec::padded_rows() const {
  constexpr std::int64_t tile = math::swizzle_rows;
  if (segments == 0) return ceil_div(rows, tile) * tile;
  // Every segment may end just behind a tile's first row: no more of them than there are rows.
  const std::int64_t partial = segments < rows ? segments : rows;
  return (rows + (tile - 1) * partial) / tile * tile;
}

std::int64_t ScaleSpec::compact_stride() const {
  if (per_row()) return 1;
  if (swizzled()) return padded_rows();
  if (layout == MOE_ACT_SCALE_LAYOUT_ROW_MAJOR) return blocks;
  return for_tma() ? ceil_div(rows, 4) * 4 : rows;
}

std::int64_t ScaleSpec::part_elements() const {
  if (per_row()) return extent_bytes(name, 1, 0, rows, 1);
  if (swizzled()) return extent_bytes(name, stride / math::swizzle_rows, 512 * quads(), 512 * quads(), 1);
  if (layout == MOE_ACT_SCALE_LAYOUT_ROW_MAJOR) return extent_bytes(name, rows, stride, blocks, 1);
  const std::int64_t ld = stride == MOE_ACT_STRIDE_ON_DEVICE ? rows : stride;
  return rows == 0 ? 0 : extent_bytes(name, packed() ? quads() : blocks, ld, rows, 1);
}

std::int64_t ScaleSpec::compact_expert_stride() const {
  if (!masked) return 0;
  if (column_like() && !per_row()) return extent_bytes(name, packed() ? quads() : blocks, stride, stride, 1);
  return part_elements();
}

ScaleSpec x_scale_spec(const moe_act_problem& problem) {
  return spec_of(problem, "x_scale", stored_columns(problem), problem.x_scale_layout, problem.x_scale_format,
                 problem.x_block, problem.x_scale_stride, problem.x_scale_expert_stride);
}

ScaleSpec out_scale_spec(const moe_act_problem& problem) {
  const bool per_row = problem.out_scaling == MOE_ACT_SCALING_ROW;
  return spec_of(problem, "out_scale", problem.columns, problem.out_scale_layout, problem.out_scale_format,
                 per_row ? 0 : problem.out_block, problem.out_scale_stride, problem.out_scale_expert_stride);
}

void require_scale(const ScaleSpec& spec) {
  const auto text = [&](const char* what) { return std::string(what) + ", got " + number(spec.stride); };
  if (spec.per_row()) {
    if (spec.format != Format::fp32)
      invalid(spec.name, "a scale for a whole row is fp32, got '" + std::string(traits(spec.format).name) + "'");
  } else {
    const bool has_exponents = spec.packed() || spec.swizzled();
    if (has_exponents && spec.format != Format::ue8m0)
      invalid(spec.name,
              "packed_ue8m0 and swizzled_128x4 scales are ue8m0, got '" + std::string(traits(spec.format).name) + "'");
    if (spec.layout == MOE_ACT_SCALE_LAYOUT_TMA_COLUMN_MAJOR && spec.format != Format::fp32)
      invalid(spec.name, "tma_column_major scales are fp32, got '" + std::string(traits(spec.format).name) + "'");
    if (spec.stride == MOE_ACT_STRIDE_ON_DEVICE) {
      if (spec.layout != MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR || spec.format != Format::fp32 || spec.masked)
        invalid(spec.name,
                "a stride that lies on the device needs the column_major layout, fp32 scales and rows that "
                "are not masked");
      return;
    }
    if (spec.swizzled()) {
      if (spec.stride < spec.padded_rows() || spec.stride % math::swizzle_rows != 0)
        invalid(spec.name, text(("expected a multiple of 128 rows, at least " + number(spec.padded_rows())).c_str()));
    } else {
      const std::int64_t least = spec.column_like() ? spec.rows : spec.blocks;
      if (spec.stride < least)
        invalid(spec.name, text(("expected a stride of at least " + number(least) + " elements (" +
                                 (spec.column_like() ? "rows" : "blocks") + ")")
                                    .c_str()));
      if (spec.for_tma() && spec.stride % 4 != 0 && (spec.packed() ? spec.quads() : spec.blocks) > 1)
        invalid(spec.name, text("expected a stride that is a multiple of 4 elements (16 bytes)"));
    }
  }
  if (spec.parts > 1 && spec.expert_stride < spec.part_elements())
    invalid(spec.name, "expected experts at least " + number(spec.part_elements()) + " elements apart, got " +
                           number(spec.expert_stride));
  if (spec.parts > 1 && spec.for_tma() && spec.expert_stride % 4 != 0)
    invalid(spec.name, "expected experts a multiple of 4 elements (16 bytes) apart, got " + number(spec.expert_stride));
}

std::int64_t scale_bytes(const ScaleSpec& spec) {
  return extent_bytes(spec.name, spec.parts, spec.expert_stride, spec.part_elements(), spec.element_bytes());
}

math::ScaleView view_of(const ScaleSpec& spec) {
  const std::int64_t bytes = spec.element_bytes();
  math::ScaleView view{};
  view.format = spec.format;
  view.block_log2 = spec.per_row() ? 31 : std::bit_width(static_cast<std::uint32_t>(spec.block)) - 1;
  view.segment_stride = spec.expert_stride * bytes;
  if (spec.per_row()) {
    view.row_stride = bytes;
  } else if (spec.swizzled()) {
    view.swizzled = true;
    view.quad_stride = 512;
    view.block_stride = 1;
    view.row_stride = 512 * spec.quads();
  } else if (spec.packed()) {
    view.row_stride = bytes;
    view.quad_stride = spec.stride * bytes;
    view.block_stride = 1;
  } else {
    const bool row_major = spec.layout == MOE_ACT_SCALE_LAYOUT_ROW_MAJOR;
    view.row_stride = row_major ? spec.stride * bytes : bytes;
    view.block_stride = row_major ? bytes : spec.stride * bytes;
    view.quad_stride = math::quad_blocks * view.block_stride;
  }
  const bool has_quads = spec.swizzled() || spec.packed();
  view.fills_quads = has_quads && !spec.per_row() && spec.blocks % math::quad_blocks != 0;
  return view;
}

void read_strides(ScaleSpec& spec, const TensorView& tensor) {
  require_dtype(spec, tensor);
  const int first = spec.masked ? 1 : 0;  // axis
  const auto fits = [&](int axis, std::int64_t size) { return tensor.dimension(axis) == size; };
  if (spec.masked && (tensor.rank() < 2 || !fits(0, spec.parts))) tensor.mismatch(expected_text(spec));
  if (spec.swizzled() || spec.per_row()) {
    // Nothing but the first axis may have gaps.
    std::int64_t elements = 1;
    for (int axis = first; axis < tensor.rank(); ++axis) elements *= tensor.dimension(axis);
    const std::int64_t tile_bytes = spec.quads() * math::quad_blocks;
    if (spec.per_row()
            ? tensor.rank() != first + 1 || elements != spec.rows
            : elements % (math::swizzle_rows * tile_bytes) != 0 || elements / tile_bytes < spec.padded_rows())
      tensor.mismatch(expected_text(spec));
    tensor.require_contiguous(first);
    spec.stride = spec.per_row() ? 1 : elements / tile_bytes;
    spec.expert_stride = spec.masked ? tensor.stride(0) : 0;
    return;
  }
  const std::int64_t columns = spec.packed() ? spec.quads() : spec.blocks;
  const bool row_major = spec.layout == MOE_ACT_SCALE_LAYOUT_ROW_MAJOR;
  if (tensor.rank() != first + 2) tensor.mismatch(expected_text(spec));
  int line = first, adjacent = first + 1;  // the axis with the stride, the one without
  if (row_major) {
    if (!fits(first, spec.rows) || !fits(first + 1, columns)) tensor.mismatch(expected_text(spec));
  } else {
    const bool straight = fits(first, columns) && tensor.dimension(first + 1) >= spec.rows;
    const bool across = spec.for_tma() && fits(first, spec.rows) && fits(first + 1, columns);
    if (!straight && !across) tensor.mismatch(expected_text(spec));
    // Where both shapes fit, rows are the axis whose elements are adjacent.
    if (across && (!straight || (tensor.stride(first) == 1 && spec.rows > 1))) std::swap(line, adjacent);
  }
  tensor.require_lines(line, adjacent);
  spec.stride = tensor.dimension(line) > 1 ? tensor.stride(line) : spec.compact_stride();
  if (tensor.dimension(line) <= 1 && spec.stride < tensor.dimension(adjacent)) spec.stride = tensor.dimension(adjacent);
  spec.expert_stride = spec.masked ? tensor.stride(0) : 0;
}

}  // namespace moe_act

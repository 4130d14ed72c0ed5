// One row at a time, in strips of blocks of 128 columns: decode, activate, find the amax, encode. Each step is a loop
// over a block in the L1 cache that the compiler vectorises, and a short one: of a short chain of operations a CPU has
// more in flight at once. A partial block is a whole one with zeros behind it until its codes are stored.
//
// Compiled with MOE_ACT_CPU_NAMESPACE naming the instruction set.
#include "cpu/kernels.hpp"

#include "cpu/blocks.hpp"
#include "cpu/general.hpp"
#include "math/activation.hpp"

namespace moe_act::cpu::MOE_ACT_CPU_NAMESPACE {
namespace {

// All blocks of a strip are activated before the first is encoded: one alone would wait for its amax and two divisions.
constexpr int strip_blocks = 8;
constexpr int strip_columns = strip_blocks * block_columns;

// Values to what is encoded.
void quantize(Quantization quantization, const math::BlockScale& scale, float* values, int begin, int end) {
  if (quantization == Quantization::divide) {
    for (int i = begin; i < end; ++i) values[i] /= scale.scale;
  } else if (quantization == Quantization::multiply) {
    for (int i = begin; i < end; ++i) values[i] *= scale.factor;
  } else {
    for (int i = begin; i < end; ++i) values[i] = math::round_to_bf16(values[i] * scale.factor);
  }
}

float amax_of(const float* values, int begin, int end) {
  float amax = 0.0f;
#pragma omp simd reduction(max : amax)
  for (int i = begin; i < end; ++i) amax = math::larger_magnitude(amax, values[i]);
  return amax;
}

// Of a block.
struct Magnitude {
  float amax;   // NaN aside
  bool finite;  // are all values known to be?
};

// values = silu(gate) * up.
Magnitude activate_block(const float* gate, const float* up, float* values) {
  alignas(64) float denominator[block_columns];
  for (int i = 0; i < block_columns; ++i) denominator[i] = math::silu_denominator(gate[i]);
  // On the bits, where NaN is larger than infinity: whether there is one costs nothing, and hardly ever is one.
  std::int32_t largest = 0;
#pragma omp simd reduction(max : largest)
  for (int i = 0; i < block_columns; ++i) {
    values[i] = math::swiglu(gate[i], denominator[i], up[i]);
    const auto magnitude = static_cast<std::int32_t>(math::to_bits(values[i]) & math::magnitude_mask);
    largest = magnitude > largest ? magnitude : largest;
  }
  const auto bits = static_cast<std::uint32_t>(largest);
  if (bits > math::infinity_bits) return {amax_of(values, 0, block_columns), false};
  return {math::from_bits(bits), bits < math::infinity_bits};
}

bool has_nan(const float* values, int begin, int end) {
  bool found = false;
  for (int i = begin; i < end; ++i) found |= values[i] != values[i];
  return found;
}

// The scale of `end - begin` columns, delivered. amax: theirs. last: where the row ends, if it does before `end`.
math::BlockScale deliver_scale(const KernelArguments& arguments, const Place& place, std::int64_t column, float amax,
                               const float* values, int begin, int last) {
  const math::ScaleView& scales = arguments.out_scale_view;
  // Columns behind the row are zeros, but for what weighs them.
  const bool poisoned = arguments.numerics.has_scale_of_zero && has_nan(values, begin, last);
  const math::BlockScale scale = math::scale_of<Unit>(arguments.numerics, arguments.out_format, amax, poisoned);
  const std::int64_t block = (column + begin) >> scales.block_log2;
  math::store_scale(arguments.out_scale, scales, place.out_scale + scales.block_offset(block), scale.scale);
  return scale;
}

// Columns that share a scale by themselves: codes of up to 128 of them, and their scales.
void store_block(const KernelArguments& arguments, const Place& place, std::int64_t column, const Magnitude& magnitude,
                 float* values, int count) {
  const Quantization quantization = arguments.numerics.quantization;
  const int columns = 1 << arguments.out_scale_view.block_log2;
  if (columns == block_columns) {
    const math::BlockScale scale = deliver_scale(arguments, place, column, magnitude.amax, values, 0, count);
    if (magnitude.finite && arguments.out_format == Format::e4m3 && quantization == Quantization::divide)
      return store_quotients(arguments.out, place.out + column, values, scale.scale, count);
    quantize(quantization, scale, values, 0, block_columns);
  }
  for (int begin = 0; begin < count && columns < block_columns; begin += columns) {
    const int end = begin + columns;
    const float amax = amax_of(values, begin, end);
    quantize(quantization, deliver_scale(arguments, place, column, amax, values, begin, end < count ? end : count),
             values, begin, end);
  }
  store(arguments.out, arguments.out_format, place.out + column, values, count);
}

// Gate and up of a block with their bias, and the values that they make.
template <Format input>
Magnitude load_and_activate(const KernelArguments& arguments, const math::ScaleView& x_scales, const Place& place,
                            std::int64_t column, int count, float* values) {
  alignas(64) float gate[block_columns];
  alignas(64) float up[block_columns];
  const auto load = [&](std::int64_t first, int columns, float* loaded) {
    load_block<input>(arguments, x_scales, place, first, columns, loaded);
    if (place.model != nullptr) add_bias(arguments.model, *place.model, first, columns, loaded);
  };
  if (place.model != nullptr && arguments.model.interleave > 0) {
    alignas(64) float stored[2 * block_columns] = {};
    load(2 * column, 2 * count < block_columns ? 2 * count : block_columns, stored);
    if (2 * count > block_columns) load(2 * column + block_columns, 2 * count - block_columns, stored + block_columns);
    take_turns(stored, arguments.model.interleave, gate, up);
  } else {
    load(arguments.gate_offset + column, count, gate);
    if (place.model == nullptr || arguments.model.gated) load(arguments.up_offset + column, count, up);
  }
  if (place.model == nullptr) return activate_block(gate, up, values);
  activate_general<input>(arguments, *place.model, gate, up, values);
  return {amax_of(values, 0, count), false};
}

// The amax of `count` columns of one row from `first` on, and unless only that is asked for, their results.
// row_scale: where the whole row has one.
template <Format input>
float run_strip(const KernelArguments& arguments, const math::ScaleView& x_scales, const Place& place,
                std::int64_t first, int count, bool only_amax, const math::BlockScale& row_scale) {
  alignas(64) float values[strip_blocks][block_columns];
  Magnitude magnitudes[strip_blocks];
  float strip_amax = 0.0f;
  const auto columns = [&](int block) {
    const int left = count - block * block_columns;
    return left < block_columns ? left : block_columns;
  };
  const auto count_blocks = static_cast<int>(blocks(count));
  for (int block = 0; block < count_blocks; ++block) {
    const std::int64_t column = first + block * block_columns;
    if (!only_amax) prefetch_next<input>(arguments, place, column);
    magnitudes[block] = load_and_activate<input>(arguments, x_scales, place, column, columns(block), values[block]);
    strip_amax = magnitudes[block].amax > strip_amax ? magnitudes[block].amax : strip_amax;
  }
  if (only_amax) return strip_amax;
  for (int block = 0; block < count_blocks; ++block) {
    const std::int64_t column = first + block * block_columns;
    if (place.model != nullptr && arguments.model.unquantized != nullptr)
      store(arguments.model.unquantized, arguments.model.unquantized_format, place.model->unquantized + column,
            values[block], columns(block));
    if (!arguments.scale_per_row && arguments.out_scale != nullptr) {
      store_block(arguments, place, column, magnitudes[block], values[block], columns(block));
      continue;
    }
    if (is_scaled(arguments.out_format))
      quantize(arguments.numerics.quantization, row_scale, values[block], 0, block_columns);
    store(arguments.out, arguments.out_format, place.out + column, values[block], columns(block));
  }
  return strip_amax;
}

template <Format input>
void run_row(const KernelArguments& arguments, const math::ScaleView& x_scales, const Place& place) {
  const auto strips = [&](bool only_amax, const math::BlockScale& row_scale) {
    float amax = 0.0f;
    for (std::int64_t first = 0; first < arguments.columns; first += strip_columns) {
      const std::int64_t left = arguments.columns - first;
      const int count = left < strip_columns ? static_cast<int>(left) : strip_columns;
      const float of_strip = run_strip<input>(arguments, x_scales, place, first, count, only_amax, row_scale);
      amax = of_strip > amax ? of_strip : amax;
    }
    return amax;
  };
  math::BlockScale row_scale{1.0f, 1.0f};
  if (arguments.static_scale != nullptr) row_scale.scale = *arguments.static_scale;
  if (arguments.scale_per_row) {  // the row stays in the cache; its activation is computed twice
    row_scale = math::scale_of<Unit>(arguments.numerics, arguments.out_format, strips(true, row_scale), false);
    math::store_scale(arguments.out_scale, arguments.out_scale_view, place.out_scale, row_scale.scale);
  }
  strips(false, row_scale);
  if (arguments.out_scale != nullptr) {
    const math::ScaleView& scales = arguments.out_scale_view;
    math::fill_quad(arguments.out_scale, scales, place.out_scale, scales.blocks_of(arguments.columns));
  }
}

template <Format input>
void run_rows(const KernelArguments& arguments, const Rows& rows) {
  const std::int64_t total = arguments.total_num_padded_tokens != nullptr ? *arguments.total_num_padded_tokens : 0;
  const math::ScaleView x_scales = math::resolve<std::int64_t>(arguments.x_scale_view, total);
  KernelArguments resolved = arguments;
  resolved.out_scale_view = math::resolve<std::int64_t>(arguments.out_scale_view, total);
  const RowAddressing& addressing = arguments.rows;
  const std::int64_t part = addressing.kind == RowKind::masked ? rows.expert : 0;
  const auto row_of = [&](std::int64_t i) { return addressing.is_list() ? addressing.row_of(i) : rows.first_row + i; };
  const auto live_from = [&](std::int64_t i) {
    while (i < rows.end && row_of(i) < 0) ++i;
    return i;
  };
  const auto x_of = [&](std::int64_t row) { return part * arguments.x_expert_stride + row * arguments.x_row_stride; };
  const auto out_of = [&](std::int64_t row) {
    return part * arguments.out_expert_stride + row * arguments.out_row_stride;
  };
  for (std::int64_t i = live_from(rows.begin), next = i; i < rows.end; i = next) {
    next = live_from(i + 1);
    const std::int64_t row = row_of(i);
    const std::int64_t next_row = next < rows.end ? row_of(next) : row;
    // Only the swizzled layout pads segments.
    const auto scale_offset = [&](const math::ScaleView& view) {
      const bool padded = view.swizzled && !addressing.is_list();
      return view.row_offset(part, padded ? rows.first_scale_row + i : row);
    };
    RowModel model{};
    if (arguments.is_general) model = row_model(arguments.model, addressing, i, rows.expert, row);
    run_row<input>(resolved, x_scales,
                   {x_of(row), out_of(row), scale_offset(x_scales), scale_offset(resolved.out_scale_view),
                    x_of(next_row), out_of(next_row), arguments.is_general ? &model : nullptr});
  }
}

}  // namespace

RowsFunction find_kernel(Format input) {
  switch (input) {
    case Format::e4m3: return &run_rows<Format::e4m3>;
    case Format::bf16: return &run_rows<Format::bf16>;
    case Format::fp16: return &run_rows<Format::fp16>;
    case Format::fp32: return &run_rows<Format::fp32>;
    default: return nullptr;
  }
}

}  // namespace moe_act::cpu::MOE_ACT_CPU_NAMESPACE

// One row at a time, in strips of blocks of 128 columns: decode, activate, find the amax, encode. Each step is a loop
// over a block in the L1 cache that the compiler vectorises, and a short one: of a short chain of operations a CPU has
// more in flight at once. A partial block is a whole one with zeros behind it until its codes are stored.
//
// Compiled with MOE_ACT_CPU_NAMESPACE naming the instruction set.
#include "cpu/kernels.hpp"

#include <cstring>

#include "cpu/half.hpp"
#include "math/activation.hpp"
#include "math/encoding.hpp"

namespace moe_act::cpu::MOE_ACT_CPU_NAMESPACE {
namespace {

using math::Encoding;

template <Format format>
using Bits = typename Encoding<format>::Bits;

// All blocks of a strip are activated before the first is encoded: one alone would wait for its amax and two divisions.
constexpr int strip_blocks = 8;
constexpr int strip_columns = strip_blocks * block_columns;

// What decode_block leaves of an e4m3 value.
constexpr float decoded_fraction = has_half_instructions ? 0x1p-8f : 1.0f;

// The codes of a block as fp32, not yet scaled.
template <Format input>
void decode_block(const Bits<input>* codes, float* values) {
  if constexpr (input == Format::fp16) {
    decode_halves(codes, values);
  } else if constexpr (input == Format::e4m3 && has_half_instructions) {
    // Moved to where fp16 has exponent and mantissa, an e4m3 code is 2^-8 of its value.
    alignas(64) std::uint16_t halves[block_columns];
    for (int i = 0; i < block_columns; ++i) {
      const auto extended = static_cast<std::uint16_t>(static_cast<std::int8_t>(codes[i]));
      const auto half = static_cast<std::uint16_t>(extended << 7 & 0xbfff);
      halves[i] = (half & 0x3f80) == 0x3f80 ? 0x7fff : half;
    }
    decode_halves(halves, values);
  } else {
    for (int i = 0; i < block_columns; ++i) values[i] = Encoding<input>::decode(codes[i]);
  }
}

// `count` stored columns of one row from `first` on, as fp32, and zeros after them.
template <Format input>
void load_block(const KernelArguments& arguments, math::ScaleStrides strides, RowUnit row, std::int64_t first,
                int count, float* values) {
  const auto* codes = static_cast<const Bits<input>*>(arguments.x) + row.in_row * arguments.x_row_stride + first;
  if (count == block_columns) {
    decode_block<input>(codes, values);
  } else {
    Bits<input> padded[block_columns] = {};
    std::memcpy(padded, codes, static_cast<std::size_t>(count) * sizeof(Bits<input>));
    decode_block<input>(padded, values);
  }
  if constexpr (is_scaled(input)) {
    // Input blocks count stored columns, so a half that does not begin on a block boundary sees two scales.
    const std::int64_t block = first / block_columns;
    const auto in_first = static_cast<int>((block + 1) * block_columns - first);
    const auto scale_columns = [&](int begin, int end, std::int64_t scale_block) {
      const float scale = arguments.x_scale[math::scale_offset(strides, row.scale_row, scale_block)];
      for (int i = begin; i < end; ++i) values[i] = scale * (values[i] * (1.0f / decoded_fraction));
    };
    scale_columns(0, in_first, block);
    if (count > in_first) scale_columns(in_first, block_columns, block + 1);
  }
}

// Codes in words of 32 bits to memory. A loop of its own: within the encoding, compilers narrow every operand.
template <Format output>
void store_codes(void* out, std::int64_t offset, const std::uint32_t* codes, int count) {
  auto* target = static_cast<Bits<output>*>(out) + offset;
  for (int i = 0; i < count; ++i) target[i] = static_cast<Bits<output>>(codes[i]);
}

template <Format output>
void store_plain(void* out, std::int64_t offset, const float* values, int count) {
  alignas(64) std::uint32_t codes[block_columns];
  for (int i = 0; i < block_columns; ++i) codes[i] = Encoding<output>::encode(values[i]);
  store_codes<output>(out, offset, codes, count);
}

void store_divided(void* out, std::int64_t offset, const float* values, int count, float scale) {
  alignas(64) std::uint32_t codes[block_columns];
  const float inverse = 1.0f / scale;
  for (int i = 0; i < block_columns; ++i) codes[i] = Encoding<Format::e4m3>::encode(values[i] * inverse);
  store_codes<Format::e4m3>(out, offset, codes, count);
}

// values = silu(gate) * up; returns their amax.
float activate_block(const float* gate, const float* up, float* values) {
  alignas(64) float denominator[block_columns];
  for (int i = 0; i < block_columns; ++i) denominator[i] = math::silu_denominator(gate[i]);
  float amax = 0.0f;
#pragma omp simd reduction(max : amax)
  for (int i = 0; i < block_columns; ++i) {
    values[i] = math::swiglu(gate[i], denominator[i], up[i]);
    amax = math::larger_magnitude(amax, values[i]);
  }
  return amax;
}

// `count` columns of one row from `first` on.
template <Format input, OutputKind output>
void run_strip(const KernelArguments& arguments, math::ScaleStrides x_scale_strides,
               math::ScaleStrides out_scale_strides, RowUnit row, std::int64_t first, int count) {
  alignas(64) float values[strip_blocks][block_columns];
  float amax[strip_blocks];
  const auto columns = [&](int block) {
    const int left = count - block * block_columns;
    return left < block_columns ? left : block_columns;
  };
  const auto count_blocks = static_cast<int>(blocks(count));
  for (int block = 0; block < count_blocks; ++block) {
    alignas(64) float gate[block_columns];
    alignas(64) float up[block_columns];
    const std::int64_t column = first + block * block_columns;
    load_block<input>(arguments, x_scale_strides, row, arguments.gate_offset + column, columns(block), gate);
    load_block<input>(arguments, x_scale_strides, row, arguments.up_offset + column, columns(block), up);
    amax[block] = activate_block(gate, up, values[block]);
  }
  for (int block = 0; block < count_blocks; ++block) {
    const std::int64_t column = first + block * block_columns;
    const std::int64_t offset = row.out_row * arguments.out_row_stride + column;
    if constexpr (output == OutputKind::plain) {
      switch (arguments.out_format) {
        case Format::fp32: store_plain<Format::fp32>(arguments.out, offset, values[block], columns(block)); break;
        case Format::fp16: store_plain<Format::fp16>(arguments.out, offset, values[block], columns(block)); break;
        default: store_plain<Format::bf16>(arguments.out, offset, values[block], columns(block));
      }
    } else if (arguments.static_scale != nullptr) {
      store_divided(arguments.out, offset, values[block], columns(block), *arguments.static_scale);
    } else {
      const float scale = math::block_scale(amax[block]);
      arguments.out_scale[math::scale_offset(out_scale_strides, row.scale_row, column / block_columns)] = scale;
      store_divided(arguments.out, offset, values[block], columns(block), scale);
    }
  }
}

template <Format input, OutputKind output>
void run_rows(const KernelArguments& arguments, std::int64_t begin, std::int64_t end) {
  const std::int64_t total = arguments.total_num_padded_tokens != nullptr ? *arguments.total_num_padded_tokens : 0;
  const math::ScaleStrides x_scale_strides = resolve(arguments.x_scale_strides, total);
  const math::ScaleStrides out_scale_strides = resolve(arguments.out_scale_strides, total);
  for (std::int64_t unit = begin; unit < end; ++unit) {
    const RowUnit row = arguments.source.unit_of(unit, arguments.source.look_up(unit));
    if (!row.is_live()) continue;
    for (std::int64_t first = 0; first < arguments.columns; first += strip_columns) {
      const std::int64_t left = arguments.columns - first;
      const int count = left < strip_columns ? static_cast<int>(left) : strip_columns;
      run_strip<input, output>(arguments, x_scale_strides, out_scale_strides, row, first, count);
    }
  }
}

template <OutputKind output>
RowsFunction find_kernel(Format input) {
  switch (input) {
    case Format::e4m3: return &run_rows<Format::e4m3, output>;
    case Format::bf16: return &run_rows<Format::bf16, output>;
    case Format::fp16: return &run_rows<Format::fp16, output>;
    case Format::fp32: return &run_rows<Format::fp32, output>;
    default: return nullptr;
  }
}

}  // namespace

RowsFunction find_kernel(Format input, OutputKind output) {
  return output == OutputKind::plain ? find_kernel<OutputKind::plain>(input) : find_kernel<OutputKind::e4m3>(input);
}

}  // namespace moe_act::cpu::MOE_ACT_CPU_NAMESPACE

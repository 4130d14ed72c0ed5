// One row at a time, one block of 128 columns at a time: decode, activate, find the amax, encode. Each step is a loop
// over contiguous floats that the compiler vectorises; nothing here calls a function that is not always inlined.
//
// Compiled with MOE_ACT_CPU_NAMESPACE naming the instruction set.
#include "cpu/kernels.hpp"

#include "math/activation.hpp"
#include "math/encoding.hpp"

namespace moe_act::cpu::MOE_ACT_CPU_NAMESPACE {
namespace {

using math::Encoding;

template <Format format>
using Bits = typename Encoding<format>::Bits;

// `count` stored columns of one row from `first` on, as fp32.
template <Format input>
void decode_columns(const KernelArguments& arguments, math::ScaleStrides strides, RowUnit row, std::int64_t first,
                    int count, float* values) {
  const auto* source = static_cast<const Bits<input>*>(arguments.x) + row.in_row * arguments.x_row_stride + first;
  if constexpr (is_scaled(input)) {
    // Input blocks count stored columns, so a half that does not begin on a block boundary sees two scales.
    for (int done = 0; done < count;) {
      const std::int64_t block = (first + done) / block_columns;
      const std::int64_t left_in_block = (block + 1) * block_columns - (first + done);
      const int columns = left_in_block < count - done ? static_cast<int>(left_in_block) : count - done;
      const float scale = arguments.x_scale[math::scale_offset(strides, row.scale_row, block)];
      for (int i = 0; i < columns; ++i) values[done + i] = scale * Encoding<input>::decode(source[done + i]);
      done += columns;
    }
  } else {
    for (int i = 0; i < count; ++i) values[i] = Encoding<input>::decode(source[i]);
  }
}

template <Format output>
void encode_plain(void* out, std::int64_t offset, const float* values, int count) {
  auto* target = static_cast<Bits<output>*>(out) + offset;
  for (int i = 0; i < count; ++i) target[i] = Encoding<output>::encode(values[i]);
}

void encode_divided(void* out, std::int64_t offset, const float* values, int count, float scale) {
  auto* target = static_cast<Bits<Format::e4m3>*>(out) + offset;
  for (int i = 0; i < count; ++i) target[i] = Encoding<Format::e4m3>::encode(values[i] / scale);
}

template <Format input, OutputKind output>
void run_block(const KernelArguments& arguments, math::ScaleStrides x_scale_strides,
               math::ScaleStrides out_scale_strides, RowUnit row, std::int64_t first, int count) {
  alignas(64) float gate[block_columns];
  alignas(64) float up[block_columns];
  decode_columns<input>(arguments, x_scale_strides, row, arguments.gate_offset + first, count, gate);
  decode_columns<input>(arguments, x_scale_strides, row, arguments.up_offset + first, count, up);

  alignas(64) float values[block_columns];
  for (int i = 0; i < count; ++i) values[i] = math::swiglu(gate[i], up[i]);

  const std::int64_t offset = row.out_row * arguments.out_row_stride + first;
  if constexpr (output == OutputKind::plain) {
    switch (arguments.out_format) {
      case Format::fp32: return encode_plain<Format::fp32>(arguments.out, offset, values, count);
      case Format::fp16: return encode_plain<Format::fp16>(arguments.out, offset, values, count);
      default: return encode_plain<Format::bf16>(arguments.out, offset, values, count);
    }
  } else if (arguments.static_scale != nullptr) {
    encode_divided(arguments.out, offset, values, count, *arguments.static_scale);
  } else {
    std::int32_t amax = 0;
    for (int i = 0; i < count; ++i) {
      const std::int32_t bits = math::amax_bits(values[i]);
      amax = bits > amax ? bits : amax;
    }
    const float scale = math::block_scale(math::from_bits(static_cast<std::uint32_t>(amax)));
    arguments.out_scale[math::scale_offset(out_scale_strides, row.scale_row, first / block_columns)] = scale;
    encode_divided(arguments.out, offset, values, count, scale);
  }
}

template <Format input, OutputKind output>
void run_rows(const KernelArguments& arguments, std::int64_t begin, std::int64_t end) {
  const std::int64_t total = arguments.total_num_padded_tokens != nullptr ? *arguments.total_num_padded_tokens : 0;
  const math::ScaleStrides x_scale_strides = resolve(arguments.x_scale_strides, total);
  const math::ScaleStrides out_scale_strides = resolve(arguments.out_scale_strides, total);
  for (std::int64_t unit = begin; unit < end; ++unit) {
    const RowUnit row = arguments.source.unit_of(arguments.source.entry(unit));
    if (!row.is_live()) continue;
    for (std::int64_t first = 0; first < arguments.columns; first += block_columns) {
      const std::int64_t left = arguments.columns - first;
      const int count = left < block_columns ? static_cast<int>(left) : block_columns;
      run_block<input, output>(arguments, x_scale_strides, out_scale_strides, row, first, count);
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

// A block of columns on its way between memory and fp32: decoded and scaled, or encoded.
//
// Part of kernels.cpp, and of nothing else: functions without a name outside are inlined where they are called once.
#pragma once

#include <cstring>

#include "core/kernel_arguments.hpp"
#include "cpu/general.hpp"
#include "cpu/half.hpp"
#include "math/encoding.hpp"

namespace moe_act::cpu::MOE_ACT_CPU_NAMESPACE {
namespace {

using math::Encoding;

template <Format format>
using Bits = typename Encoding<format>::Bits;

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

// Where a row lies: offsets of its first element, and of its scales, which are in bytes.
struct Place {
  std::int64_t x, out, x_scale, out_scale;
  std::int64_t next_x, next_out;  // x and out of the row that comes next; of this one if none does
  const RowModel* model;          // null where the problem is plain
};

// Always inlined: GCC takes calls that do nothing else away.
[[gnu::always_inline]] inline void prefetch(const void* first, std::int64_t bytes) {
  constexpr int line_bytes = 64;
  for (std::int64_t i = 0; i < bytes; i += line_bytes) __builtin_prefetch(static_cast<const char*>(first) + i);
}

// A block of the next row, while this one's is computed: hardware fetches nothing ahead from another page.
template <Format input>
[[gnu::always_inline]] inline void prefetch_next(const KernelArguments& arguments, const Place& place,
                                                 std::int64_t column) {
  const auto* x = static_cast<const Bits<input>*>(arguments.x) + place.next_x + column;
  prefetch(x + arguments.gate_offset, block_columns * bytes_per_element(input));
  prefetch(x + arguments.up_offset, block_columns * bytes_per_element(input));
  const int out_bytes = bytes_per_element(arguments.out_format);
  prefetch(static_cast<const char*>(arguments.out) + (place.next_out + column) * out_bytes, block_columns * out_bytes);
}

// `count` stored columns of one row from `first` on, as fp32, and zeros after them.
template <Format input>
void load_block(const KernelArguments& arguments, const math::ScaleView& scales, const Place& place, std::int64_t first,
                int count, float* values) {
  const auto* codes = static_cast<const Bits<input>*>(arguments.x) + place.x + first;
  if (count == block_columns) {
    decode_block<input>(codes, values);
  } else {
    Bits<input> padded[block_columns] = {};
    std::memcpy(padded, codes, static_cast<std::size_t>(count) * sizeof(Bits<input>));
    decode_block<input>(padded, values);
  }
  if constexpr (is_scaled(input)) {
    // Input blocks count stored columns, so a half that does not begin on a block boundary sees one more of them.
    const std::int64_t columns = std::int64_t{1} << scales.block_log2;
    for (std::int64_t block = first >> scales.block_log2; block * columns < first + count; ++block) {
      const float scale = math::load_scale(arguments.x_scale, scales, place.x_scale + scales.block_offset(block));
      const auto begin = static_cast<int>(block * columns > first ? block * columns - first : 0);
      const std::int64_t past = (block + 1) * columns - first;
      const int end = past < count ? static_cast<int>(past) : block_columns;  // the last one's zeros, too
      if (begin == 0 && end == block_columns) {  // the usual case has a loop of its own: its length is known
        for (int i = 0; i < block_columns; ++i) values[i] = scale * (values[i] * (1.0f / decoded_fraction));
      } else {
        for (int i = begin; i < end; ++i) values[i] = scale * (values[i] * (1.0f / decoded_fraction));
      }
    }
  }
}

// Codes in words of 32 bits to memory. A loop of its own: within the encoding, compilers narrow every operand.
template <Format output>
void store_codes(void* out, std::int64_t offset, const std::uint32_t* codes, int count) {
  auto* target = static_cast<Bits<output>*>(out) + offset;
  for (int i = 0; i < count; ++i) target[i] = static_cast<Bits<output>>(codes[i]);
}

template <Format output>
void store_as(void* out, std::int64_t offset, const float* values, int count) {
  alignas(64) std::uint32_t codes[block_columns];
  for (int i = 0; i < block_columns; ++i) codes[i] = Encoding<output>::encode(values[i]);
  store_codes<output>(out, offset, codes, count);
}

void store(void* out, Format format, std::int64_t offset, const float* values, int count) {
  switch (format) {
    case Format::fp32: return store_as<Format::fp32>(out, offset, values, count);
    case Format::fp16: return store_as<Format::fp16>(out, offset, values, count);
    case Format::bf16: return store_as<Format::bf16>(out, offset, values, count);
    case Format::e5m2: return store_as<Format::e5m2>(out, offset, values, count);
    default: return store_as<Format::e4m3>(out, offset, values, count);
  }
}

// The codes of values / scale, of finite values and a scale that was made of them: none is out of range.
void store_quotients(void* out, std::int64_t offset, const float* values, float scale, int count) {
  alignas(64) std::uint32_t codes[block_columns];
  for (int i = 0; i < block_columns; ++i) codes[i] = Encoding<Format::e4m3>::encode_in_range(values[i] / scale);
  store_codes<Format::e4m3>(out, offset, codes, count);
}

}  // namespace
}  // namespace moe_act::cpu::MOE_ACT_CPU_NAMESPACE

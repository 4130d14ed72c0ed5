// Element formats as data: what every other room needs to know about a format is a row of this table.
#pragma once

#include <cstdint>

namespace moe_act {

enum class Format : std::int32_t { none = 0, fp32 = 1, fp16 = 2, bf16 = 3, e4m3 = 4, e5m2 = 5, e2m1 = 6, ue8m0 = 7 };

struct FormatTraits {
  Format format;
  const char* name;
  int bits;
  int scale_block;        // columns that share a scale; 0 = never scaled
  Format scale_format;    // of that scale
  bool has_global_scale;  // a second scale for the whole tensor
};

inline constexpr FormatTraits format_traits[] = {
    {Format::none, "none", 0, 0, Format::none, false},   {Format::fp32, "fp32", 32, 0, Format::none, false},
    {Format::fp16, "fp16", 16, 0, Format::none, false},  {Format::bf16, "bf16", 16, 0, Format::none, false},
    {Format::e4m3, "e4m3", 8, 128, Format::fp32, false}, {Format::e5m2, "e5m2", 8, 128, Format::fp32, false},
    {Format::e2m1, "e2m1", 4, 16, Format::e4m3, true},   {Format::ue8m0, "ue8m0", 8, 0, Format::none, false},
};

constexpr const FormatTraits& traits(Format format) {
  return format_traits[static_cast<int>(format)];
}

constexpr int bytes_per_element(Format format) {
  return traits(format).bits / 8;
}

constexpr bool is_scaled(Format format) {
  return traits(format).scale_block != 0;
}

// Columns that share one fp32 scale, of inputs and outputs alike.
inline constexpr int block_columns = 128;

constexpr std::int64_t blocks(std::int64_t columns) {
  return (columns + block_columns - 1) / block_columns;
}

}  // namespace moe_act

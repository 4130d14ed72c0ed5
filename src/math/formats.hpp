// Element formats as data: what every other room needs to know about a format is a row of this table.
#pragma once

#include <cstdint>

namespace moe_act {

enum class Format : std::int32_t { none = 0, fp32 = 1, fp16 = 2, bf16 = 3, e4m3 = 4, e5m2 = 5, e2m1 = 6, ue8m0 = 7 };

struct FormatTraits {
  Format format;
  const char* name;
  int bits;
  bool is_scaled;  // do its codes come with scales?
};

inline constexpr FormatTraits format_traits[] = {
    {Format::none, "none", 0, false},  {Format::fp32, "fp32", 32, false},  {Format::fp16, "fp16", 16, false},
    {Format::bf16, "bf16", 16, false}, {Format::e4m3, "e4m3", 8, true},    {Format::e5m2, "e5m2", 8, true},
    {Format::e2m1, "e2m1", 4, true},   {Format::ue8m0, "ue8m0", 8, false},
};

constexpr const FormatTraits& traits(Format format) {
  return format_traits[static_cast<int>(format)];
}

constexpr int bytes_per_element(Format format) {
  return traits(format).bits / 8;
}

constexpr bool is_scaled(Format format) {
  return traits(format).is_scaled;
}

// Columns that share a scale unless a problem says otherwise.
inline constexpr int block_columns = 128;

constexpr std::int64_t blocks(std::int64_t columns) {
  return (columns + block_columns - 1) / block_columns;
}

}  // namespace moe_act

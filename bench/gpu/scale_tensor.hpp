// Where scales lie, from the words of docs/layouts.md and not from the library's code: what it reads and writes is
// checked against this.
#pragma once

#include <cstdint>
#include <string>

#include "math/portable.hpp"
#include "moe_act/c_api.h"

namespace bench {

inline constexpr std::int64_t block_columns = 128;  // columns that share a scale, unless said otherwise

struct ScaleForm {
  moe_act_scale_layout layout = MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR;
  std::int64_t block = block_columns;  // columns that share a scale; 0 = one for each row, fp32 [rows]

  constexpr bool operator==(const ScaleForm&) const = default;
  MOE_ACT_HOST_DEVICE bool is_packed() const { return layout == MOE_ACT_SCALE_LAYOUT_PACKED_UE8M0; }
  MOE_ACT_HOST_DEVICE bool is_swizzled() const { return layout == MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4; }
  MOE_ACT_HOST_DEVICE bool is_ue8m0() const { return is_packed() || is_swizzled(); }
  MOE_ACT_HOST_DEVICE std::int64_t element_bytes() const { return is_ue8m0() ? 1 : 4; }
  MOE_ACT_HOST_DEVICE std::int64_t blocks(std::int64_t columns) const {
    return block == 0 ? 1 : (columns + block - 1) / block;
  }
};

std::string name_of(const ScaleForm& form);  // "packed_ue8m0-32", "per_row"

// The scales of [parts, rows, columns]. Rows count through all parts; elements are fp32, or bytes where they are ue8m0.
struct ScaleTensor {
  ScaleForm form;
  std::int64_t rows = 0;  // of a part
  std::int64_t columns = 0;

  MOE_ACT_HOST_DEVICE std::int64_t blocks() const { return form.blocks(columns); }
  // Elements from a row or block to the next that is not adjacent; swizzled: padded rows, as the library counts.
  MOE_ACT_HOST_DEVICE std::int64_t stride() const {
    if (form.layout == MOE_ACT_SCALE_LAYOUT_ROW_MAJOR) return blocks();
    if (form.is_swizzled()) return up(rows, 128);
    return form.is_packed() || form.layout == MOE_ACT_SCALE_LAYOUT_TMA_COLUMN_MAJOR ? up(rows, 4) : rows;
  }
  MOE_ACT_HOST_DEVICE std::int64_t part_elements() const {
    if (form.layout == MOE_ACT_SCALE_LAYOUT_ROW_MAJOR) return rows * stride();
    return stride() * (form.is_ue8m0() ? up(blocks(), 4) : blocks());
  }
  MOE_ACT_HOST_DEVICE std::int64_t element(std::int64_t row, std::int64_t block) const {
    const std::int64_t first = row / rows * part_elements(), r = row % rows;
    switch (form.layout) {
      case MOE_ACT_SCALE_LAYOUT_ROW_MAJOR: return first + r * stride() + block;
      case MOE_ACT_SCALE_LAYOUT_PACKED_UE8M0: return first + 4 * (stride() * (block / 4) + r) + block % 4;
      case MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4:
        return first + 512 * (r / 128 * (up(blocks(), 4) / 4) + block / 4) + r % 32 * 16 + r % 128 / 32 * 4 + block % 4;
      default: return first + stride() * block + r;
    }
  }

 private:
  MOE_ACT_HOST_DEVICE static std::int64_t up(std::int64_t value, std::int64_t step) {
    return (value + step - 1) / step * step;
  }
};

}  // namespace bench

// What a kernel for dense rows with scales in one layout is given, and how it is launched. The layout is settled when
// the kernel is compiled.
#pragma once

#include <algorithm>
#include <bit>
#include <string>
#include <type_traits>

#include "contender.hpp"
#include "move_chunk.cuh"

namespace bench {

struct LayoutArguments {
  Buffers buffers;
  std::uint32_t rows;
  std::uint32_t columns;     // H
  std::uint32_t block_log2;  // columns that share a scale, of the tensor in that layout
  std::uint32_t stride;      // ScaleTensor::stride()
  std::uint32_t quads;       // of a row's blocks, swizzled
};

template <moe_act_scale_layout layout>
constexpr bool is_ue8m0 = layout == MOE_ACT_SCALE_LAYOUT_PACKED_UE8M0 || layout == MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4;

// ScaleTensor::element() in 32 bits.
template <moe_act_scale_layout layout>
__device__ __forceinline__ std::uint32_t element_of(const LayoutArguments& arguments, std::uint32_t row,
                                                    std::uint32_t block) {
  if constexpr (layout == MOE_ACT_SCALE_LAYOUT_ROW_MAJOR)
    return row * arguments.stride + block;
  else if constexpr (layout == MOE_ACT_SCALE_LAYOUT_PACKED_UE8M0)
    return 4 * (arguments.stride * (block / 4) + row) + block % 4;
  else if constexpr (layout == MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4)
    return 512 * (row / 128 * arguments.quads + block / 4) + row % 32 * 16 + row % 128 / 32 * 4 + block % 4;
  else
    return arguments.stride * block + row;
}

// A contender of such kernels. threadIdx: x = lane, y = warp along the row, z = row of the CTA; blockIdx: x = rows, y =
// further along the row. A warp does 32 * columns output columns of a row.
template <int element_bytes, int columns, moe_act_scale_layout layout>
class OneLayout : public Contender {
 public:
  explicit OneLayout(int warps) : warps_(warps) {}
  std::string geometry() const override {
    return std::to_string(columns) + " columns x 1 vectors, " + std::to_string(warps_) + " warps";
  }
  bool handles(const Workload& workload, const Device&) const override {
    const ScaleForm& form = form_of(workload);
    return workload.row_kind == MOE_ACT_ROWS_DENSE && !workload.has_plain_scales() && form.block > 0 &&
           layout_of(form) == layout && workload.element_bytes() == element_bytes && workload.columns % columns == 0;
  }
  void prepare(const Workload& workload, const Device&) override {
    const ScaleForm& form = form_of(workload);
    const ScaleTensor scales = element_bytes == 1 ? workload.x_scales() : workload.out_scales();
    arguments_.rows = static_cast<std::uint32_t>(workload.rows);
    arguments_.columns = static_cast<std::uint32_t>(workload.columns);
    arguments_.block_log2 = static_cast<std::uint32_t>(std::bit_width(static_cast<std::uint64_t>(form.block)) - 1);
    arguments_.stride = static_cast<std::uint32_t>(scales.stride());
    arguments_.quads = static_cast<std::uint32_t>(ceil_div(scales.blocks(), 4));
    const std::int64_t chunks = ceil_div(workload.columns, warp_lanes * columns);
    const std::int64_t along_row =
        std::min<std::int64_t>(static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(chunks))), warps_);
    const std::int64_t rows = warps_ / along_row;
    block_ = dim3(warp_lanes, static_cast<unsigned>(along_row), static_cast<unsigned>(rows));
    grid_ =
        dim3(static_cast<unsigned>(ceil_div(workload.rows, rows)), static_cast<unsigned>(ceil_div(chunks, along_row)));
  }

  void launch(const Buffers& buffers, cudaStream_t stream) override {
    arguments_.buffers = buffers;
    launch_kernel(kernel(), grid_, block_, arguments_, stream);
  }

 protected:
  using Kernel = void (*)(LayoutArguments);
  virtual Kernel kernel() const = 0;
  // Of the tensor in that layout: what has scales of x has plain ones of its results.
  static const ScaleForm& form_of(const Workload& workload) {
    return workload.has_x_scale() ? workload.x_form : workload.out_form;
  }

 private:
  // TMA column major differs by its stride alone.
  static moe_act_scale_layout layout_of(const ScaleForm& form) {
    return form.layout == MOE_ACT_SCALE_LAYOUT_TMA_COLUMN_MAJOR ? MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR : form.layout;
  }

  int warps_;
  LayoutArguments arguments_{};
  dim3 grid_, block_;
};

// Of each layout and geometry one: Make<layout>::add<element_bytes, columns>(contenders, warps).
template <template <moe_act_scale_layout> typename Make>
void add_every_layout(Contenders& contenders) {
  const auto add = [&]<moe_act_scale_layout layout>() {
    for (const int warps : {4, 8, 16}) {
      Make<layout>::template add<1, 4>(contenders, warps);
      Make<layout>::template add<1, 8>(contenders, warps);
      Make<layout>::template add<1, 16>(contenders, warps);
      Make<layout>::template add<2, 4>(contenders, warps);
      Make<layout>::template add<2, 8>(contenders, warps);
    }
  };
  add.template operator()<MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR>();
  add.template operator()<MOE_ACT_SCALE_LAYOUT_ROW_MAJOR>();
  add.template operator()<MOE_ACT_SCALE_LAYOUT_PACKED_UE8M0>();
  add.template operator()<MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4>();
}

}  // namespace bench

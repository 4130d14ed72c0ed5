// Moves what the activation moves of dense rows whose scales lie in another layout than column-major fp32 of 128
// columns. The layout is settled when the kernel is compiled: what it costs a kernel that knows nothing else.
#include <algorithm>
#include <bit>
#include <type_traits>

#include "contender.hpp"
#include "move_chunk.cuh"

namespace bench {
namespace {

struct MoveLayoutsArguments {
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
__device__ __forceinline__ std::uint32_t element_of(const MoveLayoutsArguments& arguments, std::uint32_t row,
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

// threadIdx: x = lane, y = warp along the row, z = row of the CTA. A warp moves 32 * columns output columns of a row.
template <int element_bytes, int columns, moe_act_scale_layout layout>
__global__ void __launch_bounds__(512) move_layouts_kernel(const __grid_constant__ MoveLayoutsArguments arguments) {
  constexpr bool scaled = element_bytes == 1;  // x_scale in the layout and out_scale plain, or out_scale in it
  constexpr int out_words = columns / 4, in_words = out_words * element_bytes;
  using Scale = std::conditional_t<is_ue8m0<layout>, std::uint8_t, float>;
  const Buffers& buffers = arguments.buffers;
  const std::uint32_t row = blockIdx.x * blockDim.z + threadIdx.z;
  const std::uint32_t column = columns * (warp_lanes * (blockIdx.y * blockDim.y + threadIdx.y) + threadIdx.x);
  if (row >= arguments.rows || column >= arguments.columns) return;
  const std::uint8_t* up_source = buffers.x + (std::uint64_t{row} * 2 * arguments.columns + column) * element_bytes;
  const std::uint8_t* gate_source = up_source + arguments.columns * element_bytes;
  std::uint32_t up[in_words], gate[in_words], out[out_words];
  load(up, up_source);
  load(gate, gate_source);
  std::uint32_t scale = 0;
  if constexpr (scaled) {
    const auto* scales = reinterpret_cast<const Scale*>(buffers.x_scale);
    const auto bits_of = [&](std::uint32_t stored) {
      const Scale value = __ldg(scales + element_of<layout>(arguments, row, stored >> arguments.block_log2));
      if constexpr (is_ue8m0<layout>)
        return std::uint32_t{value};
      else
        return __float_as_uint(value);
    };
    scale = bits_of(column) ^ bits_of(arguments.columns + column);
  }
#pragma unroll
  for (int i = 0; i < out_words; ++i) {
    out[i] = 0;
#pragma unroll
    for (int part = 0; part < element_bytes; ++part)
      out[i] ^= up[i * element_bytes + part] ^ gate[i * element_bytes + part];
  }
  if constexpr (scaled) {
    if (column % block_columns == 0)
      buffers.out_scale[arguments.rows * (column / block_columns) + row] = __uint_as_float(scale);
  } else if ((column & ((1u << arguments.block_log2) - 1)) == 0) {
    auto* target = reinterpret_cast<Scale*>(buffers.out_scale) +
                   element_of<layout>(arguments, row, column >> arguments.block_log2);
    if constexpr (is_ue8m0<layout>)
      *target = static_cast<std::uint8_t>(out[0]);
    else
      *target = __uint_as_float(out[0]);
  }
  store(buffers.out + std::uint64_t{row} * arguments.columns + column, out);
}

template <int element_bytes, int columns, moe_act_scale_layout layout>
class MoveLayouts : public Contender {
 public:
  explicit MoveLayouts(int warps) : warps_(warps) {}
  std::string name() const override { return "move_rows"; }
  std::string geometry() const override {
    return std::to_string(columns) + " columns x 1 vectors, " + std::to_string(warps_) + " warps";
  }
  bool computes() const override { return false; }
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
    launch_kernel(move_layouts_kernel<element_bytes, columns, layout>, grid_, block_, arguments_, stream);
  }

 private:
  static const ScaleForm& form_of(const Workload& workload) {
    return workload.has_x_scale() ? workload.x_form : workload.out_form;
  }
  // TMA column major differs by its stride alone.
  static moe_act_scale_layout layout_of(const ScaleForm& form) {
    return form.layout == MOE_ACT_SCALE_LAYOUT_TMA_COLUMN_MAJOR ? MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR : form.layout;
  }

  int warps_;
  MoveLayoutsArguments arguments_{};
  dim3 grid_, block_;
};

template <moe_act_scale_layout layout>
void add_move_layout(Contenders& contenders) {
  for (const int warps : {4, 8, 16}) {
    contenders.push_back(std::make_unique<MoveLayouts<1, 4, layout>>(warps));
    contenders.push_back(std::make_unique<MoveLayouts<1, 8, layout>>(warps));
    contenders.push_back(std::make_unique<MoveLayouts<1, 16, layout>>(warps));
    contenders.push_back(std::make_unique<MoveLayouts<2, 4, layout>>(warps));
    contenders.push_back(std::make_unique<MoveLayouts<2, 8, layout>>(warps));
  }
}

}  // namespace

void add_move_layouts(Contenders& contenders) {
  add_move_layout<MOE_ACT_SCALE_LAYOUT_COLUMN_MAJOR>(contenders);
  add_move_layout<MOE_ACT_SCALE_LAYOUT_ROW_MAJOR>(contenders);
  add_move_layout<MOE_ACT_SCALE_LAYOUT_PACKED_UE8M0>(contenders);
  add_move_layout<MOE_ACT_SCALE_LAYOUT_SWIZZLED_128X4>(contenders);
}

}  // namespace bench

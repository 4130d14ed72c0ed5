// Moves what the activation moves of dense rows whose scales lie in another layout than column-major fp32 of 128
// columns. The layout is settled when the kernel is compiled: what it costs a kernel that knows nothing else.
#include "one_layout.cuh"

namespace bench {
namespace {

template <int element_bytes, int columns, moe_act_scale_layout layout>
__global__ void __launch_bounds__(512) move_layouts_kernel(const __grid_constant__ LayoutArguments arguments) {
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
class MoveLayouts : public OneLayout<element_bytes, columns, layout> {
 public:
  using Base = OneLayout<element_bytes, columns, layout>;
  using Base::Base;
  std::string name() const override { return "move_rows"; }
  bool computes() const override { return false; }

 protected:
  typename Base::Kernel kernel() const override { return move_layouts_kernel<element_bytes, columns, layout>; }
};

template <moe_act_scale_layout layout>
struct Make {
  template <int element_bytes, int columns>
  static void add(Contenders& contenders, int warps) {
    contenders.push_back(std::make_unique<MoveLayouts<element_bytes, columns, layout>>(warps));
  }
};

}  // namespace

void add_move_layouts(Contenders& contenders) {
  add_every_layout<Make>(contenders);
}

}  // namespace bench

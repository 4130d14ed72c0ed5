// The activation of dense rows whose scales lie in another layout than column-major fp32 of 128 columns, by a kernel
// for that layout and block alone: the library's own arithmetic, and nothing looked up. How fast the library could be
// if it had a kernel for each.
#include "one_layout.cuh"

#include "cuda/lane_values.cuh"
#include "math/numerics.hpp"
#include "math/scale_view.hpp"

namespace bench {
namespace {

template <int element_bytes, int columns, moe_act_scale_layout layout, int block_log2>
__global__ void __launch_bounds__(512) one_layout_kernel(const __grid_constant__ LayoutArguments arguments) {
  namespace cuda = moe_act::cuda;
  constexpr bool scaled = element_bytes == 1;
  constexpr auto input = scaled ? moe_act::Format::e4m3 : moe_act::Format::bf16;
  using Input = cuda::Vector<input, columns>;
  using Bits = typename Input::Bits;
  using Scale = std::conditional_t<is_ue8m0<layout>, std::uint8_t, float>;
  const Buffers& buffers = arguments.buffers;
  const std::uint32_t row = blockIdx.x * blockDim.z + threadIdx.z;
  const std::uint32_t column = columns * (warp_lanes * (blockIdx.y * blockDim.y + threadIdx.y) + threadIdx.x);
  if (row >= arguments.rows || column >= arguments.columns) return;  // of a warp all or none
  const Bits* up_source =
      reinterpret_cast<const Bits*>(buffers.x) + (std::uint64_t{row} * 2 * arguments.columns + column);
  Input up, gate;
  up.load(up_source);
  gate.load(up_source + arguments.columns);
  float up_scale = 1.0f, gate_scale = 1.0f;
  if constexpr (scaled) {
    const auto* scales = reinterpret_cast<const Scale*>(buffers.x_scale);
    const auto value_of = [&](std::uint32_t stored) {
      const Scale value = __ldg(scales + element_of<layout>(arguments, row, stored >> block_log2));
      if constexpr (is_ue8m0<layout>)
        return moe_act::math::decode_ue8m0(value);
      else
        return value;
    };
    up_scale = value_of(column);
    gate_scale = value_of(arguments.columns + column);
  }
  float values[columns];
  cuda::activate<scaled>(gate, up, gate_scale, up_scale, values);
  constexpr int out_block_log2 = scaled ? 7 : block_log2;
  constexpr int lanes = (1 << out_block_log2) / columns;
  float scale = moe_act::math::block_scale(cuda::max_over_lanes<lanes>(cuda::amax_of(values)));
  if constexpr (!scaled && is_ue8m0<layout>) scale = moe_act::math::power_of_two_above(scale);
  cuda::scale_by(values, cuda::reciprocal(scale));
  if (threadIdx.x % lanes == 0) {
    if constexpr (scaled) {
      buffers.out_scale[arguments.rows * (column / block_columns) + row] = scale;
    } else {
      auto* target =
          reinterpret_cast<Scale*>(buffers.out_scale) + element_of<layout>(arguments, row, column >> block_log2);
      if constexpr (is_ue8m0<layout>)
        *target = static_cast<std::uint8_t>(__float_as_uint(scale) >> 23);
      else
        *target = scale;
    }
  }
  cuda::store_as<moe_act::Format::e4m3>(buffers.out, std::int64_t(row) * arguments.columns + column, values);
}

template <int element_bytes, int columns, moe_act_scale_layout layout, int block_log2>
class ComputeLayout : public OneLayout<element_bytes, columns, layout> {
 public:
  using Base = OneLayout<element_bytes, columns, layout>;
  using Base::Base;
  std::string name() const override { return "one_layout"; }
  bool handles(const Workload& workload, const Device& device) const override {
    return Base::handles(workload, device) && Base::form_of(workload).block == 1 << block_log2 &&
           workload.columns % (warp_lanes * columns) == 0;
  }

 protected:
  typename Base::Kernel kernel() const override {
    return one_layout_kernel<element_bytes, columns, layout, block_log2>;
  }
};

template <moe_act_scale_layout layout>
struct Make {
  template <int element_bytes, int columns>
  static void add(Contenders& contenders, int warps) {
    contenders.push_back(std::make_unique<ComputeLayout<element_bytes, columns, layout, 5>>(warps));
    contenders.push_back(std::make_unique<ComputeLayout<element_bytes, columns, layout, 7>>(warps));
  }
};

}  // namespace

void add_one_layout(Contenders& contenders) {
  add_every_layout<Make>(contenders);
}

}  // namespace bench

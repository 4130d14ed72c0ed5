// Where a row lies in each buffer, for any scale layout.
#pragma once

#include "core/kernel_arguments.hpp"
#include "core/kernel_key.hpp"
#include "cuda/activation.cuh"
#include "math/scale.hpp"

namespace moe_act::cuda {

template <Format input>
struct RowPlace {
  static constexpr bool has_x_scale = is_scaled(input);

  const typename math::Encoding<input>::Bits* x;
  std::int64_t out;  // offset, elements
  const unsigned char* x_scale;
  unsigned char* out_scale;
};

// part: the expert's, where rows are masked, else 0. padded_scale_row: the row's among swizzled scales.
template <Format input, OutputKind output, typename Offset>
__device__ __forceinline__ RowPlace<input> place_of(const KernelArguments& arguments,
                                                    const math::BasicScaleView<Offset>& x_scale,
                                                    const math::BasicScaleView<Offset>& out_scale, std::int64_t part,
                                                    std::int64_t row, std::int64_t padded_scale_row) {
  const auto offset_in = [&](const math::BasicScaleView<Offset>& view) {
    return view.row_offset(static_cast<Offset>(part), static_cast<Offset>(view.swizzled ? padded_scale_row : row));
  };
  RowPlace<input> place{};
  place.x = static_cast<const typename math::Encoding<input>::Bits*>(arguments.x) + part * arguments.x_expert_stride +
            row * arguments.x_row_stride;
  place.out = part * arguments.out_expert_stride + row * arguments.out_row_stride;
  if constexpr (RowPlace<input>::has_x_scale)
    place.x_scale = static_cast<const unsigned char*>(arguments.x_scale) + offset_in(x_scale);
  if constexpr (output != OutputKind::plain)
    place.out_scale = static_cast<unsigned char*>(arguments.out_scale) + offset_in(out_scale);
  return place;
}

// The scale of the largest magnitude of a block or a row, in the default numerics, and the factor of its codes.
__device__ __forceinline__ math::BlockScale scale_of_amax(Format out_format, bool rounds_to_power_of_two, float amax) {
  const float in_e4m3 = out_format == Format::e5m2 ? amax * (1.0f / math::e5m2_over_e4m3) : amax;
  const float scale = math::block_scale(in_e4m3);
  const float rounded = rounds_to_power_of_two ? math::power_of_two_above(scale) : scale;
  return {rounded, reciprocal(rounded)};
}

}  // namespace moe_act::cuda

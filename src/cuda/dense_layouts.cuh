// Dense rows in any scale layout, few of them: straight code, a chunk for each warp. Nothing is looked up that the
// launch can say by the code it names, and what loads need lies in the first two lines of parameters: 2.24 instead of
// 2.53 us in L2, 2.84 instead of 3.23 from memory (H100, 2026-11-28, x_scale/packed_ue8m0-32/256).
#pragma once

#include "cuda/dependent_launch.cuh"
#include "cuda/layout_lanes.cuh"
#include "cuda/places.cuh"
#include "cuda/row_place.cuh"
#include "math/scale_view.hpp"

namespace moe_act::cuda {

template <Format input, OutputKind output, int columns>
struct DenseLayouts {
  using Input = Vector<input, columns>;
  static constexpr bool scaled_input = is_scaled(input);
  static constexpr bool scaled_output = output == OutputKind::scaled;

  static __device__ __forceinline__ void run(const KernelArguments& arguments) {
    if (arguments.pdl != Pdl::off) wait_and_let_dependents_start(arguments.pdl);
    const std::int32_t forms = arguments.entries_per_cta;
    if constexpr (scaled_input) {
      if (forms == dense_rows_ue8m0_x) return run_row<Format::ue8m0, Format::fp32>(arguments);
      if (scaled_output && forms == dense_rows_ue8m0_both) return run_row<Format::ue8m0, Format::ue8m0>(arguments);
    }
    if (scaled_output && forms == dense_rows_ue8m0_out) return run_row<Format::fp32, Format::ue8m0>(arguments);
    if (forms == dense_rows) return run_row<Format::fp32, Format::fp32>(arguments);
    run_any_form(arguments);
  }

 private:
  static __device__ __forceinline__ std::uint32_t row_of_warp() { return blockIdx.x * blockDim.z + threadIdx.z; }

  // By looking the form up.
  static __device__ __forceinline__ void run_any_form(const KernelArguments& arguments) {
    using Work = LayoutLanes<input, output, columns, 1>;
    const std::uint32_t row = row_of_warp(), first = Work::first_column();
    if (row >= arguments.dense.rows || first >= arguments.columns) return;
    Work::template run_first_chunk<true>(arguments, 0, row, typename Work::FirstRow(arguments, first));
  }

  // From the tensor's first scale, of all rows, to a block's, counted from the row's first.
  template <Format form>
  static __device__ __forceinline__ std::uint32_t scale_offset(const DenseScales& scales, math::ScaleStrides strides,
                                                               std::uint32_t row, std::uint32_t column) {
    const std::uint32_t block = column >> scales.block_log2;
    if constexpr (form == Format::fp32) {
      return row * strides.row + block * strides.block;
    } else {
      const std::uint32_t in_row =
          block / math::quad_blocks * strides.block + block % math::quad_blocks * scales.block_stride;
      if (!scales.swizzled) return row * strides.row + in_row;
      return row / math::swizzle_rows * strides.row + math::offset_in_tile(row) + in_row;
    }
  }

  // Bits, decoded only when everything is on its way.
  template <Format form>
  static __device__ __forceinline__ std::uint32_t stored(const unsigned char* scale) {
    return form == Format::ue8m0 ? *scale : *reinterpret_cast<const std::uint32_t*>(scale);
  }
  template <Format form>
  static __device__ __forceinline__ float value_of(std::uint32_t bits) {
    return form == Format::ue8m0 ? math::decode_ue8m0(bits) : math::from_bits(bits);
  }

  template <Format x_form, Format out_form>
  static __device__ __forceinline__ void run_row(const KernelArguments& arguments) {
    using First = typename Places<input, columns, 1>::FirstRow;
    const DenseRule& dense = arguments.dense;
    const std::uint32_t row = row_of_warp();
    const std::uint32_t first = warp_lanes * columns * (blockIdx.y * blockDim.y + threadIdx.y);
    const bool is_row = (row < dense.rows) & (first < arguments.columns);
    const First lane(arguments, first);
    Input gate{}, up{};
    std::uint32_t gate_bits = 0, up_bits = 0;
    if (is_row) {
      up.load(behind(lane.up, row, arguments.x_row_bytes));
      gate.load(behind(lane.gate, row, arguments.x_row_bytes));
      if constexpr (scaled_input) {
        const auto* scales = static_cast<const unsigned char*>(arguments.x_scale) +
                             scale_offset<x_form>(dense.x_scale, arguments.x_scale_strides, row, lane.column);
        up_bits = stored<x_form>(scales + dense.up_scale);
        gate_bits = stored<x_form>(scales + dense.gate_scale);
      }
    }
    // Not before: what stands behind this looks at one more line of parameters, while all that was asked for is under
    // way.
    exit_unless(is_row);
    fetch_parameters(arguments);
    float values[columns];
    activate<scaled_input>(gate, up, value_of<x_form>(gate_bits), value_of<x_form>(up_bits), values);
    unsigned char* out = behind(static_cast<unsigned char*>(arguments.out), row, arguments.out_row_bytes);
    if constexpr (scaled_output) {
      scale_by(values, factor_of_block<out_form>(arguments, row, lane.column, values));
      store_as<Format::e4m3>(out, lane.column, values);
    } else {
      store_plain(out, arguments.out_format, lane.column, values);
    }
  }

  // Stores the scale of the block that a lane's values belong to, and delivers what they are multiplied with.
  template <Format form>
  static __device__ __forceinline__ float factor_of_block(const KernelArguments& arguments, std::uint32_t row,
                                                          std::uint32_t column, const float (&values)[columns]) {
    const DenseRule& dense = arguments.dense;
    const unsigned lanes = (1u << dense.out_scale.block_log2) / columns;
    float scale = math::block_scale(max_over_block<columns, true>(amax_of(values), lanes));
    if (form == Format::ue8m0 || dense.rounds_to_power_of_two) scale = math::power_of_two_above(scale);
    if ((threadIdx.x & (lanes - 1)) == 0) {
      unsigned char* place = static_cast<unsigned char*>(arguments.out_scale) +
                             scale_offset<form>(dense.out_scale, arguments.out_scale_strides, row, column);
      if constexpr (form == Format::ue8m0)
        *place = math::encode_ue8m0(scale);
      else
        *reinterpret_cast<float*>(place) = scale;
    }
    return reciprocal(scale);
  }
};

}  // namespace moe_act::cuda

// One lane's work where scales have any layout and form: what lanes.cuh settles when it is compiled is looked up here,
// namely how many columns share a scale, where it lies and what its bits are. Every vector of a warp covers whole
// blocks.
#pragma once

#include <type_traits>

#include "cuda/places.cuh"
#include "cuda/row_place.cuh"

namespace moe_act::cuda {

template <Format input, OutputKind output, int columns, int vectors>
struct LayoutLanes {
  using Input = Vector<input, columns>;
  using Bits = typename math::Encoding<input>::Bits;
  using Row = RowPlace<input>;
  static constexpr bool scaled_input = is_scaled(input);
  static constexpr int vector_columns = warp_lanes * columns;
  static constexpr int chunk_columns = vector_columns * vectors;
  static_assert(vector_columns % block_columns == 0);

  // One vector is for few rows, where every instruction shows, 3.32 instead of 3.41 us; of two, offsets in 32 bits cost
  // 280 instead of 275 us, for no reason that was found (H100, 2026-11-26, x_scale/packed_ue8m0-128/256 and /131072).
  using Offset = std::conditional_t<vectors == 1, std::int32_t, std::int64_t>;
  using View = math::BasicScaleView<Offset>;
  static __device__ __forceinline__ const View& view_of(const math::NarrowScaleView& narrow,
                                                        const math::ScaleView& wide) {
    if constexpr (vectors == 1)
      return narrow;
    else
      return wide;
  }
  static __device__ __forceinline__ const View& x_scale_view(const KernelArguments& arguments) {
    return view_of(arguments.x_scale_layout, arguments.x_scale_view);
  }
  static __device__ __forceinline__ const View& out_scale_view(const KernelArguments& arguments) {
    return view_of(arguments.out_scale_layout, arguments.out_scale_view);
  }

  static __device__ __forceinline__ Row row_at(const KernelArguments& arguments, std::int64_t part, std::int64_t row,
                                               std::int64_t padded_scale_row) {
    return place_of<input, output>(arguments, x_scale_view(arguments), out_scale_view(arguments), part, row,
                                   padded_scale_row);
  }

  // The layouts of a launch, once its metadata is read.
  struct Layouts {
    View x_scale, out_scale;

    // Where none of them lies on the device.
    explicit __device__ __forceinline__ Layouts(const KernelArguments& arguments)
        : x_scale(x_scale_view(arguments)), out_scale(out_scale_view(arguments)) {}
    __device__ __forceinline__ Layouts(const KernelArguments& arguments, std::int32_t total)
        : x_scale(math::resolve<Offset>(x_scale_view(arguments), total)),
          out_scale(math::resolve<Offset>(out_scale_view(arguments), total)) {}
  };

  // As fetch_parameters() does, the lines that layouts take, and strides of 32 bits (narrow) or 64.
  template <bool narrow>
  static __device__ __forceinline__ void fetch_layouts(const KernelArguments& arguments) {
    const std::uint32_t stride = narrow ? arguments.out_row_bytes : static_cast<std::uint32_t>(arguments.x_row_stride);
    asm volatile(
        "{.reg .pred none, missing; setp.eq.s32 none, %0, %2; setp.eq.and.s32 missing, %1, %2, none; @missing exit;}" ::
            "r"(arguments.out_scale_layout.block_log2),
        "r"(stride), "n"(INT32_MIN));
  }

  // The bits of a column's scale as memory has them: decoded only when everything is on its way.
  static __device__ __forceinline__ std::uint32_t stored_scale(const View& view, const unsigned char* row,
                                                               std::uint32_t column) {
    const unsigned char* place = row + view.block_offset(static_cast<Offset>(column >> view.block_log2));
    return view.format == Format::ue8m0 ? *place : *reinterpret_cast<const std::uint32_t*>(place);
  }
  static __device__ __forceinline__ float scale_of_stored(const View& view, std::uint32_t bits) {
    return view.format == Format::ue8m0 ? math::decode_ue8m0(bits) : math::from_bits(bits);
  }

  // What memory holds of a lane's share of a chunk; zeros outside the row.
  struct Loaded {
    std::uint32_t column;  // its first
    Input gate[vectors] = {}, up[vectors] = {};
    std::uint32_t gate_scale[vectors] = {}, up_scale[vectors] = {};

    explicit __device__ __forceinline__ Loaded(std::uint32_t first) : column(first) {}
    __device__ __forceinline__ void load_codes(const Bits* gate_at, const Bits* up_at, int v) {
      up[v].load(up_at + v * vector_columns);
      gate[v].load(gate_at + v * vector_columns);
    }
    __device__ __forceinline__ void load_codes(const KernelArguments& arguments, const Bits* row, int v) {
      const Bits* gate_at = row + (arguments.gate_offset + column);
      load_codes(gate_at, gate_at + static_cast<std::int32_t>(arguments.up_offset - arguments.gate_offset), v);
    }
    // at: the vector's first column in this lane.
    __device__ __forceinline__ void load_scales(const KernelArguments& arguments, const View& view,
                                                const unsigned char* row, std::uint32_t at, int v) {
      up_scale[v] = stored_scale(view, row, arguments.up_offset + at);
      gate_scale[v] = stored_scale(view, row, arguments.gate_offset + at);
    }
  };

  // One chunk of a row: chunk_columns from `first` on. whole: it ends before the row does.
  template <bool whole>
  static __device__ __forceinline__ void run_chunk(const KernelArguments& arguments, const Layouts& layouts,
                                                   const Row& row, std::uint32_t first) {
    Loaded loaded(first + threadIdx.x * columns);
    const auto inside = [&](int v) { return whole || loaded.column + v * vector_columns < arguments.columns; };
    // Every load before the first use. Those of one vector share a branch: ptxas put a use between two, 3.5 instead of
    // 3.3 us (H100, 2026-11-26, x_scale/packed_ue8m0-128/256).
#pragma unroll
    for (int v = 0; v < vectors; ++v) {
      if (!inside(v)) continue;
      loaded.load_codes(arguments, row.x, v);
      if constexpr (scaled_input && vectors == 1)
        loaded.load_scales(arguments, layouts.x_scale, row.x_scale, loaded.column + v * vector_columns, v);
    }
    if constexpr (scaled_input && vectors > 1) {
#pragma unroll
      for (int v = 0; v < vectors; ++v)
        if (inside(v))
          loaded.load_scales(arguments, layouts.x_scale, row.x_scale, loaded.column + v * vector_columns, v);
    }
    finish_chunk<whole>(arguments, layouts, row, loaded);
  }

  // A row's only chunk of this warp, straight through, where strides have 32 bits: the row is under way before it is
  // worked out where its scales lie.
  // fetches: layouts, which have not been looked at yet.
  using FirstRow = typename Places<input, columns, vectors>::FirstRow;
  template <bool fetches = false>
  static __device__ __forceinline__ void run_first_chunk(const KernelArguments& arguments, std::uint32_t,
                                                         std::uint32_t row, const FirstRow& first_row)
    requires(vectors == 1)
  {
    Loaded loaded(first_row.column);
    const bool inside = loaded.column < arguments.columns;
    const Bits* gate = behind(first_row.gate, row, arguments.x_row_bytes);
    if (inside) loaded.load_codes(gate, behind(first_row.up, row, arguments.x_row_bytes), 0);
    keep_behind_load_of(gate);
    if constexpr (fetches && !scaled_input) fetch_layouts<true>(arguments);
    const Layouts layouts(arguments);
    Row place = row_at(arguments, 0, row, row);
    if constexpr (output == OutputKind::scaled)
      place.out = static_cast<std::int64_t>(std::uint64_t{row} * arguments.out_row_bytes);
    if constexpr (scaled_input)  // without a branch
      loaded.load_scales(arguments, layouts.x_scale, place.x_scale, inside ? loaded.column : 0, 0);
    finish_chunk<false>(arguments, layouts, place, loaded);
  }
  static __device__ __forceinline__ std::uint32_t first_column()
    requires(vectors == 1)
  {
    return first_of_warp();
  }

  static __device__ __forceinline__ void run_any_row(const KernelArguments& arguments, const Row& row,
                                                     std::int32_t total) {
    const Layouts layouts(arguments, total);
    const std::uint32_t step = chunk_columns * blockDim.y * gridDim.y;
    for (std::uint32_t first = first_of_warp(); first < arguments.columns; first += step) {
      if (vectors > 1 && first + chunk_columns <= arguments.columns)
        run_chunk<true>(arguments, layouts, row, first);
      else
        run_chunk<false>(arguments, layouts, row, first);
    }
  }

 private:
  static __device__ __forceinline__ std::uint32_t first_of_warp() {
    return chunk_columns * (blockIdx.y * blockDim.y + threadIdx.y);
  }

  template <bool whole>
  static __device__ __forceinline__ void finish_chunk(const KernelArguments& arguments, const Layouts& layouts,
                                                      const Row& row, const Loaded& loaded) {
#pragma unroll
    for (int v = 0; v < vectors; ++v) {
      float values[columns];
      activate<scaled_input>(loaded.gate[v], loaded.up[v], scale_of_stored(layouts.x_scale, loaded.gate_scale[v]),
                             scale_of_stored(layouts.x_scale, loaded.up_scale[v]), values);
      const std::uint32_t column = loaded.column + v * vector_columns;
      const bool inside = whole || column < arguments.columns;
      if constexpr (output == OutputKind::plain) {
        if (inside) store_plain(arguments.out, arguments.out_format, row.out + column, values);
      } else {
        scale_by(values, factor_of_block(arguments, layouts.out_scale, row, column, inside, values));
        if (inside) store_codes(arguments.out, arguments.out_format, row.out + column, values);
      }
    }
  }

  // Delivers the scale of the block that a lane's values belong to; what they are multiplied with.
  static __device__ __forceinline__ float factor_of_block(const KernelArguments& arguments, const View& view,
                                                          const Row& row, std::uint32_t column, bool inside,
                                                          const float (&values)[columns]) {
    if (arguments.out_scale == nullptr) return reciprocal(*arguments.static_scale);
    const unsigned lanes = (1u << view.block_log2) / columns;
    const float amax = max_over_block<columns, vectors == 1>(amax_of(values), lanes);
    const math::BlockScale scale = scale_of_amax(arguments.out_format, arguments.numerics.rounds_to_power_of_two, amax);
    if (inside && (threadIdx.x & (lanes - 1)) == 0) {
      std::uint32_t number = column >> view.block_log2;
      math::store_scale(row.out_scale, view, view.block_offset(number), scale.scale);
      if (view.fills_quads && number == (arguments.columns - 1) >> view.block_log2) {
        asm volatile("" : "+r"(number));  // nothing of this is worked out before it is known to be needed
#pragma unroll 1
        for (++number; number % math::quad_blocks != 0; ++number) row.out_scale[view.block_offset(number)] = 0;
      }
    }
    return scale.factor;
  }
};

}  // namespace moe_act::cuda

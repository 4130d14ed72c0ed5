// The kernels for every row convention and scale layout. What kernel.cuh's kernels settle when they are compiled, these
// look up: where a row lies, how many columns share a scale, what form the scale has.
//
// list: a CTA looks at up to 32 entries and shares out the live ones. segments: a CTA counts the live rows of all
// experts and takes its share of them. Both loop over what the grid does not cover, so that the grid may come from a
// hint. threadIdx: x = lane, y = warp along the row, z = row; blockIdx: x = rows, y = further along the row.
#pragma once

#include "cuda/dependent_launch.cuh"
#include "cuda/lanes.cuh"

namespace moe_act::cuda {

inline constexpr int experts_at_once = 512;

// What a CTA knows of some experts: where their live rows end when all are numbered one after the other, and begin.
struct ExpertTable {
  std::int64_t ends[experts_at_once];
  std::int64_t first_row[experts_at_once];
  std::int64_t first_scale_row[experts_at_once];  // swizzled scales, which pad every segment
  std::int64_t warp_rows[max_warps_per_cta];
  std::int64_t warp_scale_rows[max_warps_per_cta];
};

template <Format input, OutputKind output, Schedule schedule, int columns, int vectors>
struct ConventionKernel {
  using Input = Vector<input, columns>;
  using Bits = typename Input::Bits;
  static constexpr bool scaled_input = is_scaled(input);
  static constexpr int vector_columns = warp_lanes * columns;
  static constexpr int chunk_columns = vector_columns * vectors;

  // A live row: its first elements and scales.
  struct Row {
    const Bits* x;
    std::int64_t out;  // offset, elements
    const unsigned char* x_scale;
    unsigned char* out_scale;
  };

  // The values of a warp's chunk of a row. Lanes outside the row hold zeros.
  struct Chunk {
    float values[vectors][columns];
    std::uint32_t column;  // this lane's first

    __device__ __forceinline__ bool inside(const KernelArguments& arguments, int v) const {
      return column + v * vector_columns < arguments.columns;
    }
    __device__ __forceinline__ float amax() const {
      float largest = 0.0f;
#pragma unroll
      for (int v = 0; v < vectors; ++v) largest = fmaxf(largest, amax_of(values[v]));
      return largest;
    }
  };

  static __device__ __forceinline__ Row row_at(const KernelArguments& arguments, std::int64_t part, std::int64_t row,
                                               std::int64_t padded_scale_row) {
    Row place{};
    place.x = static_cast<const Bits*>(arguments.x) + part * arguments.x_expert_stride + row * arguments.x_row_stride;
    place.out = part * arguments.out_expert_stride + row * arguments.out_row_stride;
    if constexpr (scaled_input) {
      const math::ScaleView& view = arguments.x_scale_view;
      place.x_scale = static_cast<const unsigned char*>(arguments.x_scale) +
                      view.row_offset(part, view.swizzled ? padded_scale_row : row);
    }
    if constexpr (output != OutputKind::plain) {
      const math::ScaleView& view = arguments.out_scale_view;
      place.out_scale = static_cast<unsigned char*>(arguments.out_scale) +
                        view.row_offset(part, view.swizzled ? padded_scale_row : row);
    }
    return place;
  }

  static __device__ __forceinline__ float scale_at(const math::ScaleView& view, const unsigned char* scale,
                                                   std::uint32_t column, std::int32_t total) {
    return math::load_scale(scale, view, math::resolve(view, total).block_offset(column >> view.block_log2));
  }

  // All loads are issued before the first use.
  static __device__ __forceinline__ void load(const KernelArguments& arguments, const Row& row, std::uint32_t first,
                                              std::int32_t total, Chunk& chunk) {
    chunk.column = first + threadIdx.x * columns;
    Input gate[vectors] = {}, up[vectors] = {};
    float gate_scale[vectors] = {}, up_scale[vectors] = {};
#pragma unroll
    for (int v = 0; v < vectors; ++v) {
      const std::uint32_t column = chunk.column + v * vector_columns;
      if (chunk.inside(arguments, v)) {
        gate[v].load(row.x + arguments.gate_offset + column);
        up[v].load(row.x + arguments.up_offset + column);
        if constexpr (scaled_input) {
          const math::ScaleView& view = arguments.x_scale_view;
          gate_scale[v] = scale_at(view, row.x_scale, arguments.gate_offset + column, total);
          up_scale[v] = scale_at(view, row.x_scale, arguments.up_offset + column, total);
        }
      }
    }
#pragma unroll
    for (int v = 0; v < vectors; ++v)
      activate<scaled_input>(gate[v], up[v], gate_scale[v], up_scale[v], chunk.values[v]);
  }

  static __device__ __forceinline__ float scale_of(const KernelArguments& arguments, float amax) {
    const float in_e4m3 = arguments.out_format == Format::e5m2 ? amax * (1.0f / math::e5m2_over_e4m3) : amax;
    const float scale = math::block_scale(in_e4m3);
    return arguments.rounds_to_power_of_two ? math::power_of_two_above(scale) : scale;
  }

  // Codes of values * inverse[v].
  static __device__ __forceinline__ void store(const KernelArguments& arguments, const Row& row, Chunk& chunk,
                                               const float (&inverse)[vectors]) {
#pragma unroll
    for (int v = 0; v < vectors; ++v) {
      const std::int64_t offset = row.out + chunk.column + v * vector_columns;
      if constexpr (output == OutputKind::plain) {
        if (chunk.inside(arguments, v)) store_plain(arguments, offset, chunk.values[v]);
      } else {
        scale_by(chunk.values[v], inverse[v]);
        if (!chunk.inside(arguments, v)) continue;
        if (arguments.out_format == Format::e5m2)
          store_as<Format::e5m2>(arguments.out, offset, chunk.values[v]);
        else
          store_as<Format::e4m3>(arguments.out, offset, chunk.values[v]);
      }
    }
  }

  // The scales of the blocks of a chunk, delivered, and their reciprocals.
  static __device__ __forceinline__ void scale_blocks(const KernelArguments& arguments, const Row& row,
                                                      const Chunk& chunk, std::int32_t total,
                                                      float (&inverse)[vectors]) {
    const math::ScaleView view = math::resolve(arguments.out_scale_view, total);
    const int block = 1 << view.block_log2;
    const int lanes = block / columns < warp_lanes ? block / columns : warp_lanes;
    float amax[vectors];
#pragma unroll
    for (int v = 0; v < vectors; ++v) {
      amax[v] = amax_of(chunk.values[v]);
#pragma unroll
      for (int distance = 1; distance < warp_lanes; distance *= 2)
        if (distance < lanes) amax[v] = fmaxf(amax[v], __shfl_xor_sync(all_lanes, amax[v], distance));
    }
    int vectors_per_block = 1;
    if constexpr (vector_columns < block_columns) {  // narrow lanes: several vectors along the row make one block
      vectors_per_block = block > vector_columns ? block / vector_columns : 1;
#pragma unroll
      for (int step = 1; step < vectors; step *= 2) {
        if (step >= vectors_per_block) break;
#pragma unroll
        for (int v = 0; v < vectors; ++v)
          if ((v & step) == 0) amax[v] = amax[v + step] = fmaxf(amax[v], amax[v + step]);
      }
    }
    const std::int64_t blocks = view.blocks_of(arguments.columns);
#pragma unroll
    for (int v = 0; v < vectors; ++v) {
      const float scale = scale_of(arguments, amax[v]);
      inverse[v] = reciprocal(scale);
      const bool leads = threadIdx.x % lanes == 0 && v % vectors_per_block == 0;
      if (!leads || !chunk.inside(arguments, v)) continue;
      const std::int64_t number = (chunk.column + v * vector_columns) >> view.block_log2;
      math::store_scale(row.out_scale, view, view.block_offset(number), scale);
      if (number == blocks - 1) math::fill_quad(row.out_scale, view, 0, blocks);
    }
  }

  // Of a row with a scale for each of its blocks, or none of its own.
  static __device__ __forceinline__ void run_row(const KernelArguments& arguments, const Row& row, std::int32_t total) {
    for (std::uint32_t first = chunk_columns * (blockIdx.y * blockDim.y + threadIdx.y); first < arguments.columns;
         first += chunk_columns * blockDim.y * gridDim.y) {
      Chunk chunk;
      load(arguments, row, first, total, chunk);
      float inverse[vectors] = {};
      if constexpr (output == OutputKind::scaled) {
        if (arguments.out_scale != nullptr) {
          scale_blocks(arguments, row, chunk, total, inverse);
        } else {
          const float given = reciprocal(*arguments.static_scale);
#pragma unroll
          for (int v = 0; v < vectors; ++v) inverse[v] = given;
        }
      }
      store(arguments, row, chunk, inverse);
    }
  }

  // Of a row with one scale: the whole CTA does it. Values stay in registers where one chunk a warp is enough.
  static __device__ __forceinline__ void run_row_with_one_scale(const KernelArguments& arguments, const Row& row,
                                                                std::int32_t total) {
    __shared__ float warp_amax[max_warps_per_cta];
    const std::uint32_t begin = chunk_columns * threadIdx.y, step = chunk_columns * blockDim.y;
    Chunk chunk;
    float amax = 0.0f;
    for (std::uint32_t first = begin; first < arguments.columns; first += step) {
      load(arguments, row, first, total, chunk);
      amax = fmaxf(amax, chunk.amax());
    }
    amax = max_over_lanes<warp_lanes>(amax);
    __syncthreads();  // the last row's maxima have been read
    if (threadIdx.x == 0) warp_amax[threadIdx.y] = amax;
    __syncthreads();
    for (unsigned warp = 0; warp < blockDim.y; ++warp) amax = fmaxf(amax, warp_amax[warp]);
    const float scale = scale_of(arguments, amax);
    if (threadIdx.x == 0 && threadIdx.y == 0) math::store_scale(row.out_scale, arguments.out_scale_view, 0, scale);
    float inverse[vectors];
#pragma unroll
    for (int v = 0; v < vectors; ++v) inverse[v] = reciprocal(scale);
    for (std::uint32_t first = begin; first < arguments.columns; first += step) {
      if (step < arguments.columns) load(arguments, row, first, total, chunk);
      store(arguments, row, chunk, inverse);
    }
  }

  static __device__ __forceinline__ void run_any_row(const KernelArguments& arguments, const Row& row,
                                                     std::int32_t total) {
    if constexpr (output == OutputKind::row_scaled)
      run_row_with_one_scale(arguments, row, total);
    else
      run_row(arguments, row, total);
  }

  // Under metadata_ready, indices and counts are read before; nothing else is.
  static __device__ __forceinline__ void metadata_is_read(const KernelArguments& arguments) {
    if (arguments.pdl != Pdl::metadata_ready) return;
    wait_for_producers();
    let_dependents_start();
  }

  static __device__ __forceinline__ std::int64_t row_of_lane(const RowAddressing& rows, std::int64_t base,
                                                             std::int32_t entries, std::int64_t in_use) {
    const std::int64_t entry = base + threadIdx.x;
    return static_cast<std::int32_t>(threadIdx.x) < entries && entry < in_use ? rows.row_of(entry) : -1;
  }

  static __device__ __forceinline__ void run_list(const KernelArguments& arguments, std::int32_t total) {
    const RowAddressing& rows = arguments.rows;
    const std::int32_t entries = arguments.entries_per_cta;
    const std::int64_t step = std::int64_t{gridDim.x} * entries;
    const std::int64_t in_use = rows.entries_in_use(rows.count.data != nullptr ? rows.count[0] : 0);
    std::int64_t base = std::int64_t{blockIdx.x} * entries;
    std::int64_t mine = row_of_lane(rows, base, entries, in_use);
    metadata_is_read(arguments);
    while (base < in_use) {
      const unsigned live = __ballot_sync(all_lanes, mine >= 0);
      for (int rank = static_cast<int>(threadIdx.z);; rank += static_cast<int>(blockDim.z)) {
        // The lane whose entry is live with `rank` live ones before it.
        const bool wanted = mine >= 0 && __popc(live & ((1u << threadIdx.x) - 1u)) == rank;
        const unsigned found = __ballot_sync(all_lanes, wanted);
        if (found == 0) break;
        const std::int64_t row = __shfl_sync(all_lanes, mine, __ffs(static_cast<int>(found)) - 1);
        run_any_row(arguments, row_at(arguments, 0, row, row), total);
      }
      base += step;
      mine = row_of_lane(rows, base, entries, in_use);
    }
  }

  // The table of experts [first, first + count), by all threads of the CTA. Before are so many live rows and, padded,
  // scale rows; both are moved on.
  static __device__ __forceinline__ void count_rows(const RowAddressing& rows, std::int64_t first, int count,
                                                    std::int64_t& live, std::int64_t& scale_rows, ExpertTable& table) {
    const int threads = static_cast<int>(blockDim.x * blockDim.y * blockDim.z);
    const int thread = static_cast<int>(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
    const int warp = thread / warp_lanes;
    for (int begin = 0; begin < count; begin += threads) {
      const int e = begin + thread;
      const Segment segment = e < count ? rows.segment_of(first + e) : Segment{0, 0};
      constexpr std::int64_t tile = math::swizzle_rows;
      std::int64_t sum = segment.rows, padded = (segment.rows + tile - 1) / tile * tile;
      const std::int64_t own_padded = padded;
#pragma unroll
      for (int distance = 1; distance < warp_lanes; distance *= 2) {
        const std::int64_t sum_before = __shfl_up_sync(all_lanes, sum, distance);
        const std::int64_t padded_before = __shfl_up_sync(all_lanes, padded, distance);
        if (static_cast<int>(threadIdx.x) >= distance) {
          sum += sum_before;
          padded += padded_before;
        }
      }
      __syncthreads();  // nobody reads the last table or the last sums any more
      if (threadIdx.x == warp_lanes - 1) {
        table.warp_rows[warp] = sum;
        table.warp_scale_rows[warp] = padded;
      }
      __syncthreads();
      for (int other = 0; other < threads / warp_lanes; ++other) {
        if (other < warp) {
          sum += table.warp_rows[other];
          padded += table.warp_scale_rows[other];
        }
      }
      if (e < count) {
        table.ends[e] = live + sum;
        table.first_row[e] = segment.first_row;
        table.first_scale_row[e] = scale_rows + padded - own_padded;
      }
      for (int other = 0; other < threads / warp_lanes; ++other) {
        live += table.warp_rows[other];
        scale_rows += table.warp_scale_rows[other];
      }
    }
    __syncthreads();
  }

  // The expert among `count` in the table to whom live row `unit` belongs; a warp looks at 32 ends at once.
  static __device__ __forceinline__ int expert_of(const ExpertTable& table, int count, std::int64_t unit) {
    constexpr int group = experts_at_once / warp_lanes;
    const auto lane = static_cast<int>(threadIdx.x);
    const int last = lane * group + group - 1;
    const bool passed = lane * group < count && table.ends[last < count ? last : count - 1] <= unit;
    const int first = group * __popc(__ballot_sync(all_lanes, passed));
    const int e = first + lane;
    return first + __popc(__ballot_sync(all_lanes, lane < group && e < count && table.ends[e] <= unit));
  }

  static __device__ __forceinline__ void run_segments(const KernelArguments& arguments, std::int32_t total) {
    __shared__ ExpertTable table;
    const RowAddressing& rows = arguments.rows;
    const bool masked = rows.kind == RowKind::masked;
    std::int64_t live = 0, scale_rows = 0;
    std::int64_t unit = std::int64_t{blockIdx.x} * blockDim.z + threadIdx.z;
    const std::int64_t step = std::int64_t{gridDim.x} * blockDim.z;
    for (std::int64_t first = 0; first < rows.experts; first += experts_at_once) {
      const std::int64_t left = rows.experts - first;
      const int count = left < experts_at_once ? static_cast<int>(left) : experts_at_once;
      const std::int64_t before = live;
      count_rows(rows, first, count, live, scale_rows, table);
      if (first == 0) metadata_is_read(arguments);
      for (; unit < live; unit += step) {
        const int e = expert_of(table, count, unit);
        const std::int64_t number = unit - (e == 0 ? before : table.ends[e - 1]);
        const std::int64_t row = table.first_row[e] + number;
        const std::int64_t scale_row = masked ? row : table.first_scale_row[e] + number;
        run_any_row(arguments, row_at(arguments, masked ? first + e : 0, row, scale_row), total);
      }
    }
    if (rows.experts == 0) metadata_is_read(arguments);
  }

  static __device__ __forceinline__ void run(const KernelArguments& arguments) {
    if (arguments.pdl == Pdl::on || arguments.pdl == Pdl::waits) {
      wait_for_producers();
      if (arguments.pdl == Pdl::on) let_dependents_start();
    }
    const std::int32_t total = arguments.total_num_padded_tokens != nullptr ? *arguments.total_num_padded_tokens : 0;
    if constexpr (schedule == Schedule::list)
      run_list(arguments, total);
    else
      run_segments(arguments, total);
  }
};

}  // namespace moe_act::cuda

// The kernels for every row convention, scale layout and model: which rows a CTA does. What a warp does with one is
// chunk.cuh's.
//
// list: a CTA looks at up to 32 entries and shares out the live ones. segments: a CTA counts the live rows of all
// experts and takes its share of them. Both loop over what the grid does not cover, so that the grid may come from a
// hint. threadIdx: x = lane, y = warp along the row, z = row; blockIdx: x = rows, y = further along the row.
#pragma once

#include "cuda/chunk.cuh"
#include "cuda/dependent_launch.cuh"

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

template <Format input, OutputKind output, Schedule schedule, int columns, int vectors, Math math_kind>
struct ConventionKernel {
  using Work = ChunkWork<input, output, columns, vectors, math_kind>;

  // entry: of a list; expert: of a segment.
  static __device__ __forceinline__ void run(const KernelArguments& arguments, typename Work::Row place,
                                             std::int64_t entry, std::int64_t expert, std::int64_t row,
                                             std::int32_t total) {
    if constexpr (math_kind == Math::general)
      place.model = row_model(arguments.model, arguments.rows, entry, expert, row);
    Work::run_any_row(arguments, place, total);
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
        const int lane = __ffs(static_cast<int>(found)) - 1;
        const std::int64_t row = __shfl_sync(all_lanes, mine, lane);
        run(arguments, Work::row_at(arguments, 0, row, row), base + lane, 0, row, total);
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
    const std::int64_t most = rows.most_live_rows();
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
        // Where the rows are more than that, ends agree from there on: what first_scale_row then is does not matter.
        table.ends[e] = live + sum < most ? live + sum : most;
        table.first_row[e] = segment.first_row;
        table.first_scale_row[e] = scale_rows + padded - own_padded;
      }
      for (int other = 0; other < threads / warp_lanes; ++other) {
        live += table.warp_rows[other];
        scale_rows += table.warp_scale_rows[other];
      }
      if (live > most) live = most;
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
        run(arguments, Work::row_at(arguments, masked ? first + e : 0, row, scale_row), row, first + e, row, total);
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

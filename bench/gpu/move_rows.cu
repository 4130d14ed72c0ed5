// Moves what the activation moves, through the same row convention: index, count, search among the experts, then the
// bytes of the live rows. What the addressing leaves of the memory's speed; it trusts what it reads.
#include <algorithm>
#include <bit>

#include "contender.hpp"
#include "move_chunk.cuh"

namespace bench {
namespace {

constexpr int most_experts = 256;
constexpr int experts_per_lane = most_experts / warp_lanes;

struct MoveRowsArguments {
  Buffers buffers;
  moe_act_row_kind kind;
  std::int64_t capacity;  // rows of the buffers, or of an expert's part of them where they are masked
  std::int32_t units;     // entries of a list; segments: CTAs have one live row each
  std::int32_t experts;
  std::int32_t parameter;  // num_valid_ids
  std::int32_t tile_log2;  // of tile_tokens or expert_alignment
  bool by_id;
  std::uint32_t columns;  // H
};

// Of an entry of a list; -1: none.
__device__ __forceinline__ std::int32_t listed_row(const MoveRowsArguments& arguments, std::int32_t entry) {
  const Buffers& buffers = arguments.buffers;
  std::int32_t value = 0;
  if (buffers.row_index != nullptr && entry < arguments.units)
    value = buffers.row_index[arguments.kind == MOE_ACT_ROWS_TILE_LIMITS ? entry >> arguments.tile_log2 : entry];
  std::int32_t in_use = arguments.units;
  if (buffers.row_count != nullptr)
    in_use =
        arguments.kind == MOE_ACT_ROWS_TILE_LIMITS ? *buffers.row_count << arguments.tile_log2 : *buffers.row_count;
  bool live = entry < in_use;
  if (arguments.kind == MOE_ACT_ROWS_TILE_LIMITS) live = live && entry < value;
  if (arguments.kind == MOE_ACT_ROWS_ROW_TO_EXPERT) live = live && value >= 0;
  if (arguments.kind == MOE_ACT_ROWS_SORTED_TOKEN_IDS) live = live && value < arguments.parameter;
  return live ? arguments.by_id ? value : entry : -1;
}

// The number-th live row of all experts, by one warp; y: the expert whose part of the buffers it lies in, 0 unless
// masked. x = -1: there are not so many.
__device__ __forceinline__ int2 segment_row(const MoveRowsArguments& arguments, std::int32_t number) {
  const std::int32_t* index = arguments.buffers.row_index;
  if (arguments.kind == MOE_ACT_ROWS_EXPERT_OFFSETS)
    return {number < index[arguments.experts] - index[0] ? index[0] + number : -1, 0};
  const auto first = static_cast<std::int32_t>(threadIdx.x) * experts_per_lane;
  const std::int32_t mask = (1 << arguments.tile_log2) - 1;
  std::int32_t begin[experts_per_lane], rows[experts_per_lane], sum = 0;
#pragma unroll
  for (int i = 0; i < experts_per_lane; ++i) {
    const bool there = first + i < arguments.experts;
    const std::int32_t value = there ? index[first + i] : 0;
    if (arguments.kind == MOE_ACT_ROWS_MASKED) {
      begin[i] = 0;
      rows[i] = value;
    } else {
      begin[i] = there && first + i > 0 ? (index[first + i - 1] + mask) & ~mask : 0;
      rows[i] = there ? value - begin[i] : 0;
    }
    sum += rows[i];
  }
  std::int32_t before = sum;
#pragma unroll
  for (int distance = 1; distance < warp_lanes; distance *= 2) {
    const std::int32_t other = __shfl_up_sync(all_lanes, before, distance);
    if (static_cast<int>(threadIdx.x) >= distance) before += other;
  }
  before -= sum;
  const unsigned found = __ballot_sync(all_lanes, number >= before && number < before + sum);
  if (found == 0) return {-1, 0};
  int2 row = {-1, 0};
#pragma unroll
  for (int i = 0; i < experts_per_lane; ++i) {
    if (number >= before && number < before + rows[i])
      row = {begin[i] + number - before, arguments.kind == MOE_ACT_ROWS_MASKED ? first + i : 0};
    before += rows[i];
  }
  const int lane = __ffs(static_cast<int>(found)) - 1;
  return {__shfl_sync(all_lanes, row.x, lane), __shfl_sync(all_lanes, row.y, lane)};
}

// threadIdx: x = lane, y = warp along the row; a CTA for each entry or live row. together: one warp searches.
template <int element_bytes, int columns, int vectors, bool segments, bool together>
__global__ void __launch_bounds__(512) move_rows_kernel(const __grid_constant__ MoveRowsArguments arguments) {
  const Buffers& buffers = arguments.buffers;
  const auto unit = static_cast<std::int32_t>(blockIdx.x);
  int2 row = {-1, 0};
  if constexpr (!segments) {
    row.x = listed_row(arguments, unit);
  } else if constexpr (!together) {
    row = segment_row(arguments, unit);
  } else {
    __shared__ int2 found;
    if (threadIdx.y == 0) {
      row = segment_row(arguments, unit);
      if (threadIdx.x == 0) found = row;
    }
    __syncthreads();
    row = found;
  }
  if (row.x < 0) return;
  const std::int64_t capacity = arguments.capacity, part = row.y, place = part * capacity + row.x;
  const std::int64_t in_blocks = 2 * arguments.columns / block_columns, out_blocks = arguments.columns / block_columns;
  const MovedRow moved{buffers.x + place * 2 * arguments.columns * element_bytes,
                       buffers.x_scale + part * in_blocks * capacity + row.x, buffers.out + place * arguments.columns,
                       buffers.out_scale + part * out_blocks * capacity + row.x};
  constexpr std::uint32_t chunk_columns = warp_lanes * columns * vectors;
  const std::uint32_t step = chunk_columns * blockDim.y * gridDim.y;
  for (std::uint32_t first = chunk_columns * (blockIdx.y * blockDim.y + threadIdx.y); first < arguments.columns;
       first += step)
    move_chunk<element_bytes, columns, vectors>(moved, capacity, arguments.columns, first);
}

template <int element_bytes, int columns, int vectors, int warps>
class MoveRows : public Contender {
 public:
  explicit MoveRows(bool together) : together_(together) {}
  std::string name() const override { return "move_rows"; }
  std::string geometry() const override {
    return std::to_string(columns) + " columns x " + std::to_string(vectors) + " vectors, " + std::to_string(warps) +
           " warps, " + (together_ ? "one warp searches" : "every warp searches");
  }
  bool computes() const override { return false; }
  bool handles(const Workload& workload, const Device&) const override {
    const bool segments = workload.experts > 0;
    return !workload.is_plain() && workload.row_kind != MOE_ACT_ROWS_DENSE && workload.has_plain_scales() &&
           workload.element_bytes() == element_bytes && workload.columns % (warp_lanes * columns) == 0 &&
           workload.experts <= most_experts && workload.capacity() <= INT32_MAX && (segments || !together_);
  }
  void prepare(const Workload& workload, const Device&) override {
    const bool segments = workload.experts > 0, sorted = workload.row_kind == MOE_ACT_ROWS_SORTED_TOKEN_IDS;
    arguments_.kind = workload.row_kind;
    arguments_.capacity = workload.rows;
    arguments_.units = static_cast<std::int32_t>(units_of(workload));
    arguments_.experts = static_cast<std::int32_t>(workload.experts);
    arguments_.parameter = static_cast<std::int32_t>(workload.row_parameter);
    arguments_.tile_log2 =
        sorted ? 0 : std::bit_width(static_cast<std::uint64_t>(std::max<std::int64_t>(workload.row_parameter, 1))) - 1;
    arguments_.by_id = workload.rows_by_id;
    arguments_.columns = static_cast<std::uint32_t>(workload.columns);
    const std::int64_t chunks = ceil_div(workload.columns, warp_lanes * columns * vectors);
    const std::int64_t along_row = std::min<std::int64_t>(chunks, warps);
    block_ = dim3(warp_lanes, static_cast<unsigned>(along_row));
    grid_ = dim3(static_cast<unsigned>(segments ? workload.valid_rows() : arguments_.units),
                 static_cast<unsigned>(ceil_div(chunks, along_row)));
    kernel_ = !segments   ? move_rows_kernel<element_bytes, columns, vectors, false, false>
              : together_ ? move_rows_kernel<element_bytes, columns, vectors, true, true>
                          : move_rows_kernel<element_bytes, columns, vectors, true, false>;
  }
  void launch(const Buffers& buffers, cudaStream_t stream) override {
    arguments_.buffers = buffers;
    launch_kernel(kernel_, grid_, block_, arguments_, stream);
  }

 private:
  // A list's entries; of a prefix, whose capacity is for whatever may come, the rows that are expected.
  static std::int64_t units_of(const Workload& workload) {
    if (workload.row_kind == MOE_ACT_ROWS_VALID_PREFIX) return workload.valid_rows();
    if (workload.row_kind == MOE_ACT_ROWS_TILE_LIMITS)
      return static_cast<std::int64_t>(workload.row_index.size()) * workload.row_parameter;
    return static_cast<std::int64_t>(workload.row_index.size());
  }

  bool together_;
  MoveRowsArguments arguments_{};
  dim3 grid_, block_;
  void (*kernel_)(MoveRowsArguments) = nullptr;
};

}  // namespace

void add_move_rows(Contenders& contenders) {
  for (const bool together : {false, true}) {
    contenders.push_back(std::make_unique<MoveRows<1, 4, 1, 4>>(together));
    contenders.push_back(std::make_unique<MoveRows<1, 4, 1, 16>>(together));
    contenders.push_back(std::make_unique<MoveRows<1, 16, 1, 4>>(together));
    contenders.push_back(std::make_unique<MoveRows<1, 16, 2, 4>>(together));
    contenders.push_back(std::make_unique<MoveRows<2, 4, 1, 4>>(together));
    contenders.push_back(std::make_unique<MoveRows<2, 4, 1, 16>>(together));
    contenders.push_back(std::make_unique<MoveRows<2, 8, 1, 8>>(together));
    contenders.push_back(std::make_unique<MoveRows<2, 8, 2, 4>>(together));
  }
}

}  // namespace bench

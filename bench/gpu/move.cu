// Moves what the activation moves, through the same addressing: map and padded total, both halves of x, scales, codes,
// scales. Between loads and stores nothing but xor: what the addressing leaves of the memory's speed. `move_pdl` is the
// same in a chain of programmatic dependent launches, map and total read before the wait.
#include <algorithm>
#include <bit>
#include <utility>

#include "contender.hpp"
#include "move_chunk.cuh"

namespace bench {
namespace {

constexpr int max_warps_per_cta = 16;

struct MoveArguments {
  Buffers buffers;
  std::int64_t units;         // map entries, or rows where there is no map
  std::int64_t dense_stride;  // of the scales, where there is no padded total
  std::uint32_t columns;      // H
  int entries_per_warp;
  bool pdl;
};

// threadIdx: x = lane, y = warp along the row, z = row of the CTA. vote: a warp reads several map entries and goes
// through the valid ones.
template <int element_bytes, int columns, int vectors, bool vote>
__global__ void __launch_bounds__(max_warps_per_cta* warp_lanes)
    move_kernel(const __grid_constant__ MoveArguments arguments) {
  constexpr std::uint32_t chunk_columns = warp_lanes * columns * vectors;
  const Buffers& buffers = arguments.buffers;
  const std::uint32_t first = chunk_columns * (blockIdx.y * blockDim.y + threadIdx.y);
  const std::int64_t warp = std::int64_t{blockIdx.x} * blockDim.z + threadIdx.z;

  // The total first, and nothing computed from it before the map entry is asked for, too.
  std::int32_t total = buffers.total != nullptr ? *buffers.total : 0;
  std::int64_t row = -1;
  if constexpr (vote) {
    const std::int64_t entry = warp * arguments.entries_per_warp + threadIdx.x;
    if (static_cast<int>(threadIdx.x) < arguments.entries_per_warp && entry < arguments.units)
      row = buffers.row_index[entry];
  } else if (warp < arguments.units) {
    row = buffers.row_index != nullptr ? buffers.row_index[warp] : warp;
  }
  asm volatile("" : "+r"(total));
  const std::int64_t stride = buffers.total != nullptr ? total : arguments.dense_stride;
#if __CUDA_ARCH__ >= 900
  // Every warp waits before it returns: a grid that ended earlier would let its dependents overtake its producers.
  if (arguments.pdl) asm volatile("griddepcontrol.wait;\n\tgriddepcontrol.launch_dependents;" ::: "memory");
#endif
  if (first >= arguments.columns) return;
  const auto move_row = [&](std::int64_t valid_row) {
    const MovedRow moved{buffers.x + valid_row * 2 * arguments.columns * element_bytes, buffers.x_scale + valid_row,
                         buffers.out + valid_row * arguments.columns, buffers.out_scale + valid_row};
    move_chunk<element_bytes, columns, vectors>(moved, stride, arguments.columns, first);
  };
  if constexpr (vote) {
    unsigned valid = __ballot_sync(all_lanes, row >= 0);
    while (valid != 0) {
      const int lane = __ffs(static_cast<int>(valid)) - 1;
      valid &= valid - 1;
      move_row(__shfl_sync(all_lanes, row, lane));
    }
  } else if (row >= 0) {
    move_row(row);
  }
}

// entries: map entries that a warp reads at once.
template <int element_bytes, int columns, int vectors, int entries = 1>
class Move : public Contender {
 public:
  Move(bool pdl, int warps) : pdl_(pdl), warps_(warps) {}
  std::string name() const override { return pdl_ ? "move_pdl" : "move"; }
  std::string geometry() const override {
    return std::to_string(columns) + " columns x " + std::to_string(vectors) + " vectors, " + std::to_string(entries) +
           (entries == 1 ? " entry, " : " entries, ") + std::to_string(warps_) + " warps";
  }
  std::string absence(const Device& device) const override {
    return pdl_ && device.capability < 90 ? "needs compute capability 9.0" : "";
  }
  bool computes() const override { return false; }
  bool takes_rows_alone() const override { return true; }
  bool handles(const Workload& workload, const Device&) const override {
    constexpr std::int64_t small = 64 << 20;  // bytes up to which an overlapping start can show
    return workload.element_bytes() == element_bytes && workload.columns % columns == 0 &&
           workload.has_plain_scales() && (entries == 1 || workload.mapped()) &&
           (!pdl_ || (workload.is_plain() && workload.bytes() <= small));
  }
  void prepare(const Workload& workload, const Device&) override {
    arguments_.units = workload.units();
    arguments_.dense_stride = workload.rows;
    arguments_.columns = static_cast<std::uint32_t>(workload.columns);
    arguments_.entries_per_warp = entries;
    arguments_.pdl = pdl_;
    const std::int64_t chunks = ceil_div(workload.columns, warp_lanes * columns * vectors);
    const std::int64_t along_row =
        std::min<std::int64_t>(static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(chunks))), warps_);
    const std::int64_t rows = warps_ / along_row;
    block_ = dim3(warp_lanes, static_cast<unsigned>(along_row), static_cast<unsigned>(rows));
    grid_ = dim3(static_cast<unsigned>(ceil_div(workload.units(), rows * entries)),
                 static_cast<unsigned>(ceil_div(chunks, along_row)));
  }
  void launch(const Buffers& buffers, cudaStream_t stream) override {
    arguments_.buffers = buffers;
    launch_kernel(move_kernel<element_bytes, columns, vectors, (entries > 1)>, grid_, block_, arguments_, stream, pdl_);
  }

 private:
  MoveArguments arguments_{};
  dim3 grid_, block_;
  bool pdl_;
  int warps_;
};

}  // namespace

void add_move(Contenders& contenders) {
  for (const bool pdl : {false, true}) {
    for (const int warps : {4, 8, 16}) {
      contenders.push_back(std::make_unique<Move<1, 4, 1>>(pdl, warps));
      contenders.push_back(std::make_unique<Move<1, 8, 1>>(pdl, warps));
      contenders.push_back(std::make_unique<Move<2, 4, 1>>(pdl, warps));
      contenders.push_back(std::make_unique<Move<2, 8, 1>>(pdl, warps));
    }
    contenders.push_back(std::make_unique<Move<1, 16, 1>>(pdl, 4));
    contenders.push_back(std::make_unique<Move<1, 16, 2>>(pdl, 4));
    contenders.push_back(std::make_unique<Move<1, 16, 4>>(pdl, 4));
    contenders.push_back(std::make_unique<Move<1, 16, 2, 4>>(pdl, 4));
    contenders.push_back(std::make_unique<Move<1, 16, 2, 32>>(pdl, 4));
    contenders.push_back(std::make_unique<Move<2, 8, 2>>(pdl, 4));
    contenders.push_back(std::make_unique<Move<2, 8, 4>>(pdl, 4));
  }
}

}  // namespace bench

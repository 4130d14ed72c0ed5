// Moves what the activation moves, through the same addressing: map and padded total, both halves of x, scales, codes,
// scales. Between loads and stores nothing but xor: what the addressing leaves of the memory's speed. `move_pdl` is the
// same in a chain of programmatic dependent launches, map and total read before the wait.
#include <algorithm>
#include <bit>
#include <utility>

#include "contender.hpp"

namespace bench {
namespace {

constexpr int warp_lanes = 32;
constexpr int warps_per_cta = 4;
constexpr unsigned all_lanes = 0xffffffffu;

struct MoveArguments {
  Buffers buffers;
  std::int64_t units;         // map entries, or rows where there is no map
  std::int64_t dense_stride;  // of the scales, where there is no padded total
  std::uint32_t columns;      // H
  int entries_per_warp;
  bool pdl;
};

template <int words>
__device__ __forceinline__ void load(std::uint32_t (&target)[words], const std::uint8_t* source) {
  if constexpr (words == 1) {
    target[0] = __ldg(reinterpret_cast<const unsigned*>(source));
  } else if constexpr (words == 2) {
    const uint2 pair = __ldg(reinterpret_cast<const uint2*>(source));
    target[0] = pair.x, target[1] = pair.y;
  } else {
    static_assert(words % 4 == 0);
#pragma unroll
    for (int i = 0; i < words; i += 4) {
      const uint4 four = __ldg(reinterpret_cast<const uint4*>(source) + i / 4);
      target[i] = four.x, target[i + 1] = four.y, target[i + 2] = four.z, target[i + 3] = four.w;
    }
  }
}

template <int words>
__device__ __forceinline__ void store(std::uint8_t* target, const std::uint32_t (&source)[words]) {
  if constexpr (words == 1)
    *reinterpret_cast<unsigned*>(target) = source[0];
  else if constexpr (words == 2)
    *reinterpret_cast<uint2*>(target) = {source[0], source[1]};
  else
    *reinterpret_cast<uint4*>(target) = {source[0], source[1], source[2], source[3]};
}

// A warp moves 32 * columns * vectors output columns of a row. A vector, the columns that the warp's lanes hold side by
// side, is whole blocks. whole: all columns lie in the row.
template <int element_bytes, int columns, int vectors, bool whole>
__device__ __forceinline__ void move_chunk(const MoveArguments& arguments, std::int64_t stride, std::int64_t row,
                                           std::uint32_t first) {
  constexpr int vector_columns = warp_lanes * columns;
  constexpr int out_words = columns / 4;
  constexpr int in_words = out_words * element_bytes;
  constexpr bool scaled = element_bytes == 1;
  static_assert(vector_columns % block_columns == 0);

  const Buffers& buffers = arguments.buffers;
  const std::uint32_t row_columns = arguments.columns;
  const std::uint32_t lane_column = first + threadIdx.x * columns;
  const auto inside = [&](int v) { return whole || lane_column + v * vector_columns < row_columns; };
  const std::uint8_t* up_source = buffers.x + (row * 2 * row_columns + lane_column) * element_bytes;
  const std::uint8_t* gate_source = up_source + std::int64_t{row_columns} * element_bytes;

  std::uint32_t up[vectors][in_words], gate[vectors][in_words];
  float up_scale[vectors], gate_scale[vectors];
#pragma unroll
  for (int v = 0; v < vectors; ++v) {
    if (!inside(v)) continue;
    load(up[v], up_source + v * vector_columns * element_bytes);
    load(gate[v], gate_source + v * vector_columns * element_bytes);
  }
  if constexpr (scaled) {
#pragma unroll
    for (int v = 0; v < vectors; ++v) {
      if (!inside(v)) continue;
      const std::uint32_t column = lane_column + v * vector_columns;
      up_scale[v] = __ldg(buffers.x_scale + row + stride * (column / block_columns));
      gate_scale[v] = __ldg(buffers.x_scale + row + stride * ((row_columns + column) / block_columns));
    }
  }
#pragma unroll
  for (int v = 0; v < vectors; ++v) {
    if (!inside(v)) continue;
    const std::uint32_t column = lane_column + v * vector_columns;
    std::uint32_t out[out_words];
#pragma unroll
    for (int i = 0; i < out_words; ++i) {
      out[i] = 0;
#pragma unroll
      for (int part = 0; part < element_bytes; ++part)
        out[i] ^= up[v][i * element_bytes + part] ^ gate[v][i * element_bytes + part];
    }
    std::uint32_t scale = out[0];
    if constexpr (scaled) scale = __float_as_uint(up_scale[v]) ^ __float_as_uint(gate_scale[v]);
    if (column % block_columns == 0)
      buffers.out_scale[row + stride * (column / block_columns)] = __uint_as_float(scale);
    store(buffers.out + row * row_columns + column, out);
  }
}

// threadIdx: x = lane, y = warp along the row, z = row of the CTA. vote: a warp reads several map entries and goes
// through the valid ones.
template <int element_bytes, int columns, int vectors, bool vote>
__global__ void __launch_bounds__(warps_per_cta* warp_lanes)
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
    if (first + chunk_columns <= arguments.columns)
      move_chunk<element_bytes, columns, vectors, true>(arguments, stride, valid_row, first);
    else
      move_chunk<element_bytes, columns, vectors, false>(arguments, stride, valid_row, first);
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
  explicit Move(bool pdl) : pdl_(pdl) {}
  std::string name() const override { return pdl_ ? "move_pdl" : "move"; }
  std::string geometry() const override {
    return std::to_string(columns) + " columns x " + std::to_string(vectors) + " vectors, " + std::to_string(entries) +
           (entries == 1 ? " entry" : " entries");
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
    const std::int64_t along_row = std::min<std::int64_t>(
        static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(chunks))), warps_per_cta);
    const std::int64_t rows = warps_per_cta / along_row;
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
};

}  // namespace

void add_move(Contenders& contenders) {
  for (const bool pdl : {false, true}) {
    contenders.push_back(std::make_unique<Move<1, 4, 1>>(pdl));
    contenders.push_back(std::make_unique<Move<1, 8, 1>>(pdl));
    contenders.push_back(std::make_unique<Move<1, 16, 1>>(pdl));
    contenders.push_back(std::make_unique<Move<1, 16, 2>>(pdl));
    contenders.push_back(std::make_unique<Move<1, 16, 4>>(pdl));
    contenders.push_back(std::make_unique<Move<1, 16, 2, 4>>(pdl));
    contenders.push_back(std::make_unique<Move<1, 16, 2, 32>>(pdl));
    contenders.push_back(std::make_unique<Move<2, 4, 1>>(pdl));
    contenders.push_back(std::make_unique<Move<2, 8, 1>>(pdl));
    contenders.push_back(std::make_unique<Move<2, 8, 2>>(pdl));
    contenders.push_back(std::make_unique<Move<2, 8, 4>>(pdl));
  }
}

}  // namespace bench

#include "cuda/padding.hpp"

#include "cuda/dependent_launch.cuh"
#include "math/formats.hpp"

namespace moe_act::cuda {
namespace {

__device__ void zero_row(void* buffer, std::int64_t offset, std::int64_t columns, std::int32_t element_bytes) {
  unsigned char* row = static_cast<unsigned char*>(buffer) + offset * element_bytes;
  const std::int64_t bytes = columns * element_bytes;
  const auto lane = static_cast<std::int64_t>(threadIdx.x);
  if ((reinterpret_cast<std::uintptr_t>(row) | static_cast<std::uintptr_t>(bytes)) % 16 == 0) {
    for (std::int64_t i = lane; i < bytes / 16; i += 32) reinterpret_cast<uint4*>(row)[i] = uint4{};
  } else {
    for (std::int64_t i = lane; i < bytes; i += 32) row[i] = 0;
  }
}

// Zero codes for rows that are not live, and scale 1 for all: live rows' scales are written over afterwards.
__global__ void __launch_bounds__(32 * padding_warps) pad_with_zero(const __grid_constant__ PaddingArguments padding) {
  wait_for_producers();
  let_dependents_start();
  const KernelArguments& arguments = padding.launch;
  const RowAddressing& rows = arguments.rows;
  const std::int64_t warp = std::int64_t{blockIdx.x} * padding_warps + threadIdx.y;
  const std::int64_t warps = std::int64_t{gridDim.x} * padding_warps;
  const std::int64_t in_use = rows.entries_in_use(rows.count.data != nullptr ? rows.count[0] : 0);
  for (std::int64_t i = warp; i < padding.parts * rows.rows; i += warps) {
    const std::int64_t part = i / rows.rows, row = i % rows.rows;
    if (rows.is_live(part, row, in_use)) continue;
    zero_row(arguments.out, part * arguments.out_expert_stride + row * arguments.out_row_stride, arguments.columns,
             padding.out_element_bytes);
    const Model& model = arguments.model;
    if (arguments.is_general && model.unquantized != nullptr)
      zero_row(model.unquantized, part * model.unquantized_expert_stride + row * model.unquantized_row_stride,
               arguments.columns, padding.unquantized_element_bytes);
  }
  if (arguments.out_scale == nullptr) return;
  const std::int32_t total = arguments.total_num_padded_tokens != nullptr ? *arguments.total_num_padded_tokens : 0;
  const math::ScaleView view = math::resolve<std::int64_t>(arguments.out_scale_view, total);
  const bool on_device = arguments.out_scale_view.block_stride < 0;
  const std::int64_t scale_rows = on_device ? within(std::int64_t{total}, rows.rows) : arguments.out_padded_rows;
  const std::int64_t blocks = view.blocks_of(arguments.columns);
  for (std::int64_t i = warp; i < padding.parts * scale_rows; i += warps) {
    const std::int64_t offset = view.row_offset(i / scale_rows, i % scale_rows);
    for (std::int64_t block = threadIdx.x; block < blocks; block += 32)
      math::store_scale(arguments.out_scale, view, offset + view.block_offset(block), 1.0f);
    if (threadIdx.x == 0) math::fill_quad(arguments.out_scale, view, offset, blocks);
  }
}

}  // namespace

PaddingFunction padding_kernel() {
  return &pad_with_zero;
}

}  // namespace moe_act::cuda

// The structs of the C interface as its first version declared them: what its oldest callers were compiled with. Fields
// that were renamed since keep their first name. Never to be changed.
#pragma once

#include <cstdint>

#include "moe_act/c_api.h"

namespace first {

struct Problem {
  std::uint64_t struct_size;
  std::int32_t device_type, device_id, x_format, x_scale_layout, out_format, out_scaling, out_scale_layout, activation,
      gate, row_kind, padding, pdl;
  std::int64_t rows, columns, expanded_rows, expected_rows, x_row_stride, out_row_stride, x_scale_stride,
      out_scale_stride;
  std::int32_t x_alignment, out_alignment;
  std::int64_t workspace_limit;
};

struct Buffers {
  std::uint64_t struct_size;
  const void* x;
  const float* x_scale;
  void* out;
  float* out_scale;
  const float* static_scale;
  const std::int32_t* expanded_idx_to_permuted_idx;
  const std::int32_t* total_num_padded_tokens;
};

struct DeviceInfo {
  std::uint64_t struct_size;
  std::int32_t multiprocessors, compute_capability_major, compute_capability_minor, memory_gigabytes_per_second;
  std::int64_t l2_bytes;
};

struct LaunchChoice {
  std::uint64_t struct_size;
  std::int32_t schedule, columns_per_lane, vectors_per_lane, warps_per_cta, entries_per_cta, marks_rows, reserved;
};

struct PlanInfo {
  std::uint64_t struct_size;
  std::int32_t schedule, grid_x, grid_y, grid_z, warps_per_row, rows_per_cta, units_per_cta, threads_per_cta,
      columns_per_lane, vectors_per_lane;
  std::int64_t shared_bytes, workspace_bytes;
};

struct Tensor {  // the one struct without a size
  void* data;
  std::int32_t device_type, device_id;
  std::uint8_t dtype_code, dtype_bits;
  std::uint16_t dtype_lanes;
  std::int32_t ndim;
  const std::int64_t* shape;
  const std::int64_t* strides;
  std::uint32_t flags;
};

struct Options {
  std::uint64_t struct_size;
  std::int32_t x_format, x_scale_layout, out_format, out_scaling, out_scale_layout, activation, gate, padding, pdl,
      has_expected_rows;
  std::int64_t expected_rows, workspace_limit;
};

struct Tensors {
  std::uint64_t struct_size;
  const moe_act_tensor *x, *x_scale, *out, *out_scale, *static_scale, *expanded_idx_to_permuted_idx,
      *total_num_padded_tokens;
};

}  // namespace first

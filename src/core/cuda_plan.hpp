// How a problem is run on a GPU: a pure function of the problem and of a few facts about the device.
#pragma once

#include <cstddef>
#include <vector>

#include "core/problem.hpp"

namespace moe_act {

struct DeviceInfo {
  std::int32_t multiprocessors;
  std::int32_t compute_capability_major;
  std::int32_t compute_capability_minor;
  std::int32_t memory_gigabytes_per_second;  // what clock and bus width allow; 0 = unknown
  std::int64_t l2_bytes;

  std::int64_t capability() const { return std::int64_t{10} * compute_capability_major + compute_capability_minor; }
};

// What there is to choose. Everything else follows from it; results do not depend on it.
struct LaunchChoice {
  Schedule schedule;
  std::int8_t columns_per_lane;
  std::int8_t vectors_per_lane;
  std::int32_t warps_per_cta;    // sparse: sparse_warps(); else a power of two
  std::int32_t entries_per_cta;  // sparse: map entries that a CTA looks at, up to 512; list: entries, up to 32;
                                 // segments: live rows that it takes, up to 64; span and entry: 1; else 0
  bool marks_rows;  // the rows that a map or ids name are done in their own order, after a small kernel has marked them

  constexpr bool operator==(const LaunchChoice&) const = default;
};

struct CudaLaunch {
  KernelKey key;
  std::size_t kernel_index;  // of key in kernel_keys
  std::int32_t grid_x, grid_y, grid_z;
  std::int32_t warps_per_row;  // of a CTA, side by side along the row
  std::int32_t row_warps;      // of a CTA, on different rows
  std::int32_t rows_per_cta;   // rows that a CTA has in hand at once
  std::int32_t units_per_cta;  // rows or entries that a CTA answers for; sparse: that the CTAs of grid z share
  bool looks_once;             // list, entry: the grid covers all entries, one for each row of warps
  bool has_dense_rows;         // list: that, of dense rows, by src/cuda/dense_layouts.cuh
  bool knows_scale_forms;      // and by code for the form of their scales
  bool marks_rows;
  std::int32_t rows_ahead;  // marks_rows: so many of the first rows are brought into L2 meanwhile
  std::int64_t workspace_bytes;
};

// Every way to run the problem, each once: what an exhaustive search tries.
std::vector<LaunchChoice> launch_choices(const Problem& problem);

// The way that measurements say is fastest.
LaunchChoice choose_launch(const Problem& problem, const DeviceInfo& device);

// Throws InvalidProblem naming the field if the problem cannot be run that way.
void require_choice(const Problem& problem, const LaunchChoice& choice);

// The launch that a choice amounts to.
CudaLaunch cover(const Problem& problem, const LaunchChoice& choice, const DeviceInfo& device);

}  // namespace moe_act

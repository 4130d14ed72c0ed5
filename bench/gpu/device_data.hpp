// A workload's tensors in device memory, as often as it takes to keep them out of L2, and the comparison of results.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "agreement.hpp"
#include "workload.hpp"

namespace bench {

// Throws with the call's name unless it succeeded.
inline void require(cudaError_t status, const char* call) {
  if (status != cudaSuccess) throw std::runtime_error(std::string(call) + ": " + cudaGetErrorString(status));
}

// The device pointers of one launch.
struct Buffers {
  const std::uint8_t* x = nullptr;          // [rows, 2H], up in the first half, gate in the second
  const float* x_scale = nullptr;           // e4m3 only; bytes where the workload's form is ue8m0. Plain scales:
                                            // [2H / 128, rows], scale(row, block) = x_scale[row + rows * block]
  std::uint8_t* out = nullptr;              // [rows, H], e4m3
  float* out_scale = nullptr;               // as x_scale; plain: [H / 128, rows]
  const std::int32_t* row_index = nullptr;  // of a map: [tokens, top_k]; null where rows are dense
  const std::int32_t* row_count = nullptr;  // [1]; null where the workload has none
  const std::int32_t* total = nullptr;      // [1], rows: the scales' stride; with a map alone
};

class DeviceMemory {
 public:
  explicit DeviceMemory(std::int64_t bytes) {
    require(cudaMalloc(&data_, static_cast<std::size_t>(std::max<std::int64_t>(bytes, 1))), "cudaMalloc");
  }
  ~DeviceMemory() { (void)cudaFree(data_); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  std::uint8_t* at(std::int64_t offset = 0) const { return static_cast<std::uint8_t*>(data_) + offset; }

 private:
  void* data_ = nullptr;
};

// Some live rows on the host, scales as fp32 [rows, blocks].
struct Sample {
  std::int64_t rows;
  std::vector<std::uint8_t> x, out;
  std::vector<float> x_scale, out_scale;
};

class DeviceData {
 public:
  // `sets` copies of every tensor. Rows that are not valid hold NaN. Index, count and total, too: they were written
  // before the first GEMM went through the experts' weights. The workload has to outlive this.
  DeviceData(const Workload& workload, std::int64_t sets);

  Buffers buffers(std::int64_t set) const;
  // Fills the results of set 0 with bytes that are neither a NaN code nor a valid scale.
  void poison() const;
  // How many scales of set 0 are no longer poison.
  std::int64_t written_scales() const;
  // Keeps the results of set 0 as those to compare with.
  void keep() const;
  Agreement compare() const;
  // So many live rows of set 0, or all there are, evenly spread.
  Sample sample(std::int64_t rows) const;

 private:
  // One of the tensors: that of a set begins `step` bytes behind the set before.
  struct Tensor {
    Tensor(std::int64_t tensor_bytes, std::int64_t row_step, std::int64_t sets);
    std::uint8_t* at(std::int64_t set) const { return memory.at(set * step); }

    std::int64_t bytes, step, all_bytes;
    DeviceMemory memory;
  };

  void fill(std::int64_t set) const;
  const std::int64_t* live_rows() const { return reinterpret_cast<const std::int64_t*>(live_rows_.at()); }

  const Workload& workload_;
  std::int64_t codes_, scales_;  // of one set: elements of out and out_scale
  Tensor x_, x_scale_, out_, out_scale_, row_index_, row_count_, total_;
  DeviceMemory kept_out_, kept_scale_, live_rows_, scratch_;
};

}  // namespace bench

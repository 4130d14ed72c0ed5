// A workload's tensors in device memory, as often as it takes to keep them out of L2, and the comparison of results.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "workload.hpp"

namespace bench {

// Throws with the call's name unless it succeeded.
inline void require(cudaError_t status, const char* call) {
  if (status != cudaSuccess) throw std::runtime_error(std::string(call) + ": " + cudaGetErrorString(status));
}

// The device pointers of one launch.
struct Buffers {
  const std::uint8_t* x = nullptr;      // [rows, 2H], e4m3 or bf16, up in the first half, gate in the second
  const float* x_scale = nullptr;       // [2H / 128, rows], e4m3 only: scale(row, block) = x_scale[row + rows * block]
  std::uint8_t* out = nullptr;          // [rows, H], e4m3
  float* out_scale = nullptr;           // [H / 128, rows]
  const std::int32_t* map = nullptr;    // [tokens, top_k]; null where rows are dense
  const std::int32_t* total = nullptr;  // [1], rows: the scales' stride; null where rows are dense
};

class DeviceMemory {
 public:
  explicit DeviceMemory(std::int64_t bytes) {
    require(cudaMalloc(&data_, static_cast<std::size_t>(bytes)), "cudaMalloc");
  }
  ~DeviceMemory() { (void)cudaFree(data_); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  std::uint8_t* at(std::int64_t offset = 0) const { return static_cast<std::uint8_t*>(data_) + offset; }

 private:
  void* data_ = nullptr;
};

// How a result differs from the one kept.
struct Agreement {
  unsigned long long neighbours;      // codes that are one step apart
  unsigned long long wrong;           // codes further apart, or only one of the two NaN
  unsigned long long written_scales;  // of the result kept
  unsigned int scale_ulp;             // the largest distance of two scales
};

class DeviceData {
 public:
  // `sets` copies of x, x_scale, out and out_scale. Rows that are not valid hold NaN. One map and one total serve all
  // sets: whoever routed has just written them, so that they are in L2 in earnest, too.
  DeviceData(const Workload& workload, std::int64_t sets);

  Buffers buffers(std::int64_t set) const;
  // Fills the results of set 0 with bytes that are neither a NaN code nor a valid scale.
  void poison() const;
  // Keeps the results of set 0 as those to compare with.
  void keep() const;
  Agreement compare() const;

 private:
  std::int64_t out_at(std::int64_t set) const { return set * set_bytes_ + read_bytes_; }

  std::int64_t x_bytes_, codes_, scales_;              // of one set; the latter two: elements of out and out_scale
  std::int64_t read_bytes_, write_bytes_, set_bytes_;  // of one set, with what the stream needs beyond that
  std::int64_t x_scale_at_, out_scale_at_;             // offsets from x and from out
  bool mapped_, scaled_;
  DeviceMemory memory_, kept_, metadata_, agreement_;
  std::int64_t total_at_;
};

}  // namespace bench

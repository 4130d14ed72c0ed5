// Device memory and random data of the tests that launch kernels; included once by a test's only source file.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "moe_act/moe_act.hpp"

namespace device {

inline void require(cudaError_t status) {
  if (status == cudaSuccess) return;
  std::printf("CUDA: %s\n", cudaGetErrorString(status));
  std::exit(1);
}

// Exit status 77 where there is no GPU.
inline void require_gpu() {
  if (moe_act::cuda_device_count() > 0) return;
  std::printf("skipped: %s\n", moe_act_last_error());
  std::exit(77);
}

inline std::size_t bytes_of(moe_act::Format format) {
  const bool one = format == moe_act::Format::e4m3 || format == moe_act::Format::e5m2;
  return format == moe_act::Format::fp32 ? 4 : one ? 1 : 2;
}

// Device memory of exactly so many bytes, shifted off its alignment by `shift`.
class Buffer {
 public:
  explicit Buffer(std::size_t bytes, std::size_t shift = 0) : shift_(shift) {
    require(cudaMalloc(&data_, bytes + shift));
  }
  explicit Buffer(const std::vector<std::uint8_t>& host, std::size_t shift = 0) : Buffer(host.size(), shift) {
    upload(host.data(), host.size());
  }
  ~Buffer() { cudaFree(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  template <typename Type>
  Type* as() const {
    return reinterpret_cast<Type*>(static_cast<char*>(data_) + shift_);
  }
  void upload(const void* host, std::size_t bytes, std::size_t at = 0) const {
    require(cudaMemcpy(as<char>() + at, host, bytes, cudaMemcpyHostToDevice));
  }
  std::vector<std::uint8_t> download(std::size_t bytes) const {
    std::vector<std::uint8_t> host(bytes);
    require(cudaMemcpy(host.data(), as<char>(), bytes, cudaMemcpyDeviceToHost));
    return host;
  }

 private:
  void* data_ = nullptr;
  std::size_t shift_;
};

// Bits of moderate numbers: exponents near the bias, in every format.
inline std::vector<std::uint8_t> random_bits(moe_act::Format format, std::size_t elements, std::mt19937& random) {
  std::vector<std::uint8_t> bits(elements * bytes_of(format));
  for (std::size_t i = 0; i < elements; ++i) {
    const float value = std::normal_distribution<float>(0.0f, 2.0f)(random);
    std::uint32_t word = 0;
    std::memcpy(&word, &value, sizeof(word));
    const auto any = static_cast<std::uint32_t>(random());
    if (format == moe_act::Format::bf16) word >>= 16;
    if (format == moe_act::Format::fp16) word = (word >> 16 & 0x8000u) | (0x3000u + any % 0x1400u);
    if (format == moe_act::Format::e4m3) word = (word >> 24 & 0x80u) | any % 0x50u;
    std::memcpy(&bits[i * bytes_of(format)], &word, bytes_of(format));
  }
  return bits;
}

}  // namespace device

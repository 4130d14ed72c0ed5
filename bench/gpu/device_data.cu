#include <algorithm>

#include "device_data.hpp"

namespace bench {
namespace {

constexpr int threads = 256;
constexpr int nan_byte = 0xFF;     // a NaN as a code of either format, and as a scale
constexpr int poison_byte = 0xA5;  // as a code no NaN, as a scale negative
constexpr unsigned poison_word = 0xA5A5A5A5u;

std::int64_t aligned(std::int64_t bytes) {
  return ceil_div(bytes, 256) * 256;
}

unsigned grid_for(std::int64_t items) {
  return static_cast<unsigned>(std::clamp<std::int64_t>(ceil_div(items, threads), 1, 1 << 16));
}

__device__ std::int64_t first_item() {
  return std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
}
__device__ std::int64_t item_step() {
  return std::int64_t{gridDim.x} * blockDim.x;
}

__device__ std::uint32_t random_word(std::uint64_t index) {
  index = (index + 0x9E3779B97F4A7C15ull) * 0xBF58476D1CE4E5B9ull;
  index = (index ^ (index >> 29)) * 0x94D049BB133111EBull;
  return static_cast<std::uint32_t>(index >> 32);
}

// Any e4m3 code but NaN.
__device__ std::uint32_t e4m3_word(std::uint32_t random) {
  std::uint32_t word = 0;
  for (int shift = 0; shift < 32; shift += 8) {
    const std::uint32_t code = random >> shift & 0xFF;
    word |= ((code & 0x7F) == 0x7F ? 0x38u : code) << shift;
  }
  return word;
}

// Either sign, magnitudes from 2^-7 to 4, evenly spread over the binades.
__device__ std::uint32_t bf16_word(std::uint32_t random) {
  std::uint32_t word = 0;
  for (int shift = 0; shift < 32; shift += 16) {
    const std::uint32_t bits = random >> shift & 0xFFFF;
    word |= ((bits & 0x8000) | (120 + (bits >> 7 & 0xFF) % 9) << 7 | (bits & 0x7F)) << shift;
  }
  return word;
}

// Valid rows of x; row_words 32-bit words each.
__global__ void fill_x(std::uint32_t* x, std::int64_t row_words, const std::int32_t* map, std::int64_t units,
                       bool bf16) {
  for (std::int64_t i = first_item(); i < units * row_words; i += item_step()) {
    const std::int64_t unit = i / row_words;
    const std::int64_t row = map != nullptr ? map[unit] : unit;
    const std::uint32_t random = random_word(static_cast<std::uint64_t>(i));
    if (row >= 0) x[row * row_words + i % row_words] = bf16 ? bf16_word(random) : e4m3_word(random);
  }
}

// Scales that make the largest values 1 to 4.
__global__ void fill_x_scale(float* x_scale, std::int64_t blocks, std::int64_t rows, const std::int32_t* map,
                             std::int64_t units) {
  for (std::int64_t i = first_item(); i < units * blocks; i += item_step()) {
    const std::int64_t row = map != nullptr ? map[i % units] : i % units;
    const auto random = static_cast<float>(random_word(~static_cast<std::uint64_t>(i)) >> 8);
    if (row >= 0) x_scale[row + rows * (i / units)] = 0.0022f + 0.0067f * 0x1p-24f * random;
  }
}

// Codes in the order of their values.
__device__ int e4m3_rank(std::uint8_t code) {
  return (code & 0x80) != 0 ? -(code & 0x7F) : code & 0x7F;
}

__device__ bool is_nan(std::uint8_t code) {
  return (code & 0x7F) == 0x7F;
}

__global__ void compare_codes(const std::uint8_t* left, const std::uint8_t* right, std::int64_t count,
                              Agreement* agreement) {
  for (std::int64_t i = first_item(); i < count; i += item_step()) {
    const std::uint8_t a = left[i], b = right[i];
    const int distance = abs(e4m3_rank(a) - e4m3_rank(b));
    if (is_nan(a) != is_nan(b) || distance > 1)
      atomicAdd(&agreement->wrong, 1ull);
    else if (distance == 1)
      atomicAdd(&agreement->neighbours, 1ull);
  }
}

// Scales are not negative, so that the distance of their bits is their distance in units of the last place.
__global__ void compare_scales(const std::uint32_t* left, const std::uint32_t* kept, std::int64_t count,
                               Agreement* agreement) {
  unsigned written = 0, largest = 0;
  for (std::int64_t i = first_item(); i < count; i += item_step()) {
    written += kept[i] != poison_word ? 1 : 0;
    largest = max(largest, max(left[i], kept[i]) - min(left[i], kept[i]));
  }
  if (written != 0) atomicAdd(&agreement->written_scales, static_cast<unsigned long long>(written));
  if (largest != 0) atomicMax(&agreement->scale_ulp, largest);
}

}  // namespace

DeviceData::DeviceData(const Workload& workload, std::int64_t sets)
    : x_bytes_(workload.rows * 2 * workload.columns * workload.element_bytes()),
      codes_(workload.rows * workload.columns),
      scales_(workload.rows * workload.out_blocks()),
      read_bytes_(aligned(std::max(aligned(x_bytes_) + workload.rows * workload.x_blocks() * 4,
                                   workload.stream_vectors() * 16 * workload.stream_reads()))),
      write_bytes_(aligned(std::max(aligned(codes_) + scales_ * 4, workload.stream_vectors() * 16))),
      set_bytes_(read_bytes_ + write_bytes_),
      x_scale_at_(aligned(x_bytes_)),
      out_scale_at_(aligned(codes_)),
      mapped_(workload.mapped()),
      scaled_(workload.x_blocks() > 0),
      memory_(sets * set_bytes_),
      kept_(write_bytes_),
      metadata_(aligned(static_cast<std::int64_t>(workload.map.size()) * 4) + 256),
      agreement_(sizeof(Agreement)),
      total_at_(aligned(static_cast<std::int64_t>(workload.map.size()) * 4)) {
  const auto total = static_cast<std::int32_t>(workload.rows);
  require(cudaMemcpy(metadata_.at(total_at_), &total, sizeof(total), cudaMemcpyHostToDevice), "cudaMemcpy");
  if (mapped_)
    require(cudaMemcpy(metadata_.at(), workload.map.data(), workload.map.size() * 4, cudaMemcpyHostToDevice),
            "cudaMemcpy");

  require(cudaMemset(memory_.at(), nan_byte, static_cast<std::size_t>(set_bytes_)), "cudaMemset");
  const Buffers first = buffers(0);
  const std::int64_t units = workload.units();
  const std::int64_t row_words = 2 * workload.columns * workload.element_bytes() / 4;
  fill_x<<<grid_for(units * row_words), threads>>>(reinterpret_cast<std::uint32_t*>(memory_.at()), row_words, first.map,
                                                   units, workload.input == Input::bf16);
  require(cudaGetLastError(), "fill_x");
  if (scaled_) {
    const std::int64_t blocks = workload.x_blocks();
    fill_x_scale<<<grid_for(units * blocks), threads>>>(reinterpret_cast<float*>(memory_.at(x_scale_at_)), blocks,
                                                        workload.rows, first.map, units);
    require(cudaGetLastError(), "fill_x_scale");
  }
  for (std::int64_t set = 1; set < sets; ++set)
    require(cudaMemcpyAsync(memory_.at(set * set_bytes_), memory_.at(), static_cast<std::size_t>(set_bytes_),
                            cudaMemcpyDeviceToDevice),
            "cudaMemcpyAsync");
  require(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
}

Buffers DeviceData::buffers(std::int64_t set) const {
  Buffers buffers;
  buffers.x = memory_.at(set * set_bytes_);
  if (scaled_) buffers.x_scale = reinterpret_cast<const float*>(memory_.at(set * set_bytes_ + x_scale_at_));
  buffers.out = memory_.at(out_at(set));
  buffers.out_scale = reinterpret_cast<float*>(memory_.at(out_at(set) + out_scale_at_));
  if (mapped_) {
    buffers.map = reinterpret_cast<const std::int32_t*>(metadata_.at());
    buffers.total = reinterpret_cast<const std::int32_t*>(metadata_.at(total_at_));
  }
  return buffers;
}

void DeviceData::poison() const {
  require(cudaMemset(memory_.at(out_at(0)), poison_byte, static_cast<std::size_t>(write_bytes_)), "cudaMemset");
  require(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
}

void DeviceData::keep() const {
  require(
      cudaMemcpy(kept_.at(), memory_.at(out_at(0)), static_cast<std::size_t>(write_bytes_), cudaMemcpyDeviceToDevice),
      "cudaMemcpy");
  require(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
}

Agreement DeviceData::compare() const {
  Agreement agreement{};
  auto* on_device = reinterpret_cast<Agreement*>(agreement_.at());
  require(cudaMemcpy(on_device, &agreement, sizeof(agreement), cudaMemcpyHostToDevice), "cudaMemcpy");
  compare_codes<<<grid_for(codes_), threads>>>(memory_.at(out_at(0)), kept_.at(), codes_, on_device);
  require(cudaGetLastError(), "compare_codes");
  compare_scales<<<grid_for(scales_), threads>>>(
      reinterpret_cast<const std::uint32_t*>(memory_.at(out_at(0) + out_scale_at_)),
      reinterpret_cast<const std::uint32_t*>(kept_.at(out_scale_at_)), scales_, on_device);
  require(cudaGetLastError(), "compare_scales");
  require(cudaMemcpy(&agreement, on_device, sizeof(agreement), cudaMemcpyDeviceToHost), "cudaMemcpy");
  return agreement;
}

}  // namespace bench

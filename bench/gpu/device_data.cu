#include <algorithm>
#include <limits>

#include "device_data.hpp"

namespace bench {
namespace {

constexpr int threads = 256;
constexpr int nan_byte = 0xFF;     // a NaN as a code of either format, and as a scale of either
constexpr int poison_byte = 0xA5;  // as a code no NaN, as an fp32 scale negative, as a ue8m0 scale 2^38
constexpr std::int64_t scratch_bytes = sizeof(Agreement);

unsigned grid_for(std::int64_t items) {
  return static_cast<unsigned>(std::clamp<std::int64_t>(ceil_div(items, threads), 1, 1 << 16));
}

template <typename Item>
std::int64_t bytes_of(const std::vector<Item>& items) {
  return static_cast<std::int64_t>(items.size() * sizeof(Item));
}

void upload(std::uint8_t* to, const void* items, std::int64_t bytes) {
  require(cudaMemcpy(to, items, static_cast<std::size_t>(bytes), cudaMemcpyHostToDevice), "cudaMemcpy");
}

template <typename Item>
std::vector<Item> download(const DeviceMemory& memory, std::int64_t items) {
  std::vector<Item> host(static_cast<std::size_t>(items));
  require(cudaMemcpy(host.data(), memory.at(), host.size() * sizeof(Item), cudaMemcpyDeviceToHost), "cudaMemcpy");
  return host;
}

template <typename... Parameters, typename... Arguments>
void over(std::int64_t items, void (*kernel)(Parameters...), Arguments... arguments) {
  kernel<<<grid_for(items), threads>>>(arguments...);
  require(cudaGetLastError(), "launch");
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
__device__ std::uint32_t float_word(std::uint32_t random, int bits, int mantissa_bits, int bias) {
  const std::uint32_t mantissa = (1u << mantissa_bits) - 1;
  std::uint32_t word = 0;
  for (int shift = 0; shift < 32; shift += bits) {
    const std::uint32_t part = random >> shift;
    const std::uint32_t sign = (part >> (bits - 1) & 1) << (bits - 1);
    const std::uint32_t exponent = (bias - 7 + (part >> mantissa_bits) % 9) << mantissa_bits;
    word |= (sign | exponent | (part & mantissa)) << shift;
  }
  return word;
}

__device__ std::uint32_t word_of(Input input, std::uint32_t random) {
  switch (input) {
    case Input::bf16: return float_word(random, 16, 7, 127);
    case Input::fp16: return float_word(random, 16, 10, 15);
    case Input::fp32: return float_word(random, 32, 23, 127);
    default: return e4m3_word(random);
  }
}

// Live rows of x; row_words 32-bit words each.
__global__ void fill_x(std::uint32_t* x, std::int64_t row_words, const std::int64_t* live_rows, std::int64_t count,
                       Input input) {
  for (std::int64_t i = first_item(); i < count * row_words; i += item_step()) {
    const std::uint32_t random = random_word(static_cast<std::uint64_t>(i));
    x[live_rows[i / row_words] * row_words + i % row_words] = word_of(input, random);
  }
}

// Scales that make the largest values 1 to 4: 0.0022 to 0.0089, or 2^-9 to 2^-7.
__global__ void fill_x_scale(void* x_scale, ScaleTensor tensor, const std::int64_t* live_rows, std::int64_t count) {
  for (std::int64_t i = first_item(); i < count * tensor.blocks(); i += item_step()) {
    const std::int64_t element = tensor.element(live_rows[i % count], i / count);
    const std::uint32_t random = random_word(~static_cast<std::uint64_t>(i)) >> 8;
    if (tensor.form.is_ue8m0())
      static_cast<std::uint8_t*>(x_scale)[element] = static_cast<std::uint8_t>(127 - 9 + random % 3);
    else
      static_cast<float*>(x_scale)[element] = 0.0022f + 0.0067f * 0x1p-24f * static_cast<float>(random);
  }
}

__global__ void compare_codes(const std::uint8_t* left, const std::uint8_t* right, std::int64_t count,
                              Agreement* agreement) {
  for (std::int64_t i = first_item(); i < count; i += item_step()) {
    const int steps = code_steps(left[i], right[i]);
    if (steps < 0 || steps > 1)
      atomicAdd(&agreement->wrong, 1ull);
    else if (steps == 1)
      atomicAdd(&agreement->neighbours, 1ull);
  }
}

// The bits of a scale as an fp32 number.
__device__ std::uint32_t scale_bits(const void* scales, ScaleForm form, std::int64_t element) {
  if (form.is_ue8m0()) return std::uint32_t{static_cast<const std::uint8_t*>(scales)[element]} << 23;
  return static_cast<const std::uint32_t*>(scales)[element];
}

__global__ void compare_scales(const void* left, const void* right, ScaleForm form, std::int64_t count,
                               Agreement* agreement) {
  unsigned largest = 0;
  for (std::int64_t i = first_item(); i < count; i += item_step())
    largest = max(largest, ulp_between(scale_bits(left, form, i), scale_bits(right, form, i)));
  if (largest != 0) atomicMax(&agreement->scale_ulp, largest);
}

__global__ void count_written(const void* scales, ScaleForm form, std::int64_t count, unsigned long long* written) {
  constexpr std::uint32_t poison = 0x01010101u * poison_byte;
  const std::uint32_t untouched = form.is_ue8m0() ? std::uint32_t{poison_byte} << 23 : poison;
  unsigned found = 0;
  for (std::int64_t i = first_item(); i < count; i += item_step())
    found += scale_bits(scales, form, i) != untouched ? 1 : 0;
  if (found != 0) atomicAdd(written, static_cast<unsigned long long>(found));
}

// The live row that is the i-th of `count` evenly spread ones.
__device__ std::int64_t spread_row(const std::int64_t* live_rows, std::int64_t live, std::int64_t i,
                                   std::int64_t count) {
  return live_rows[count > 1 ? i * (live - 1) / (count - 1) : 0];
}

__global__ void gather_rows(const std::uint8_t* from, std::int64_t row_bytes, const std::int64_t* live_rows,
                            std::int64_t live, std::int64_t count, std::uint8_t* to) {
  for (std::int64_t i = first_item(); i < count * row_bytes; i += item_step())
    to[i] = from[spread_row(live_rows, live, i / row_bytes, count) * row_bytes + i % row_bytes];
}

__global__ void gather_scales(const void* from, ScaleTensor tensor, const std::int64_t* live_rows, std::int64_t live,
                              std::int64_t count, float* to) {
  const std::int64_t blocks = tensor.blocks();
  for (std::int64_t i = first_item(); i < count * blocks; i += item_step()) {
    const std::int64_t row = spread_row(live_rows, live, i / blocks, count);
    to[i] = __uint_as_float(scale_bits(from, tensor.form, tensor.element(row, i % blocks)));
  }
}

std::int64_t scale_elements(const Workload& workload, const ScaleTensor& tensor) {
  return tensor.part_elements() * (workload.capacity() / workload.rows);
}

std::int64_t x_scale_bytes(const Workload& workload) {
  if (!workload.has_x_scale()) return 0;
  return scale_elements(workload, workload.x_scales()) * workload.x_form.element_bytes();
}

}  // namespace

DeviceData::Tensor::Tensor(std::int64_t tensor_bytes, std::int64_t row_step, std::int64_t sets)
    : bytes(tensor_bytes),
      step(row_step > 0 ? row_step : ceil_div(tensor_bytes, 256) * 256),
      all_bytes((sets - 1) * step + bytes),
      memory(all_bytes) {}

DeviceData::DeviceData(const Workload& workload, std::int64_t sets)
    : workload_(workload),
      codes_(workload.capacity() * workload.columns),
      scales_(scale_elements(workload, workload.out_scales())),
      x_(std::max(workload.capacity() * 2 * workload.columns * workload.element_bytes(),
                  workload.stream_vectors() * 16 * workload.stream_reads()),
         workload.rows_between_sets() * 2 * workload.columns * workload.element_bytes(), sets),
      x_scale_(x_scale_bytes(workload), workload.rows_between_sets() * std::int64_t{sizeof(float)}, sets),
      out_(std::max(codes_, workload.stream_vectors() * 16), workload.rows_between_sets() * workload.columns, sets),
      out_scale_(scales_ * workload.out_form.element_bytes(),
                 workload.rows_between_sets() * std::int64_t{sizeof(float)}, sets),
      row_index_(bytes_of(workload.row_index), 0, sets),
      row_count_(sizeof(std::int32_t), 0, sets),
      total_(sizeof(std::int32_t), 0, sets),
      kept_out_(codes_),
      kept_scale_(out_scale_.bytes),
      live_rows_(bytes_of(workload.live_rows)),
      scratch_(scratch_bytes) {
  upload(live_rows_.at(), workload.live_rows.data(), bytes_of(workload.live_rows));
  for (const Tensor* tensor : {&x_, &x_scale_})
    require(cudaMemset(tensor->at(0), nan_byte, static_cast<std::size_t>(tensor->all_bytes)), "cudaMemset");
  for (std::int64_t set = 0; set < sets; ++set) fill(set);
  require(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
}

void DeviceData::fill(std::int64_t set) const {
  const std::int32_t total = static_cast<std::int32_t>(workload_.rows), count = workload_.row_count.value_or(0);
  upload(total_.at(set), &total, sizeof(total));
  upload(row_count_.at(set), &count, sizeof(count));
  upload(row_index_.at(set), workload_.row_index.data(), bytes_of(workload_.row_index));
  const std::int64_t live = workload_.valid_rows();
  const std::int64_t row_words = 2 * workload_.columns * workload_.element_bytes() / 4;
  over(live * row_words, fill_x, reinterpret_cast<std::uint32_t*>(x_.at(set)), row_words, live_rows(), live,
       workload_.input);
  if (workload_.has_x_scale())
    over(live * workload_.x_scales().blocks(), fill_x_scale, x_scale_.at(set), workload_.x_scales(), live_rows(), live);
}

Buffers DeviceData::buffers(std::int64_t set) const {
  Buffers buffers;
  buffers.x = x_.at(set);
  if (workload_.has_x_scale()) buffers.x_scale = reinterpret_cast<const float*>(x_scale_.at(set));
  buffers.out = out_.at(set);
  buffers.out_scale = reinterpret_cast<float*>(out_scale_.at(set));
  if (!workload_.row_index.empty()) buffers.row_index = reinterpret_cast<const std::int32_t*>(row_index_.at(set));
  if (workload_.row_count) buffers.row_count = reinterpret_cast<const std::int32_t*>(row_count_.at(set));
  if (workload_.mapped()) buffers.total = reinterpret_cast<const std::int32_t*>(total_.at(set));
  return buffers;
}

void DeviceData::poison() const {
  for (const Tensor* tensor : {&out_, &out_scale_})
    require(cudaMemset(tensor->at(0), poison_byte, static_cast<std::size_t>(tensor->bytes)), "cudaMemset");
  require(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
}

std::int64_t DeviceData::written_scales() const {
  unsigned long long written = 0;
  upload(scratch_.at(), &written, sizeof(written));
  over(scales_, count_written, out_scale_.at(0), workload_.out_form, scales_,
       reinterpret_cast<unsigned long long*>(scratch_.at()));
  return static_cast<std::int64_t>(download<unsigned long long>(scratch_, 1).front());
}

void DeviceData::keep() const {
  const auto copy = [](const DeviceMemory& to, const std::uint8_t* from, std::int64_t bytes) {
    require(cudaMemcpy(to.at(), from, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToDevice), "cudaMemcpy");
  };
  copy(kept_out_, out_.at(0), codes_);
  copy(kept_scale_, out_scale_.at(0), out_scale_.bytes);
  require(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
}

Agreement DeviceData::compare() const {
  const Agreement none{};
  upload(scratch_.at(), &none, sizeof(none));
  auto* agreement = reinterpret_cast<Agreement*>(scratch_.at());
  over(codes_, compare_codes, out_.at(0), kept_out_.at(), codes_, agreement);
  over(scales_, compare_scales, out_scale_.at(0), kept_scale_.at(), workload_.out_form, scales_, agreement);
  return download<Agreement>(scratch_, 1).front();
}

Sample DeviceData::sample(std::int64_t rows) const {
  const std::int64_t live = workload_.valid_rows(), count = std::min(rows, live);
  const auto codes = [&](const Tensor& tensor, std::int64_t row_bytes) {
    const DeviceMemory gathered(count * row_bytes);
    over(count * row_bytes, gather_rows, tensor.at(0), row_bytes, live_rows(), live, count, gathered.at());
    return download<std::uint8_t>(gathered, count * row_bytes);
  };
  const auto scales = [&](const Tensor& tensor, const ScaleTensor& places) {
    const std::int64_t numbers = count * places.blocks();
    const DeviceMemory gathered(numbers * std::int64_t{sizeof(float)});
    over(numbers, gather_scales, tensor.at(0), places, live_rows(), live, count,
         reinterpret_cast<float*>(gathered.at()));
    return download<float>(gathered, numbers);
  };
  Sample sample{.rows = count};
  sample.x = codes(x_, 2 * workload_.columns * workload_.element_bytes());
  sample.out = codes(out_, workload_.columns);
  if (workload_.has_x_scale()) sample.x_scale = scales(x_scale_, workload_.x_scales());
  sample.out_scale = scales(out_scale_, workload_.out_scales());
  return sample;
}

}  // namespace bench

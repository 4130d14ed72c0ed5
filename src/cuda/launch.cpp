// The CUDA backend's host side: device facts, read once per device, and the launch itself.
#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <optional>
#include <string>

#include "core/backend.hpp"
#include "core/error.hpp"
#include "core/rows.hpp"
#include "cuda/driver.hpp"
#include "cuda/kernels.hpp"
#include "cuda/marks.hpp"
#include "cuda/padding.hpp"

namespace moe_act::cuda {
namespace {

void check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();  // errors that the runtime keeps must not surface in somebody else's call
  throw Error(MOE_ACT_CUDA_ERROR,
              std::string(call) + ": " + cudaGetErrorName(status) + ", " + cudaGetErrorString(status));
}

// Makes a device current for a scope. Asking is cheap; setting is not, and usually not needed.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device_id) {
    check(cudaGetDevice(&previous_), "cudaGetDevice");
    changed_ = previous_ != device_id;
    if (changed_) check(cudaSetDevice(device_id), "cudaSetDevice");
  }
  ~DeviceGuard() {
    if (changed_) (void)cudaSetDevice(previous_);
  }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int previous_ = 0;
  bool changed_ = false;
};

int attribute(cudaDeviceAttr which, int device_id) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, device_id), "cudaDeviceGetAttribute");
  return value;
}

std::int32_t memory_gigabytes_per_second(int device_id) {
  const std::int64_t kilohertz = attribute(cudaDevAttrMemoryClockRate, device_id);
  const std::int64_t bus_bits = attribute(cudaDevAttrGlobalMemoryBusWidth, device_id);
  return static_cast<std::int32_t>(kilohertz * 2 * bus_bits / 8 / 1'000'000);  // two transfers a clock
}

[[gnu::hot]] KernelFunction kernel_for(const CudaLaunch& launch) {
  switch (launch.key.input) {
    case Format::e4m3: return find_kernel<Format::e4m3>(launch.kernel_index);
    case Format::bf16: return find_kernel<Format::bf16>(launch.kernel_index);
    case Format::fp16: return find_kernel<Format::fp16>(launch.kernel_index);
    case Format::fp32: return find_kernel<Format::fp32>(launch.kernel_index);
    default: fail(MOE_ACT_INTERNAL_ERROR, "plan", "no kernel is compiled for its input format");
  }
}

// Any other Pdl than off: this kernel may start before the stream's last one has ended, which it then waits for.
template <typename Arguments>
[[gnu::hot]] void start(void (*kernel)(Arguments), dim3 grid, dim3 block, const Arguments& arguments,
                        cudaStream_t stream, Pdl pdl) {
  cudaLaunchAttribute attributes[1];
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;

  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = pdl == Pdl::off ? 0 : 1;
  // By address: CUDA makes a copy of its own, and its template for calls by value one more before that.
  void* addresses[] = {const_cast<Arguments*>(&arguments)};
  check(cudaLaunchKernelExC(&config, reinterpret_cast<const void*>(kernel), addresses), "cudaLaunchKernelExC");
}

// A thread for each entry; the kernel loops over what is left. One at the least: there is a head to write.
unsigned mark_ctas(std::int64_t entries) {
  return static_cast<unsigned>(std::clamp<std::int64_t>((entries + mark_threads - 1) / mark_threads, 1, 1 << 12));
}

MarkArguments marks_of(const Plan& plan, const KernelArguments& arguments, MarkHead* head) {
  const auto x_bytes = 2 * arguments.columns * static_cast<std::uint32_t>(bytes_per_element(plan.problem().input()));
  return {arguments.entries, head, arguments.x, arguments.x_row_bytes, x_bytes, plan.cuda().rows_ahead};
}

// A warp for each row of the buffers; the kernel loops over what is left.
unsigned padding_ctas(const Plan& plan) {
  const std::int64_t rows = std::max(total_rows(plan.problem().description()), plan.problem()->out_scale_stride);
  return static_cast<unsigned>(std::clamp<std::int64_t>(rows / padding_warps, 1, 16 * plan.device().multiprocessors));
}

PaddingArguments padding_of(const Plan& plan, const KernelArguments& arguments) {
  const Problem& problem = plan.problem();
  return {arguments, problem.masked() ? problem->experts : 1, bytes_per_element(problem.output()),
          bytes_per_element(static_cast<Format>(problem->unquantized_format))};
}

}  // namespace

const char* build_text() {
  return "CUDA " MOE_ACT_CUDA_VERSION ", architectures " MOE_ACT_CUDA_ARCHITECTURES_TEXT;
}

int device_count() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  // Without a driver, or with one too old, the argument is left untouched: every error means that there is no device.
  check(status, "cudaGetDeviceCount");
  return count;
}

DeviceInfo device_info(int device_id) {
  constexpr int max_cached = 64;
  static std::mutex mutex;
  static std::array<DeviceInfo, max_cached> cache{};
  const bool cached = device_id >= 0 && device_id < max_cached;
  const std::scoped_lock lock(mutex);
  if (cached && cache[static_cast<std::size_t>(device_id)].multiprocessors > 0)
    return cache[static_cast<std::size_t>(device_id)];
  const int count = device_count();
  if (device_id < 0 || device_id >= count)
    invalid("device", "expected a CUDA device below " + std::to_string(count) + ", got " + std::to_string(device_id));
  const DeviceInfo info{
      attribute(cudaDevAttrMultiProcessorCount, device_id),
      attribute(cudaDevAttrComputeCapabilityMajor, device_id),
      attribute(cudaDevAttrComputeCapabilityMinor, device_id),
      memory_gigabytes_per_second(device_id),
      attribute(cudaDevAttrL2CacheSize, device_id),
  };
  if (cached) cache[static_cast<std::size_t>(device_id)] = info;
  return info;
}

void launch(const Plan& plan, const KernelArguments& arguments, void* workspace, void* stream) {
  const CudaLaunch& launch = plan.cuda();
  const dim3 grid(static_cast<unsigned>(launch.grid_x), static_cast<unsigned>(launch.grid_y),
                  static_cast<unsigned>(launch.grid_z));
  const bool pads = plan.problem().pads_with_zero();
  const bool has_rows = total_rows(plan.problem().description()) > 0;
  if (grid.x == 0 || grid.y == 0 || (!has_rows && !pads)) return;
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  const dim3 block(32, static_cast<unsigned>(launch.warps_per_row), static_cast<unsigned>(launch.row_warps));
  const int device_id = plan.problem()->device_id;
  const bool is_alone = !launch.marks_rows && !pads;
  const KernelLaunch alone{launch.kernel_index, kernel_for(launch), device_id, grid, block, cuda_stream, arguments.pdl};
  if (is_alone && launched_by_driver(alone, arguments)) return;
  const DeviceGuard guard(device_id);
  if (const std::optional<int> other = other_device_of(cuda_stream, device_id))
    invalid("stream", "expected one of cuda:" + std::to_string(device_id) +
                          " (the device of x), got one of cuda:" + std::to_string(*other));
  if (is_alone) {
    start(alone.kernel, grid, block, arguments, cuda_stream, arguments.pdl);
    return launched_by_runtime(alone);
  }

  // Kernels in a row, each of which may start while the one before still runs, and waits for it.
  const Pdl chained = plan.device().capability() >= 90 ? Pdl::on : Pdl::off;
  KernelArguments last = arguments;
  // Without the caller's word, whatever follows in the stream must not start before the last kernel has ended.
  if (arguments.pdl == Pdl::off) last.pdl = Pdl::waits;
  if (arguments.pdl == Pdl::metadata_ready) last.pdl = Pdl::on;
  if (pads) {
    start(padding_kernel(), dim3(padding_ctas(plan)), dim3(32, padding_warps), padding_of(plan, arguments), cuda_stream,
          arguments.pdl == Pdl::off ? Pdl::off : Pdl::on);
    return start(kernel_for(launch), grid, block, last, cuda_stream, chained);
  }
  last.marks = static_cast<MarkHead*>(workspace);
  start(mark_rows_kernel(), dim3(mark_ctas(arguments.entries.units)), dim3(mark_threads),
        marks_of(plan, arguments, last.marks), cuda_stream, arguments.pdl == Pdl::off ? Pdl::off : Pdl::on);
  start(kernel_for(launch), grid, block, last, cuda_stream, chained);
}

void copy_to_host(void* host, const void* device, std::size_t bytes, int device_id, void* stream) {
  const DeviceGuard guard(device_id);
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, cuda_stream), "cudaMemcpyAsync");
  check(cudaStreamSynchronize(cuda_stream), "cudaStreamSynchronize");
}

}  // namespace moe_act::cuda

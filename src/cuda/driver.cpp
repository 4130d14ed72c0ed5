#include "cuda/driver.hpp"

#include <cuda.h>

#include <array>
#include <atomic>

namespace moe_act::cuda {

#if CUDART_VERSION >= 12080
namespace {

// The driver's functions, which no library has to be linked for.
struct Driver {
  decltype(&cuCtxGetDevice) current_device = nullptr;
  decltype(&cuStreamGetDevice) device_of_stream = nullptr;
  decltype(&cuLaunchKernelEx) launch = nullptr;  // null: not to be used

  Driver() {
    decltype(&cuDeviceGet) device_at = nullptr;
    decltype(launch) found = nullptr;
    if (find("cuDeviceGet", device_at) && find("cuCtxGetDevice", current_device) &&
        find("cuStreamGetDevice", device_of_stream) && find("cuLaunchKernelEx", found) &&
        numbers_devices_as_the_runtime(device_at))
      launch = found;
  }

  // Of what is launched on the stream; -1: not known. Those that are no stream's own handle mean the current device.
  CUdevice device_of(cudaStream_t stream) const {
    CUdevice device = -1;
    const bool is_current = stream == nullptr || stream == cudaStreamLegacy || stream == cudaStreamPerThread;
    const CUresult result = is_current ? current_device(&device) : device_of_stream(stream, &device);
    return result == CUDA_SUCCESS ? device : -1;
  }

 private:
  template <typename Function>
  static bool find(const char* name, Function& function) {
    constexpr unsigned first_with_all = 12080;
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result{};
    if (cudaGetDriverEntryPointByVersion(name, &found, first_with_all, cudaEnableDefault, &result) != cudaSuccess) {
      (void)cudaGetLastError();
      return false;
    }
    function = reinterpret_cast<Function>(found);
    return result == cudaDriverEntryPointSuccess;
  }

  static bool numbers_devices_as_the_runtime(decltype(&cuDeviceGet) device_at) {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess) {
      (void)cudaGetLastError();
      return false;
    }
    for (int ordinal = 0; ordinal < count; ++ordinal)
      if (CUdevice device = -1; device_at(&device, ordinal) != CUDA_SUCCESS || device != ordinal) return false;
    return true;
  }
};

// What the runtime has launched.
struct Known {
  std::atomic<cudaKernel_t> handle;  // for every device
  std::atomic<std::uint64_t> devices;
};
std::array<Known, kernel_count> known{};

std::uint64_t bit_of(int device_id) {
  return device_id < 64 ? std::uint64_t{1} << device_id : 0;
}

}  // namespace

bool launched_by_driver(const KernelLaunch& launch, const KernelArguments& arguments) {
  static const Driver driver;
  const Known& kernel = known[launch.kernel_index];
  if ((kernel.devices.load(std::memory_order_acquire) & bit_of(launch.device_id)) == 0 || driver.launch == nullptr ||
      driver.device_of(launch.stream) != launch.device_id)
    return false;

  CUlaunchAttribute attribute;
  attribute.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
  attribute.value.programmaticStreamSerializationAllowed = 1;
  CUlaunchConfig config{};
  config.gridDimX = launch.grid.x;
  config.gridDimY = launch.grid.y;
  config.gridDimZ = launch.grid.z;
  config.blockDimX = launch.block.x;
  config.blockDimY = launch.block.y;
  config.blockDimZ = launch.block.z;
  config.hStream = launch.stream;
  config.attrs = &attribute;
  config.numAttrs = launch.pdl == Pdl::off ? 0 : 1;
  void* addresses[] = {const_cast<KernelArguments*>(&arguments)};
  // The driver takes a kernel's handle for a function's, and the device's context from the stream.
  const auto function = reinterpret_cast<CUfunction>(kernel.handle.load(std::memory_order_relaxed));
  return driver.launch(&config, function, addresses, nullptr) == CUDA_SUCCESS;
}

void launched_by_runtime(const KernelLaunch& launch) {
  Known& kernel = known[launch.kernel_index];
  cudaKernel_t handle = nullptr;
  if (cudaGetKernel(&handle, reinterpret_cast<const void*>(launch.kernel)) != cudaSuccess) {
    (void)cudaGetLastError();
    return;
  }
  kernel.handle.store(handle, std::memory_order_relaxed);
  kernel.devices.fetch_or(bit_of(launch.device_id), std::memory_order_release);
}

#else  // the runtime launches everything

bool launched_by_driver(const KernelLaunch&, const KernelArguments&) {
  return false;
}
void launched_by_runtime(const KernelLaunch&) {}

#endif

}  // namespace moe_act::cuda

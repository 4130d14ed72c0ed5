#include "cuda/driver.hpp"

#include <cuda.h>

#include <array>
#include <atomic>

#include "core/backend.hpp"

namespace moe_act::cuda {
namespace {

// The driver's functions, which no library has to be linked for.
struct Driver {
  decltype(&cuCtxGetDevice) get_device = nullptr;
  decltype(&cuLaunchKernelEx) launch = nullptr;  // null: not to be used

  Driver() {
    decltype(&cuDeviceGet) device_of = nullptr;
    find("cuDeviceGet", device_of);
    find("cuCtxGetDevice", get_device);
    if (device_of == nullptr || get_device == nullptr || !numbers_devices_as_the_runtime(device_of)) return;
    find("cuLaunchKernelEx", launch);
  }

 private:
  static bool numbers_devices_as_the_runtime(decltype(&cuDeviceGet) device_of) {
    const int count = device_count();
    for (int ordinal = 0; ordinal < count; ++ordinal)
      if (CUdevice device = -1; device_of(&device, ordinal) != CUDA_SUCCESS || device != ordinal) return false;
    return true;
  }

  template <typename Function>
  static void find([[maybe_unused]] const char* name, [[maybe_unused]] Function& function) {
#if CUDART_VERSION >= 12050
    constexpr unsigned first_with_kernels_for_functions = 12000;
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result{};
    if (cudaGetDriverEntryPointByVersion(name, &found, first_with_kernels_for_functions, cudaEnableDefault, &result) !=
        cudaSuccess)
      (void)cudaGetLastError();
    else if (result == cudaDriverEntryPointSuccess)
      function = reinterpret_cast<Function>(found);
#endif
  }
};

// The driver's handle of a kernel, for every device; null if there is none.
CUfunction handle_of(const KernelLaunch& launch) {
  static std::array<std::atomic<cudaKernel_t>, kernel_count> known{};
  std::atomic<cudaKernel_t>& entry = known[launch.kernel_index];
  cudaKernel_t kernel = entry.load(std::memory_order_relaxed);
  if (kernel == nullptr) {
    if (cudaGetKernel(&kernel, reinterpret_cast<const void*>(launch.kernel)) != cudaSuccess) {
      (void)cudaGetLastError();
      return nullptr;
    }
    entry.store(kernel, std::memory_order_relaxed);
  }
  return reinterpret_cast<CUfunction>(kernel);  // as the driver takes it since CUDA 12
}

}  // namespace

bool launched_by_driver(const KernelLaunch& launch, const KernelArguments& arguments, int device_id) {
  static const Driver driver;
  CUdevice current = -1;
  if (driver.launch == nullptr || driver.get_device(&current) != CUDA_SUCCESS || current != device_id) return false;
  const CUfunction kernel = handle_of(launch);
  if (kernel == nullptr) return false;

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
  return driver.launch(&config, kernel, addresses, nullptr) == CUDA_SUCCESS;
}

}  // namespace moe_act::cuda

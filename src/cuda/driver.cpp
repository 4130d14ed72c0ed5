#include "cuda/driver.hpp"

#include <cuda.h>

#include <array>
#include <atomic>

namespace moe_act::cuda {

#if CUDART_VERSION >= 12050
namespace {

// The driver's functions, which no library has to be linked for. Of those that tell a stream's device only this one may
// be called while the stream is captured.
struct Driver {
  decltype(&cuCtxGetCurrent) current_context = nullptr;
  decltype(&cuStreamGetCtx) context_of_stream = nullptr;
  decltype(&cuCtxPushCurrent) push_context = nullptr;
  decltype(&cuCtxPopCurrent) pop_context = nullptr;
  decltype(&cuCtxGetDevice) current_device = nullptr;
  decltype(&cuLaunchKernelEx) launch = nullptr;
  bool is_usable = false;

  Driver() {
    is_usable = find("cuCtxGetCurrent", current_context) && find("cuStreamGetCtx", context_of_stream) &&
                find("cuCtxPushCurrent", push_context) && find("cuCtxPopCurrent", pop_context) &&
                find("cuCtxGetDevice", current_device) && find("cuLaunchKernelEx", launch);
  }

  // In which a kernel on the stream runs; null: not known. What is no stream's own handle means the current context.
  CUcontext context_of(cudaStream_t stream) const {
    CUcontext context = nullptr;
    const bool is_current = stream == nullptr || stream == cudaStreamLegacy || stream == cudaStreamPerThread;
    const CUresult result = is_current ? current_context(&context) : context_of_stream(stream, &context);
    return result == CUDA_SUCCESS ? context : nullptr;
  }

  std::optional<int> device_of(CUcontext context) const {
    if (push_context(context) != CUDA_SUCCESS) return std::nullopt;
    CUdevice device = 0;  // the runtime's number of it
    const CUresult result = current_device(&device);
    (void)pop_context(&context);
    return result == CUDA_SUCCESS ? std::optional<int>(device) : std::nullopt;
  }

  static const Driver& get() {
    static const Driver driver;
    return driver;
  }

 private:
  template <typename Function>
  static bool find(const char* name, Function& function) {
    constexpr unsigned first_with_kernels_for_functions = 12000;
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result{};
    if (cudaGetDriverEntryPointByVersion(name, &found, first_with_kernels_for_functions, cudaEnableDefault, &result) !=
        cudaSuccess) {
      (void)cudaGetLastError();
      return false;
    }
    function = reinterpret_cast<Function>(found);
    return result == cudaDriverEntryPointSuccess;
  }
};

// What the runtime has launched, and where: each device's context.
constexpr int most_devices = 64;
struct Known {
  std::atomic<cudaKernel_t> handle;  // for every device
  std::atomic<std::uint64_t> devices;
};
std::array<Known, kernel_count> known{};
std::array<std::atomic<CUcontext>, most_devices> contexts{};

}  // namespace

std::optional<int> other_device_of(cudaStream_t stream, int device_id) {
  const Driver& driver = Driver::get();
  if (!driver.is_usable) return std::nullopt;
  const CUcontext context = driver.context_of(stream);
  if (context == nullptr || context == driver.context_of(nullptr)) return std::nullopt;
  const std::optional<int> device = driver.device_of(context);  // which may have many contexts
  return device == device_id ? std::nullopt : device;
}

bool launched_by_driver(const KernelLaunch& launch, const KernelArguments& arguments) {
  if (launch.device_id >= most_devices) return false;
  const Known& kernel = known[launch.kernel_index];
  if ((kernel.devices.load(std::memory_order_acquire) >> launch.device_id & 1u) == 0) return false;
  const Driver& driver = Driver::get();
  if (driver.context_of(launch.stream) != contexts[static_cast<std::size_t>(launch.device_id)].load()) return false;

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
  const Driver& driver = Driver::get();
  if (!driver.is_usable || launch.device_id >= most_devices) return;
  const CUcontext context = driver.context_of(nullptr);  // the device is current
  cudaKernel_t handle = nullptr;
  if (cudaGetKernel(&handle, reinterpret_cast<const void*>(launch.kernel)) != cudaSuccess) {
    (void)cudaGetLastError();
    return;
  }
  if (context == nullptr) return;
  Known& kernel = known[launch.kernel_index];
  kernel.handle.store(handle, std::memory_order_relaxed);
  const std::uint64_t device = std::uint64_t{1} << launch.device_id;
  const CUcontext previous = contexts[static_cast<std::size_t>(launch.device_id)].exchange(context);
  if (previous != nullptr && previous != context)  // what was loaded there need not be here
    for (Known& each : known) each.devices.fetch_and(~device);
  kernel.devices.fetch_or(device, std::memory_order_release);
}

#else  // the runtime launches everything, and refuses streams of other devices itself

std::optional<int> other_device_of(cudaStream_t, int) {
  return std::nullopt;
}
bool launched_by_driver(const KernelLaunch&, const KernelArguments&) {
  return false;
}
void launched_by_runtime(const KernelLaunch&) {}

#endif

}  // namespace moe_act::cuda

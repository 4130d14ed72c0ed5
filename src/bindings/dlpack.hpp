// The few C structs of DLPack 1.3 that importing needs. Declared here because no package carries them: "dlpack" on the
// package index is something else, and distributions ship versions that know neither fp8 nor the exchange API.
// Source: the DLPack specification, github.com/dmlc/dlpack.
#pragma once

#include <cstdint>

namespace moe_act::dlpack {

struct Device {
  std::int32_t type;
  std::int32_t id;
};

// Does work on it run on a CUDA stream? Managed memory does, pinned host memory does not.
inline bool is_cuda(Device device) {
  constexpr std::int32_t cuda = 2, cuda_managed = 13;
  return device.type == cuda || device.type == cuda_managed;
}

struct DataType {
  std::uint8_t code;
  std::uint8_t bits;
  std::uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  std::int32_t ndim;
  DataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;
  std::uint64_t byte_offset;
};

struct ManagedTensor {  // capsule "dltensor"
  Tensor tensor;
  void* manager_context;
  void (*deleter)(ManagedTensor*);
};

struct Version {
  std::uint32_t major;
  std::uint32_t minor;
};

inline constexpr std::uint64_t flag_read_only = 1;

struct ManagedTensorVersioned {  // capsule "dltensor_versioned"
  Version version;
  void* manager_context;
  void (*deleter)(ManagedTensorVersioned*);
  std::uint64_t flags;
  Tensor tensor;
};

// type(x).__dlpack_c_exchange_api__: a capsule "dlpack_exchange_api". Functions not used here keep their place.
struct ExchangeApi {
  struct Header {
    Version version;
    Header* previous;
  };
  Header header;
  void (*managed_tensor_allocator)();
  void (*managed_tensor_from_py_object_no_sync)();
  void (*managed_tensor_to_py_object_no_sync)();
  int (*tensor_from_py_object_no_sync)(void* py_object, Tensor* out);  // may be null; the tensor is borrowed
  int (*current_work_stream)(std::int32_t device_type, std::int32_t device_id, void** stream);
};

}  // namespace moe_act::dlpack

// Any Python tensor as the C interface's moe_act_tensor: facts only, nothing is judged here.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>

#include "bindings/dlpack.hpp"
#include "moe_act/c_api.h"

namespace moe_act::python {

namespace nb = nanobind;

// Is it a NumPy array, or one of NumPy's scalars?
bool is_of_numpy(nb::handle object);

// The DLPack C exchange API of the object's type, or null.
const dlpack::ExchangeApi* exchange_api(nb::handle object);

// Holds what keeps the facts alive. Not movable: the facts point into it.
class Tensor {
 public:
  static constexpr int max_rank = 8;

  Tensor() { buffer_.obj = nullptr; }
  ~Tensor();
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;

  // None leaves the tensor absent. stream: what a producer outside the exchange API is told to make its data ready for;
  // only looked at for CUDA tensors.
  void import(const char* name, nb::handle object, void* stream);
  // Only by the exchange API, which asks for no stream. False: the object's type has none.
  bool import_by_exchange_api(const char* name, nb::handle object);

  bool has_gradient() const { return (tensor_.flags & MOE_ACT_TENSOR_REQUIRES_GRAD) != 0; }
  void ignore_gradient() { tensor_.flags &= ~std::uint32_t{MOE_ACT_TENSOR_REQUIRES_GRAD}; }

  const moe_act_tensor* get() const { return present_ ? &tensor_ : nullptr; }
  dlpack::Device device() const { return {tensor_.device_type, tensor_.device_id}; }

 private:
  void import_dlpack(const char* name, nb::handle object, void* stream);
  bool import_buffer(const char* name, nb::handle object);
  void take_capsule(const char* name);  // of owner_
  void take(const char* name, const dlpack::Tensor& tensor, std::uint64_t flags);

  bool present_ = false;
  moe_act_tensor tensor_{};
  std::int64_t shape_[max_rank];
  std::int64_t strides_[max_rank];
  nb::object owner_;
  Py_buffer buffer_;  // held if its obj is not null
};

// What __dlpack_device__ says of a tensor, before it is imported. CPU for what has none.
dlpack::Device device_of(const char* name, nb::handle object);

}  // namespace moe_act::python

// XLA's buffers as the tensors of the C interface.
#pragma once

#include <xla/ffi/api/ffi.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

#include "bindings/structs.hpp"
#include "moe_act/c_api.h"

namespace moe_act::python {

namespace ffi = xla::ffi;

template <typename Member>
struct Named {
  const char* name;
  Member member;
};

constexpr Named<const moe_act_tensor * moe_act_tensors::*> tensor_names[] = {
    {"x", &moe_act_tensors::x},
    {"x_scale", &moe_act_tensors::x_scale},
    {"out", &moe_act_tensors::out},
    {"out_scale", &moe_act_tensors::out_scale},
    {"static_scale", &moe_act_tensors::static_scale},
    {"row_index", &moe_act_tensors::row_index},
    {"row_count", &moe_act_tensors::row_count},
    {"total_num_padded_tokens", &moe_act_tensors::total_num_padded_tokens},
    {"bias", &moe_act_tensors::bias},
    {"alpha", &moe_act_tensors::alpha},
    {"beta", &moe_act_tensors::beta},
    {"limit", &moe_act_tensors::limit},
    {"weight", &moe_act_tensors::weight},
    {"tile_to_expert", &moe_act_tensors::tile_to_expert},
    {"permuted_to_expanded", &moe_act_tensors::permuted_to_expanded},
    {"out_unquantized", &moe_act_tensors::out_unquantized},
};
constexpr std::size_t most_tensors = std::size(tensor_names);

// Buffers of one call as the C interface's tensors. Not movable: the tensors are pointed to.
class Tensors {
 public:
  Tensors(std::int32_t device_type, std::int32_t device_id) : device_type_(device_type), device_id_(device_id) {}
  Tensors(const Tensors&) = delete;
  Tensors& operator=(const Tensors&) = delete;

  // Takes the buffers that get(index) delivers under their names, which are separated by spaces.
  template <typename Get>
  ffi::Error take(std::string_view names, std::size_t count, Get get) {
    std::size_t index = 0;
    for (; !names.empty(); ++index) {
      const std::string_view name = names.substr(0, names.find(' '));
      names.remove_prefix(std::min(names.size(), name.size() + 1));
      if (index == count) return ffi::Error::InvalidArgument("moe_act: more names than buffers");
      if (ffi::Error error = take_one(name, get(index)); error.failure()) return error;
    }
    return index == count ? ffi::Error::Success() : ffi::Error::InvalidArgument("moe_act: more buffers than names");
  }

  const moe_act_tensors& all() const { return tensors_; }
  void* workspace() const { return workspace_; }
  std::int64_t workspace_bytes() const { return workspace_bytes_; }

 private:
  ffi::Error take_one(std::string_view name, ffi::AnyBuffer buffer) {
    if (name == "workspace") {
      workspace_ = buffer.untyped_data();
      workspace_bytes_ = static_cast<std::int64_t>(buffer.size_bytes());
      return ffi::Error::Success();
    }
    for (const auto& known : tensor_names) {
      if (name != known.name || count_ == most_tensors) continue;
      moe_act_tensor& tensor = storage_[count_++];
      tensor = described(buffer);
      tensors_.*known.member = &tensor;
      return ffi::Error::Success();
    }
    return ffi::Error::InvalidArgument("moe_act: no tensor is called '" + std::string(name) + "'");
  }

  moe_act_tensor described(ffi::AnyBuffer buffer) const {
    moe_act_tensor tensor{};
    tensor.data = buffer.untyped_data();
    tensor.device_type = device_type_;
    tensor.device_id = device_id_;
    tensor.dtype_bits = static_cast<std::uint8_t>(ffi::ByteWidth(buffer.element_type()) * 8);
    tensor.dtype_code = dlpack_code(buffer.element_type());
    tensor.dtype_lanes = 1;
    tensor.ndim = static_cast<std::int32_t>(buffer.dimensions().size());
    tensor.shape = buffer.dimensions().begin();
    return tensor;
  }

  static std::uint8_t dlpack_code(ffi::DataType type) {
    switch (type) {
      case ffi::S8:
      case ffi::S16:
      case ffi::S32:
      case ffi::S64: return 0;
      case ffi::U8:
      case ffi::U16:
      case ffi::U32:
      case ffi::U64: return 1;
      case ffi::F16:
      case ffi::F32:
      case ffi::F64: return 2;
      case ffi::BF16: return 4;
      case ffi::F8E4M3FN: return 10;
      case ffi::F8E5M2: return 12;
      case ffi::F8E8M0FNU: return 14;
      default: return 3;  // an opaque handle: no argument takes one
    }
  }

  std::int32_t device_type_, device_id_;
  moe_act_tensor storage_[most_tensors];
  std::size_t count_ = 0;
  moe_act_tensors tensors_ = sized<moe_act_tensors>();
  void* workspace_ = nullptr;
  std::int64_t workspace_bytes_ = 0;
};

}  // namespace moe_act::python

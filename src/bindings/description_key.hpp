// Is a call's description that of the call before? Asked in place, tensor by tensor, without a key being built first.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "bindings/call.hpp"

namespace moe_act::python {

// All of a tensor that a description depends on.
class Layout {
 public:
  bool is_of(const moe_act_tensor* tensor) const {
    if (tensor == nullptr || !present_) return present_ == (tensor != nullptr);
    if (tensor->ndim != facts_.ndim || tensor->device_type != facts_.device_type ||
        tensor->device_id != facts_.device_id || tensor->dtype_code != facts_.dtype_code ||
        tensor->dtype_bits != facts_.dtype_bits || tensor->dtype_lanes != facts_.dtype_lanes ||
        tensor->flags != facts_.flags || address_class(*tensor) != address_class_ ||
        (tensor->shape == nullptr) != (facts_.shape == nullptr) ||
        (tensor->strides == nullptr) != (facts_.strides == nullptr))
      return false;
    for (int axis = 0; axis < tensor->ndim; ++axis) {
      if (tensor->shape != nullptr && tensor->shape[axis] != shape_[axis]) return false;
      if (tensor->strides != nullptr && tensor->strides[axis] != strides_[axis]) return false;
    }
    return true;
  }

  void assign(const moe_act_tensor* tensor) {
    present_ = tensor != nullptr;
    if (!present_) return;
    facts_ = *tensor;
    address_class_ = address_class(*tensor);
    if (tensor->shape != nullptr) std::copy_n(tensor->shape, tensor->ndim, shape_);
    if (tensor->strides != nullptr) std::copy_n(tensor->strides, tensor->ndim, strides_);
  }

 private:
  // Modulo the largest alignment that a problem promises; that alignment itself for null.
  static std::uintptr_t address_class(const moe_act_tensor& tensor) {
    constexpr std::uintptr_t largest_alignment = 16;
    return tensor.data == nullptr ? largest_alignment
                                  : reinterpret_cast<std::uintptr_t>(tensor.data) % largest_alignment;
  }

  bool present_ = false;
  moe_act_tensor facts_{};  // of its pointers only whether they are null
  std::uintptr_t address_class_ = 0;
  std::int64_t shape_[Tensor::max_rank], strides_[Tensor::max_rank];
};

// All that the description of a call depends on.
class DescriptionKey {
 public:
  bool is_of(const moe_act_tensors& tensors, const moe_act_options& options) const {
    const Pointers given = pointers(tensors);
    for (std::size_t i = 0; i < given.size(); ++i)
      if (!layouts_[i].is_of(given[i])) return false;
    return same(options, options_);
  }

  void assign(const moe_act_tensors& tensors, const moe_act_options& options) {
    const Pointers given = pointers(tensors);
    for (std::size_t i = 0; i < given.size(); ++i) layouts_[i].assign(given[i]);
    options_ = options;
  }

 private:
  using Pointers = std::array<const moe_act_tensor*, 16>;
  static_assert(sizeof(moe_act_tensors) == sizeof(std::uint64_t) + sizeof(Pointers), "one for each tensor");

  static Pointers pointers(const moe_act_tensors& tensors) {
    return {tensors.x,
            tensors.x_scale,
            tensors.out,
            tensors.out_scale,
            tensors.static_scale,
            tensors.row_index,
            tensors.total_num_padded_tokens,
            tensors.row_count,
            tensors.bias,
            tensors.alpha,
            tensors.beta,
            tensors.limit,
            tensors.weight,
            tensors.tile_to_expert,
            tensors.permuted_to_expanded,
            tensors.out_unquantized};
  }

  moe_act_options options_{};
  std::array<Layout, std::tuple_size_v<Pointers>> layouts_;
};

}  // namespace moe_act::python

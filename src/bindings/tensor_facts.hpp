// What a call's tensors are: all that their description depends on, one after the other in memory that is compared as
// bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "bindings/dlpack.hpp"
#include "bindings/structs.hpp"
#include "moe_act/c_api.h"

namespace moe_act::python {

// A call's tensors, in the order of moe_act_tensors and of moe_act_buffers.
enum class Place : std::uint8_t {
  x,
  x_scale,
  out,
  out_scale,
  static_scale,
  row_index,
  total_num_padded_tokens,
  row_count,
  bias,
  alpha,
  beta,
  limit,
  weight,
  tile_to_expert,
  permuted_to_expanded,
  out_unquantized
};
inline constexpr std::size_t places = 16;

constexpr std::size_t offset_of(Place place) {
  return sizeof(std::uint64_t) + static_cast<std::size_t>(place) * sizeof(void*);
}
template <typename Struct>
inline constexpr bool is_in_order =
    offsetof(Struct, x) == offset_of(Place::x) && offsetof(Struct, x_scale) == offset_of(Place::x_scale) &&
    offsetof(Struct, out) == offset_of(Place::out) && offsetof(Struct, out_scale) == offset_of(Place::out_scale) &&
    offsetof(Struct, static_scale) == offset_of(Place::static_scale) &&
    offsetof(Struct, row_index) == offset_of(Place::row_index) &&
    offsetof(Struct, total_num_padded_tokens) == offset_of(Place::total_num_padded_tokens) &&
    offsetof(Struct, row_count) == offset_of(Place::row_count) && offsetof(Struct, bias) == offset_of(Place::bias) &&
    offsetof(Struct, alpha) == offset_of(Place::alpha) && offsetof(Struct, beta) == offset_of(Place::beta) &&
    offsetof(Struct, limit) == offset_of(Place::limit) && offsetof(Struct, weight) == offset_of(Place::weight) &&
    offsetof(Struct, tile_to_expert) == offset_of(Place::tile_to_expert) &&
    offsetof(Struct, permuted_to_expanded) == offset_of(Place::permuted_to_expanded) &&
    offsetof(Struct, out_unquantized) == offset_of(Place::out_unquantized);

// Members of moe_act_tensors and moe_act_buffers by their places.
template <typename Struct>
void set_pointer(Struct& target, Place place, const void* pointer) {
  static_assert(is_in_order<Struct>);
  std::memcpy(reinterpret_cast<std::byte*>(&target) + offset_of(place), &pointer, sizeof(pointer));
}
template <typename Struct>
void* pointer_in(const Struct& source, Place place) {
  static_assert(is_in_order<Struct>);
  void* pointer;
  std::memcpy(&pointer, reinterpret_cast<const std::byte*>(&source) + offset_of(place), sizeof(pointer));
  return pointer;
}

class TensorFacts {
 public:
  static constexpr std::int32_t max_rank = 8;

  // Tensors of the same facts and lengths differ in their addresses, not modulo 16, and in nothing else. What an
  // exporter writes stays where it is, but for the address: what comes in its place is the library's.
  struct Facts {
    struct InPlaceOfAddress {
      std::uint32_t flags;
      Place place;
      std::uint8_t address_class, has_shape, has_strides;
    } own;
    dlpack::Device device;
    std::int32_t ndim;
    dlpack::DataType dtype;
  };
  static_assert(offsetof(Facts, device) == offsetof(dlpack::Tensor, device) &&
                offsetof(Facts, ndim) == offsetof(dlpack::Tensor, ndim) &&
                offsetof(Facts, dtype) == offsetof(dlpack::Tensor, dtype));
  struct Axis {
    std::int64_t length, stride;
  };
  static_assert(std::has_unique_object_representations_v<Facts>, "its bytes are its fields");

  TensorFacts() {}  // leaves the memory as it is
  TensorFacts(const TensorFacts& other) { *this = other; }
  TensorFacts& operator=(const TensorFacts& other) {
    size_ = other.size_;
    std::memcpy(memory_, other.memory_, size_);
    return *this;
  }

  bool operator==(const TensorFacts& other) const {
    return size_ == other.size_ && std::memcmp(memory_, other.memory_, size_) == 0;
  }

  // Where the next tensor may be written.
  dlpack::Tensor* next() { return reinterpret_cast<dlpack::Tensor*>(memory_ + size_); }
  // Takes what is written there, of at most max_rank axes: its address is returned.
  void* take_next(Place place, std::uint32_t flags) {
    std::byte* memory = memory_ + size_;
    const dlpack::Tensor tensor = *next();
    void* data = tensor.data == nullptr ? nullptr : static_cast<char*>(tensor.data) + tensor.byte_offset;
    const Facts::InPlaceOfAddress own{flags, place, address_class(data), tensor.shape != nullptr,
                                      tensor.strides != nullptr};
    std::memcpy(memory, &own, sizeof(own));
    memory += sizeof(Facts);
    static constexpr std::int64_t none[max_rank]{};
    const std::int64_t* shape = tensor.shape != nullptr ? tensor.shape : none;
    const std::int64_t* strides = tensor.strides != nullptr ? tensor.strides : none;
    for (std::int32_t i = 0; i < tensor.ndim; ++i, memory += sizeof(Axis)) {
      const Axis axis{shape[i], strides[i]};
      std::memcpy(memory, &axis, sizeof(axis));
    }
    size_ = static_cast<std::size_t>(memory - memory_);
    return data;
  }

  // Of the tensor taken last, where `before` was the end.
  std::size_t end() const { return size_; }
  void add_flags(std::size_t before, std::uint32_t flags) {
    reinterpret_cast<Facts*>(memory_ + before)->own.flags |= flags;
  }

  dlpack::Device device_of_first() const {
    dlpack::Device device;  // copied, as it may have been written as a dlpack::Tensor's
    std::memcpy(&device, memory_ + offsetof(Facts, device), sizeof(device));
    return device;
  }

  // visit(Facts&, its axes)
  template <typename Visit>
  void for_each(Visit visit) {
    for (std::size_t at = 0; at < size_;) {
      auto* facts = reinterpret_cast<Facts*>(memory_ + at);
      const std::span axes(reinterpret_cast<const Axis*>(facts + 1),
                           static_cast<std::size_t>(std::max(facts->ndim, 0)));
      visit(*facts, axes);
      at += sizeof(Facts) + axes.size_bytes();
    }
  }

 private:
  // Modulo the largest alignment that a problem promises; that alignment itself for null.
  static std::uint8_t address_class(const void* data) {
    constexpr std::uintptr_t largest_alignment = 16;
    return static_cast<std::uint8_t>(data == nullptr ? largest_alignment
                                                     : reinterpret_cast<std::uintptr_t>(data) % largest_alignment);
  }

  std::size_t size_ = 0;
  alignas(Facts) alignas(Axis) std::byte memory_[places * (sizeof(Facts) + max_rank * sizeof(Axis))];
};

// All that the description of a call depends on.
struct DescriptionKey {
  TensorFacts tensors;
  moe_act_options options{};

  bool is_of(const TensorFacts& other_tensors, const moe_act_options& other_options) const {
    return tensors == other_tensors && same(options, other_options);
  }
};

}  // namespace moe_act::python

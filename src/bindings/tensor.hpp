// Any Python tensors as the C interface's: facts only, nothing is judged here.
#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>
#include <cstdint>
#include <forward_list>
#include <utility>

#include "bindings/dlpack.hpp"
#include "bindings/tensor_facts.hpp"
#include "moe_act/c_api.h"

namespace moe_act::python {

namespace nb = nanobind;

// Is it a NumPy array, or one of NumPy's scalars?
bool is_of_numpy(nb::handle object);

// The DLPack C exchange API of the object's type, or null.
[[gnu::hot]] const dlpack::ExchangeApi* exchange_api(nb::handle object);

// Does that API export it, which asks for no stream?
[[gnu::hot]] bool is_exported_as_it_is(nb::handle object);

// A call's tensors, and what keeps their memory alive beside the objects themselves.
class Tensors {
 public:
  Tensors() = default;
  Tensors(const Tensors&) = delete;
  Tensors& operator=(const Tensors&) = delete;

  // The object is a tensor, not None. stream: what a producer outside the exchange API is told to make its data ready
  // for; only looked at for CUDA tensors.
  [[gnu::hot]] void import(Place place, const char* name, nb::handle object, void* stream);

  bool have_gradients() {
    std::uint32_t flags = 0;
    facts_.for_each([&](const TensorFacts::Facts& facts, auto) { flags |= facts.own.flags; });
    return (flags & MOE_ACT_TENSOR_REQUIRES_GRAD) != 0;
  }
  void ignore_gradients() {
    facts_.for_each(
        [](TensorFacts::Facts& facts, auto) { facts.own.flags &= ~std::uint32_t{MOE_ACT_TENSOR_REQUIRES_GRAD}; });
  }

  const TensorFacts& facts() const { return facts_; }
  dlpack::Device device() const { return facts_.device_of_first(); }  // of the first
  void* data(Place place) const { return pointer_in(buffers_, place); }
  const moe_act_buffers& buffers() const { return buffers_; }

  // What the C interface finds of them.
  moe_act_problem describe(const moe_act_options& options);

 private:
  // What a capsule or a buffer of Python's protocol is held by. Not movable: exporters may know the buffer's address.
  struct Owner {
    nb::object object;
    Py_buffer buffer{};

    explicit Owner(nb::object held) : object(std::move(held)) {}
    ~Owner();
    Owner(const Owner&) = delete;
    Owner& operator=(const Owner&) = delete;
  };

  void import_otherwise(Place place, const char* name, nb::handle object, void* stream);
  void import_dlpack(Place place, const char* name, nb::handle object, void* stream);
  bool import_buffer(Place place, const char* name, nb::handle object);
  void take_capsule(Place place, const char* name, nb::object capsule, std::uint32_t flags);
  void take(Place place, const char* name, const dlpack::Tensor& tensor, std::uint32_t flags);

  TensorFacts facts_;
  moe_act_buffers buffers_ = sized<moe_act_buffers>();
  std::forward_list<Owner> owners_;
};

// What __dlpack_device__ says of a tensor, before it is imported. CPU for what has none.
dlpack::Device device_of(const char* name, nb::handle object);

}  // namespace moe_act::python

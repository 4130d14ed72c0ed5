// One tensor argument under its name: every check that concerns this tensor alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "math/formats.hpp"
#include "moe_act/c_api.h"

namespace moe_act {

// DLPack's DLDataTypeCode.
enum DtypeCode : std::uint8_t {
  code_int = 0,
  code_uint = 1,
  code_float = 2,
  code_bfloat = 4,
  code_complex = 5,
  code_bool = 6,
  code_float8_e4m3fn = 10,
  code_float8_e5m2 = 12,
  code_float8_e8m0fnu = 14,
  code_float4_e2m1fn = 17,
};

class TensorView {
 public:
  TensorView(const char* name, const moe_act_tensor& tensor);

  std::int64_t dimension(int axis) const { return tensor_.shape[axis]; }
  int rank() const { return tensor_.ndim; }
  std::int64_t stride(int axis) const;
  std::int64_t elements() const;
  void* data() const { return tensor_.data; }
  std::int32_t device_type() const;  // pinned host memory counts as CPU, managed memory as CUDA
  std::int32_t device_id() const { return device_type() == MOE_ACT_DEVICE_CPU ? 0 : tensor_.device_id; }

  // The format its dtype says, or `given` if the dtype is that or an integer of the same width.
  Format format(Format given) const;
  std::string text() const;  // "float32 [1024, 32]"

  bool has_dtype(std::uint8_t code, std::uint8_t bits) const;
  void require_dtype(std::uint8_t code, std::uint8_t bits, const char* expected) const;
  void require_rank(int rank, const char* expected) const;
  void require_one_element(const char* expected) const;
  void require_contiguous(int first_axis = 0) const;  // from that axis on
  // Elements adjacent along one axis, not overlapping along the other.
  void require_lines(int line, int adjacent) const;
  void require_parts() const;  // rank 3: the first axis' parts do not overlap
  void require_writable() const;
  void require_device_of(const TensorView& x) const;

  // Elements between rows, the last axis but one; a single row is as good as contiguous.
  std::int64_t row_stride() const {
    const int axis = rank() - 2;
    return dimension(axis) > 1 ? stride(axis) : dimension(axis + 1);
  }

  [[noreturn]] void mismatch(const std::string& expected) const;  // expected ..., got text()

 private:
  const char* name_;
  const moe_act_tensor& tensor_;
};

inline std::optional<TensorView> view(const char* name, const moe_act_tensor* tensor) {
  if (tensor == nullptr) return std::nullopt;
  return TensorView(name, *tensor);
}

// The largest power of two, 16 at most, that divides the address and the distance between rows.
std::int32_t alignment_bytes(const void* data, std::int64_t row_stride, int element_bytes);

// Throws Error unless a problem may promise so many bytes: of an address, and so many elements further on; 0: nowhere.
void require_alignment(const char* argument, std::int32_t alignment, Format format, std::int64_t stride);

}  // namespace moe_act

#include "core/tensor_view.hpp"

#include <algorithm>
#include <bit>

#include "core/error.hpp"
#include "core/text.hpp"

namespace moe_act {
namespace {

struct DtypeName {
  std::uint8_t code;
  std::uint8_t bits;  // 0: append the width
  const char* name;
  Format format;
};

constexpr DtypeName dtype_names[] = {
    {code_int, 0, "int", Format::none},
    {code_uint, 0, "uint", Format::none},
    {code_float, 32, "float32", Format::fp32},
    {code_float, 16, "float16", Format::fp16},
    {code_float, 0, "float", Format::none},
    {code_bfloat, 16, "bfloat16", Format::bf16},
    {code_complex, 0, "complex", Format::none},
    {code_bool, 8, "bool", Format::none},
    {code_float8_e4m3fn, 8, "float8_e4m3fn", Format::e4m3},
    {code_float8_e5m2, 8, "float8_e5m2", Format::e5m2},
    {code_float8_e8m0fnu, 8, "float8_e8m0fnu", Format::ue8m0},
    {code_float4_e2m1fn, 4, "float4_e2m1fn", Format::e2m1},
};

const DtypeName* find_dtype(const moe_act_tensor& tensor) {
  for (const DtypeName& known : dtype_names)
    if (known.code == tensor.dtype_code && (known.bits == 0 || known.bits == tensor.dtype_bits)) return &known;
  return nullptr;
}

std::string dtype_text(const moe_act_tensor& tensor) {
  const DtypeName* known = find_dtype(tensor);
  const std::string bits = number(tensor.dtype_bits);
  std::string text = known == nullptr   ? "dtype code " + number(tensor.dtype_code) + " of " + bits + " bits"
                     : known->bits == 0 ? known->name + bits
                                        : known->name;
  if (tensor.dtype_lanes > 1) text += "x" + number(tensor.dtype_lanes);
  return text;
}

std::string device_text(const TensorView& tensor) {
  if (tensor.device_type() == MOE_ACT_DEVICE_CPU) return "cpu";
  if (tensor.device_type() == MOE_ACT_DEVICE_CUDA) return "cuda:" + number(tensor.device_id());
  return "DLPack device type " + number(tensor.device_type());
}

}  // namespace

TensorView::TensorView(const char* name, const moe_act_tensor& tensor) : name_(name), tensor_(tensor) {
  if (tensor.ndim < 0 || (tensor.ndim > 0 && tensor.shape == nullptr)) invalid(name, "its shape is missing");
  for (int axis = 0; axis < tensor.ndim; ++axis)
    if (tensor.shape[axis] < 0) invalid(name, "negative size " + number(tensor.shape[axis]));
  if (tensor.flags & MOE_ACT_TENSOR_REQUIRES_GRAD)
    invalid(name, "expected a tensor that does not require grad (the operation has no gradient); pass .detach()");
  if (tensor.data == nullptr && elements() != 0) invalid(name, "its data pointer is null, expected " + text());
}

std::int64_t TensorView::stride(int axis) const {
  if (tensor_.strides != nullptr) return tensor_.strides[axis];
  std::int64_t stride = 1;
  for (int inner = axis + 1; inner < tensor_.ndim; ++inner) stride *= tensor_.shape[inner];
  return stride;
}

std::int64_t TensorView::elements() const {
  std::int64_t count = 1;
  for (int axis = 0; axis < tensor_.ndim; ++axis)
    if (__builtin_mul_overflow(count, tensor_.shape[axis], &count)) invalid(name_, "its size exceeds 63 bits");
  return count;
}

std::int32_t TensorView::device_type() const {
  constexpr std::int32_t cuda_host = 3, cuda_managed = 13;  // DLPack's kDLCUDAHost, kDLCUDAManaged
  if (tensor_.device_type == cuda_host) return MOE_ACT_DEVICE_CPU;
  return tensor_.device_type == cuda_managed ? MOE_ACT_DEVICE_CUDA : tensor_.device_type;
}

Format TensorView::format(Format given) const {
  const DtypeName* known = find_dtype(tensor_);
  const Format own = known != nullptr ? known->format : Format::none;
  if (own == Format::e2m1) return own;  // however its lanes are counted
  if (tensor_.dtype_lanes != 1) return Format::none;
  if (given == Format::none || own == given) return own;
  // Some producers have no dtype for these formats and export integers, or call an fp8 a plain float.
  const bool view = tensor_.dtype_code == code_uint || tensor_.dtype_code == code_int ||
                    (tensor_.dtype_code == code_float && tensor_.dtype_bits == 8);
  return view && tensor_.dtype_bits == traits(given).bits ? given : Format::none;
}

std::string TensorView::text() const {
  std::string text = dtype_text(tensor_) + " [";
  for (int axis = 0; axis < tensor_.ndim; ++axis) text += (axis == 0 ? "" : ", ") + number(tensor_.shape[axis]);
  return text + "]";
}

void TensorView::mismatch(const std::string& expected) const {
  invalid(name_, "expected " + expected + ", got " + text());
}

void TensorView::require_dtype(std::uint8_t code, std::uint8_t bits, const char* expected) const {
  if (!has_dtype(code, bits)) fail(MOE_ACT_WRONG_TYPE, name_, std::string("expected ") + expected + ", got " + text());
}

bool TensorView::has_dtype(std::uint8_t code, std::uint8_t bits) const {
  return tensor_.dtype_code == code && tensor_.dtype_bits == bits && tensor_.dtype_lanes == 1;
}

void TensorView::require_rank(int rank, const char* expected) const {
  if (tensor_.ndim != rank) mismatch(expected);
}

void TensorView::require_one_element(const char* expected) const {
  if (elements() != 1) mismatch(expected);
}

void TensorView::require_contiguous(int first_axis) const {
  if (elements() == 0) return;  // whatever its strides say
  std::int64_t compact = 1;
  for (int axis = tensor_.ndim - 1; axis >= first_axis; --axis) {
    if (tensor_.shape[axis] > 1 && stride(axis) != compact)
      invalid(name_, "expected a contiguous tensor, got stride " + number(stride(axis)) + " along axis " +
                         number(axis) + " of " + text());
    compact *= tensor_.shape[axis];
  }
}

void TensorView::require_lines(int line, int adjacent) const {
  if (elements() == 0) return;
  if (dimension(adjacent) > 1 && stride(adjacent) != 1)
    invalid(name_, "expected adjacent elements within a row, got stride " + number(stride(adjacent)) + " of " + text());
  if (dimension(line) > 1 && stride(line) < dimension(adjacent))
    invalid(name_, "expected rows at least " + number(dimension(adjacent)) + " elements apart, got stride " +
                       number(stride(line)) + " of " + text());
}

void TensorView::require_parts() const {
  if (elements() == 0 || dimension(0) < 2) return;
  const std::int64_t extent = (dimension(1) - 1) * stride(1) + dimension(2);
  if (stride(0) < extent)
    invalid(name_, "expected experts at least " + number(extent) + " elements apart, got stride " + number(stride(0)) +
                       " of " + text());
}

void TensorView::require_writable() const {
  if (tensor_.flags & MOE_ACT_TENSOR_READ_ONLY) invalid(name_, "expected a writable tensor, got a read-only one");
}

void TensorView::require_device_of(const TensorView& x) const {
  if (device_type() != x.device_type() || device_id() != x.device_id())
    invalid(name_, "expected a tensor on " + device_text(x) + " (the device of x), got one on " + device_text(*this));
}

std::int32_t alignment_bytes(const void* data, std::int64_t row_stride, int element_bytes) {
  // Unsigned: a stride that leaves the address space is refused later, by name.
  const auto row_bytes = static_cast<std::uintptr_t>(row_stride) * static_cast<std::uintptr_t>(element_bytes);
  const std::uintptr_t bits = reinterpret_cast<std::uintptr_t>(data) | row_bytes | 16u;
  return static_cast<std::int32_t>(bits & -bits);
}

void require_alignment(const char* argument, std::int32_t alignment, Format format, std::int64_t stride) {
  const int least = bytes_per_element(format);
  if (alignment < least || !std::has_single_bit(static_cast<std::uint32_t>(alignment)))
    invalid(argument, "expected an alignment that is a power of two of at least " + number(least) + " bytes, got " +
                          number(alignment));
  if (stride % (alignment / least) != 0)
    invalid(argument, "the promised alignment of " + number(alignment) + " bytes does not hold " + number(stride) +
                          " elements apart");
}

}  // namespace moe_act

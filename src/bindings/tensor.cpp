#include "bindings/tensor.hpp"

#include <nanobind/stl/string.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "bindings/errors.hpp"
#include "bindings/fact_of_type.hpp"
#include "bindings/type_facts.hpp"

namespace moe_act::python {
namespace {

// Formats that numpy knows through ml_dtypes only: neither its buffer protocol nor its DLPack exports them.
struct ExtensionDtype {
  const char* name;
  std::uint8_t code;
  std::uint8_t bits;
};

constexpr ExtensionDtype extension_dtypes[] = {
    {"bfloat16", 4, 16},       {"float8_e4m3fn", 10, 8}, {"float8_e5m2", 12, 8},
    {"float8_e8m0fnu", 14, 8}, {"float4_e2m1fn", 17, 4},
};

dlpack::DataType dtype_of_format(const char* format, std::size_t itemsize) {
  const auto bits = static_cast<std::uint8_t>(itemsize * 8);
  if (format == nullptr) return {1, bits, 1};
  while (std::strchr("@=<|", *format) != nullptr && *format != '\0') ++format;
  switch (*format) {
    case 'b':
    case 'h':
    case 'i':
    case 'l':
    case 'q': return {0, bits, 1};
    case 'B':
    case 'H':
    case 'I':
    case 'L':
    case 'Q': return {1, bits, 1};
    case 'e':
    case 'f':
    case 'd': return {2, bits, 1};
    case '?': return {6, bits, 1};
    case 'Z': return {5, bits, 1};
    default: return {3, bits, 1};  // an opaque handle: no argument takes one
  }
}

// jax before 0.12 exports its arrays as if they could be written; other programs share their memory.
bool is_jax_array(nb::handle object) {
  static FactOfType<bool> known;
  return known.get(object, [](nb::handle type) {
    return nb::cast<std::string>(nb::str(type.attr("__module__"))).starts_with("jaxlib.");
  });
}

// Integers have none: they need not be asked.
bool can_have_gradient(dlpack::DataType type) {
  constexpr std::uint8_t code_int = 0, code_uint = 1;
  return type.code != code_int && type.code != code_uint;
}

[[noreturn]] void refuse_rank(const char* name, std::int32_t rank) {
  raise(PyExc_ValueError, name, "expected at most 8 dimensions, got " + std::to_string(rank));
}

void require_rank(const char* name, std::int32_t rank) {
  if (rank > TensorFacts::max_rank) refuse_rank(name, rank);
}

// What a DLPack capsule holds. It keeps its name: it is only looked at, and its own destructor frees the tensor.
struct Unpacked {
  const dlpack::Tensor& tensor;
  std::uint64_t flags;
};

Unpacked unpacked(const char* name, nb::handle capsule) {
  if (PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned")) {
    const auto* managed =
        static_cast<const dlpack::ManagedTensorVersioned*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor_versioned"));
    if (managed->version.major != 1)
      raise(PyExc_ValueError, name, "expected DLPack 1.x, got major version " + std::to_string(managed->version.major));
    return {managed->tensor, managed->flags};
  }
  if (PyCapsule_IsValid(capsule.ptr(), "dltensor"))
    return {static_cast<const dlpack::ManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"))->tensor, 0};
  const char* called = PyCapsule_GetName(capsule.ptr());
  raise(PyExc_TypeError, name,
        std::string("expected a DLPack capsule, 'dltensor' or 'dltensor_versioned', got '") +
            (called != nullptr ? called : "") + "'");
}

}  // namespace

bool is_of_numpy(nb::handle object) {
  static FactOfType<bool> known;
  return known.get(object, [](nb::handle type) {
    return nb::hasattr(type, "__array_interface__") && nb::hasattr(type, "dtype") &&
           nb::cast<std::string>(nb::str(type.attr("__module__"))) == "numpy";
  });
}

const dlpack::ExchangeApi* exchange_api(nb::handle object) {
  return TypeFacts::of_object(object).api;
}

bool is_exported_as_it_is(nb::handle object) {
  return TypeFacts::of_object(object).export_function() != nullptr;
}

dlpack::Device device_of(const char* name, nb::handle object) {
  if (PyCapsule_CheckExact(object.ptr())) return unpacked(name, object).tensor.device;
  nb::object method = nb::getattr(object, "__dlpack_device__", nb::none());
  if (method.is_none()) return {MOE_ACT_DEVICE_CPU, 0};
  nb::object answer;
  try {
    answer = method();
  } catch (nb::python_error& error) {
    raise_failed(error, name, "__dlpack_device__");
  }
  dlpack::Device device{};
  const bool is_pair = PyTuple_Check(answer.ptr()) != 0 && PyTuple_Size(answer.ptr()) == 2;
  // The first is often an enum.
  if (!is_pair || !PyLong_Check(PyTuple_GetItem(answer.ptr(), 0)) ||
      !nb::try_cast(nb::int_(nb::handle(PyTuple_GetItem(answer.ptr(), 0))), device.type) ||
      !nb::try_cast(nb::handle(PyTuple_GetItem(answer.ptr(), 1)), device.id))
    raise(PyExc_TypeError, name,
          "its __dlpack_device__ returned " + nb::cast<std::string>(nb::repr(answer)) +
              ", expected (device type, device id)");
  return device;
}

Tensors::Owner::~Owner() {
  if (buffer.obj != nullptr) PyBuffer_Release(&buffer);
}

void Tensors::import(Place place, const char* name, nb::handle object, void* stream) {
  const TypeFacts type = TypeFacts::of_object(object);
  const auto export_tensor = type.export_function();
  if (export_tensor == nullptr) return import_otherwise(place, name, object, stream);
  dlpack::Tensor* tensor = facts_.next();
  *tensor = {};
  if (export_tensor(object.ptr(), tensor) != 0) {
    nb::python_error error;
    raise_failed(error, name, "DLPack export");
  }
  require_rank(name, tensor->ndim);
  const bool may_have_gradient = can_have_gradient(tensor->dtype);
  const std::size_t before = facts_.end();
  set_pointer(buffers_, place, facts_.take_next(place, 0));
  // Last: what answers may be Python's, and lengths are only lent until it runs.
  if (may_have_gradient && type.requires_grad(object)) facts_.add_flags(before, MOE_ACT_TENSOR_REQUIRES_GRAD);
}

// What has no exchange API.
void Tensors::import_otherwise(Place place, const char* name, nb::handle object, void* stream) {
  if (is_of_numpy(object) && import_buffer(place, name, object)) return;
  if (PyCapsule_CheckExact(object.ptr()))
    take_capsule(place, name, nb::borrow(object), 0);
  else
    import_dlpack(place, name, object, stream);
}

bool Tensors::import_buffer(Place place, const char* name, nb::handle object) {
  const ExtensionDtype* extension = nullptr;
  Owner& owner = owners_.emplace_front(nb::borrow(object));
  Py_buffer& buffer = owner.buffer;
  if (PyObject_GetBuffer(object.ptr(), &buffer, PyBUF_RECORDS_RO) != 0) {
    PyErr_Clear();
    const std::string dtype = nb::cast<std::string>(nb::str(object.attr("dtype").attr("name")));
    for (const ExtensionDtype& known : extension_dtypes)
      if (dtype == known.name) extension = &known;
    if (extension == nullptr) return false;  // a dtype without a buffer format: DLPack's error is the better one
    owner.object = object.attr("view")(extension->bits == 16 ? "uint16" : "uint8");
    if (PyObject_GetBuffer(owner.object.ptr(), &buffer, PyBUF_RECORDS_RO) != 0) throw nb::python_error();
  }
  // NumPy exports a date as bytes without a shape, whatever was asked for.
  if (buffer.ndim > 0 && (buffer.shape == nullptr || buffer.strides == nullptr)) return false;
  require_rank(name, buffer.ndim);
  if (buffer.itemsize == 0) raise(PyExc_TypeError, name, "expected numbers, got a dtype of no size");
  std::int64_t shape[TensorFacts::max_rank], strides[TensorFacts::max_rank];
  for (int axis = 0; axis < buffer.ndim; ++axis) {
    shape[axis] = buffer.shape[axis];
    strides[axis] = buffer.strides[axis] / buffer.itemsize;
    if (buffer.strides[axis] % buffer.itemsize != 0)
      raise(PyExc_ValueError, name,
            "expected strides of whole elements, got one of " + std::to_string(buffer.strides[axis]) + " bytes");
  }
  const dlpack::DataType type = extension != nullptr
                                    ? dlpack::DataType{extension->code, extension->bits, 1}
                                    : dtype_of_format(buffer.format, static_cast<std::size_t>(buffer.itemsize));
  take(place, name, {buffer.buf, {MOE_ACT_DEVICE_CPU, 0}, buffer.ndim, type, shape, strides, 0},
       buffer.readonly != 0 ? MOE_ACT_TENSOR_READ_ONLY : 0u);
  return true;
}

void Tensors::import_dlpack(Place place, const char* name, nb::handle object, void* stream) {
  nb::object method = nb::getattr(object, "__dlpack__", nb::none());
  if (method.is_none())
    raise(PyExc_TypeError, name,
          "expected a tensor (numpy, a DLPack capsule, or anything with __dlpack__), got " + type_name_of(object));
  nb::dict arguments;
  arguments["max_version"] = nb::make_tuple(1, 1);
  if (is_cuda(device_of(name, object))) {
    // In this protocol 1 is the legacy default stream, which a null handle means to the CUDA runtime.
    const auto handle = reinterpret_cast<std::intptr_t>(stream);
    arguments["stream"] = nb::int_(handle == 0 ? 1 : handle);
  }
  nb::object capsule;
  try {
    try {
      capsule = method(**arguments);
    } catch (nb::python_error& error) {
      if (!error.matches(PyExc_TypeError)) throw;
      PyObject_DelItemString(arguments.ptr(), "max_version");  // a producer of before DLPack 1.0
      capsule = method(**arguments);
    }
  } catch (nb::python_error& error) {
    raise_failed(error, name, "__dlpack__");
  }
  if (!PyCapsule_CheckExact(capsule.ptr()))
    raise(PyExc_TypeError, name, "its __dlpack__ returned " + type_name_of(capsule) + ", expected a DLPack capsule");
  take_capsule(place, name, std::move(capsule), is_jax_array(object) ? MOE_ACT_TENSOR_READ_ONLY : 0u);
}

void Tensors::take_capsule(Place place, const char* name, nb::object capsule, std::uint32_t flags) {
  const Unpacked held = unpacked(name, owners_.emplace_front(std::move(capsule)).object);
  take(place, name, held.tensor, flags | ((held.flags & dlpack::flag_read_only) != 0 ? MOE_ACT_TENSOR_READ_ONLY : 0u));
}

void Tensors::take(Place place, const char* name, const dlpack::Tensor& tensor, std::uint32_t flags) {
  require_rank(name, tensor.ndim);
  std::memcpy(facts_.next(), &tensor, sizeof(tensor));
  set_pointer(buffers_, place, facts_.take_next(place, flags));
}

moe_act_problem Tensors::describe(const moe_act_options& options) {
  struct Described {
    moe_act_tensor tensor;
    std::int64_t shape[TensorFacts::max_rank], strides[TensorFacts::max_rank];
  };
  std::array<Described, places> all;
  auto given = sized<moe_act_tensors>();
  facts_.for_each([&](const TensorFacts::Facts& facts, auto axes) {
    Described& described = all[static_cast<std::size_t>(facts.own.place)];
    std::ranges::transform(axes, described.shape, &TensorFacts::Axis::length);
    std::ranges::transform(axes, described.strides, &TensorFacts::Axis::stride);
    described.tensor = {data(facts.own.place),
                        facts.device.type,
                        facts.device.id,
                        facts.dtype.code,
                        facts.dtype.bits,
                        facts.dtype.lanes,
                        facts.ndim,
                        facts.own.has_shape != 0 ? described.shape : nullptr,
                        facts.own.has_strides != 0 ? described.strides : nullptr,
                        facts.own.flags};
    set_pointer(given, facts.own.place, &described.tensor);
  });
  auto problem = sized<moe_act_problem>();
  auto buffers = sized<moe_act_buffers>();
  check(moe_act_describe(&given, &options, &problem, &buffers));
  return problem;
}

}  // namespace moe_act::python

"""Tensors of the device under test, from NumPy arrays and back."""

from __future__ import annotations

import ctypes
from typing import Any

import devices
import moe_act
import numpy as np
import pytest

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def put(value: Any, device: str) -> Any:
    """A NumPy array on the device; anything else as it is."""
    return devices.to_cuda(value) if device == "cuda" and isinstance(value, np.ndarray) else value


def on_device(value: Any, device: str) -> Any:
    """The same for the tensors of a row convention, too."""
    if isinstance(value, moe_act._frameworks.RowConvention):
        return type(value)(**{name: put(field, device) for name, field in vars(value).items()})
    return put(value, device)


def get(tensor: Any) -> Any:
    """A tensor of any framework as a NumPy array, e4m3 and bf16 as their codes; None stays None."""
    if tensor is None:
        return None
    if isinstance(tensor, np.ndarray):
        codes = {"float8_e4m3fn": np.uint8, "bfloat16": np.uint16}.get(tensor.dtype.name)
        return tensor if codes is None else tensor.view(codes)
    import torch

    codes = {torch.float8_e4m3fn: torch.uint8, torch.bfloat16: torch.int16}.get(tensor.dtype)
    return devices.to_numpy(tensor if codes is None else tensor.view(codes))


def run(device: str, **arguments: Any) -> moe_act.Result:
    """gated_act_quant for NumPy arrays on a device; the results are NumPy arrays again."""
    result = moe_act.gated_act_quant(**{name: put(value, device) for name, value in arguments.items()})
    return moe_act.Result(get(result.out), get(result.out_scale))


def same_bytes(first: Any, second: Any) -> bool:
    """Equal to the last bit, NaN included; two Nones are."""
    if first is None or second is None:
        return first is second
    return first.shape == second.shape and first.tobytes() == second.tobytes()


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _ManagedTensor(ctypes.Structure):
    _fields_ = (("tensor", _DLTensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


class _ManagedTensorVersioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _DLTensor),
    )


new_capsule = ctypes.pythonapi.PyCapsule_New
new_capsule.restype = ctypes.py_object
new_capsule.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)


class Exporter:
    """A tensor that is nothing but DLPack: it says what it is told to, true or not.

    version None is the capsule of before DLPack 1.0, whose producers know no `max_version`.
    """

    def __init__(
        self,
        array: np.ndarray,
        *,
        dtype: tuple[int, int, int] = (2, 32, 1),  # DLPack's code, bits, lanes
        device: tuple[int, int] = (1, 0),
        version: tuple[int, int] | None = (1, 1),
        flags: int = 0,
        byte_offset: int = 0,
        **told: Any,  # data, ndim, shape, strides: instead of the array's
    ) -> None:
        self.array, self.device, self.version = array, device, version
        strides = tuple(stride // array.itemsize for stride in array.strides)
        address = told.get("data", array.ctypes.data)
        shape, strides = told.get("shape", array.shape), told.get("strides", strides)
        tensor = _DLTensor(address - byte_offset if address else None, *device, told.get("ndim", array.ndim), *dtype)
        tensor.byte_offset = byte_offset
        if shape is not None:
            tensor.shape = (ctypes.c_int64 * len(shape))(*shape)
        if strides is not None:
            tensor.strides = (ctypes.c_int64 * len(strides))(*strides)
        if version is None:
            self.managed: Any = _ManagedTensor(tensor)
        else:
            self.managed = _ManagedTensorVersioned(*version, None, None, flags, tensor)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, **arguments: Any) -> Any:
        if self.version is None and "max_version" in arguments:
            raise TypeError("unexpected keyword argument 'max_version'")
        name = b"dltensor" if self.version is None else b"dltensor_versioned"
        return new_capsule(ctypes.addressof(self.managed), name, None)

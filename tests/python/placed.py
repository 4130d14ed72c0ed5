"""Tensors inside memory that is watched: every byte of their backing can be looked at after a launch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

NAN_BYTE = 0xFF  # NaN in every format there is


@dataclass(eq=False)
class Placed:
    """A tensor of any strides in backing memory that is larger than it."""

    dtype: Any
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # elements
    first: int = 16  # bytes before it
    backing: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        reach = sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        elements = reach + 1 if math.prod(self.shape) else 0
        memory = np.full(self.first + elements * np.dtype(self.dtype).itemsize + 80, NAN_BYTE, np.uint8)
        start = -memory.__array_interface__["data"][0] % 64
        self.backing = memory[start : start + len(memory) - 64]

    @property
    def array(self) -> np.ndarray:
        size = np.dtype(self.dtype).itemsize
        flat = self.backing[self.first :][: (len(self.backing) - self.first) // size * size].view(self.dtype)
        strides = tuple(stride * size for stride in self.strides)
        return np.lib.stride_tricks.as_strided(flat, self.shape, strides)

    def on(self, device: str, memory: Any) -> Any:
        """The tensor in `memory`, a copy of the backing on the device."""
        if device == "cpu":
            twin = Placed(self.dtype, self.shape, self.strides, self.first)
            twin.backing = memory
            return twin.array
        import torch

        dtype = torch.from_numpy(np.zeros(1, np.int16 if self.dtype == np.uint16 else self.dtype)).dtype
        size = np.dtype(self.dtype).itemsize
        flat = memory[self.first :][: (len(memory) - self.first) // size * size].view(dtype)
        return flat.as_strided(self.shape, self.strides)

    def copy_to(self, device: str) -> Any:
        """A copy of the backing on the device, as aligned as the original."""
        if device == "cpu":
            memory = np.empty(len(self.backing) + 64, np.uint8)
            memory = memory[-memory.__array_interface__["data"][0] % 64 :][: len(self.backing)]
            memory[:] = self.backing
            return memory
        import torch

        return torch.from_numpy(self.backing.copy()).cuda()


def back(memory: Any) -> np.ndarray:
    array: np.ndarray = memory if isinstance(memory, np.ndarray) else memory.cpu().numpy()
    return array


def compact(shape: tuple[int, ...], gap: int = 0) -> tuple[int, ...]:
    """Strides in elements, with `gap` elements between the parts of the first axis."""
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1] + (gap if axis == 0 else 0)
    return tuple(strides)

"""The same memory with torch's own dtypes, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

FORMAT_DTYPES = {"e4m3": "float8_e4m3fn", "bf16": "bfloat16", "fp16": "float16"}


def as_torch(tensor: Any, format: str | None = None) -> Any:
    """A tensor of the format, or of the dtype it has."""
    import torch

    if isinstance(tensor, np.ndarray):
        tensor = torch.from_numpy(tensor)
    return tensor if tensor is None or format is None else tensor.view(getattr(torch, FORMAT_DTYPES[format]))


def codes_of(tensor: Any) -> Any:
    """Integers of the same bits: in torch on a GPU, in NumPy on the CPU."""
    import torch

    integers = tensor.view({1: torch.int8, 2: torch.int16, 4: torch.int32}[tensor.element_size()])
    return integers if integers.is_cuda else integers.numpy()

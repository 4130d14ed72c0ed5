"""Sets of tensors as torch knows them: with dtypes of their own for every format."""

from __future__ import annotations

from typing import Any

import numpy as np

from .workloads import TensorSet, Workload

DTYPES = {"e4m3": "float8_e4m3fn", "bf16": "bfloat16", "fp16": "float16"}


def torch_tensors(tensors: TensorSet, workload: Workload) -> TensorSet:
    """The same memory."""
    import torch

    def view(tensor: Any, format: str | None = None) -> Any:
        if isinstance(tensor, np.ndarray):
            tensor = torch.from_numpy(tensor)
        return tensor if tensor is None or format is None else tensor.view(getattr(torch, DTYPES[format]))

    return TensorSet(
        view(tensors.x, workload.input),
        view(tensors.x_scale),
        view(tensors.out, workload.output),
        view(tensors.out_scale),
    )

"""Runs a case on the CPU or on a GPU and brings the result back as NumPy arrays."""

from __future__ import annotations

from typing import Any

import cases
import moe_act
import numpy as np
from moe_act import oracle

TENSORS = ("x", "x_scale", "static_scale", "expanded_idx_to_permuted_idx", "total_num_padded_tokens")


def to_cpu(array: np.ndarray) -> Any:
    """The same values as a torch tensor."""
    import torch

    # torch does little with uint16. A copy, C order: np.ascontiguousarray would give a scalar a dimension.
    return torch.from_numpy(np.array(array.view(np.int16) if array.dtype == np.uint16 else array, order="C"))


def to_cuda(array: np.ndarray | None) -> Any:
    """A CUDA tensor with the values, strides and misalignment of a NumPy array."""
    import torch

    if array is None:
        return None
    misalignment = array.__array_interface__["data"][0] % 16
    if array.ndim >= 2 and array.size and (not array.flags.c_contiguous or misalignment):
        strides, offset = [stride // array.itemsize for stride in array.strides], misalignment // array.itemsize
        reach = sum(size * stride for size, stride in zip(array.shape, strides, strict=True))
        backing = torch.zeros(offset + reach + 64, dtype=to_cpu(array[:0]).dtype)
        view = backing.cuda().as_strided(array.shape, strides, offset)
        view.copy_(to_cpu(array))
        return view
    return to_cpu(array).cuda()


def to_numpy(tensor: Any) -> np.ndarray | None:
    if tensor is None:
        return None
    array: np.ndarray = tensor.cpu().numpy()
    return array.view(np.uint16) if array.dtype == np.int16 else array


def split(problem: cases.Problem) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The tensors among the arguments, and the options."""
    tensors = {name: value for name, value in problem.arguments.items() if name in TENSORS}
    return tensors, {name: value for name, value in problem.arguments.items() if name not in TENSORS}


def run(problem: cases.Problem, device: str, **extra: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """out and out_scale, written over their poison."""
    tensors, options = split(problem)
    options |= extra
    if device == "cpu":
        out, out_scale = problem.out.copy(), None if problem.out_scale is None else problem.out_scale.copy()
        if not problem.out.flags.c_contiguous or problem.out.__array_interface__["data"][0] % 16:
            out = problem.out  # a copy would be contiguous and aligned
        moe_act.gated_act_quant(**tensors, **options, out=out, out_scale=out_scale)
        return out, out_scale
    import torch

    on_gpu = {name: to_cuda(tensor) for name, tensor in tensors.items()}
    out, out_scale = to_cuda(problem.out), to_cuda(problem.out_scale)
    moe_act.gated_act_quant(**on_gpu, **options, out=out, out_scale=out_scale)
    torch.cuda.synchronize()
    return to_numpy(out), to_numpy(out_scale)


def conforms(problem: cases.Problem, out: np.ndarray, out_scale: np.ndarray | None) -> oracle.Report:
    """The oracle's verdict on the live rows, and that nothing else was written."""
    report = oracle.check(**problem.arguments, out=out, out_scale=out_scale, only=problem.live)
    assert report.ok, report.message
    dead = np.setdiff1d(np.arange(len(out)), problem.live)
    assert (np.ascontiguousarray(out[dead]).view(np.uint8) == cases.POISON).all(), "a row that is not live was written"
    if out_scale is not None:
        untouched = out_scale.copy()
        if out_scale.ndim == 1:
            total = int(problem.arguments["total_num_padded_tokens"][0])
            blocks = -(-out.shape[1] // 128)
            written = np.zeros(out_scale.shape, bool)
            written[(problem.live[None, :] + total * np.arange(blocks)[:, None]).ravel()] = True
        else:
            written = np.zeros(out_scale.shape, bool)
            row_major = problem.arguments.get("out_scale_layout") == "row_major"
            (written if row_major else written.T)[problem.live] = True
        assert (untouched[~written].view(np.uint8) == cases.POISON).all(), "a scale that is not live was written"
    return report

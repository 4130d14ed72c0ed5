"""NumPy, an operation at a time, on one thread whatever the workload says; formats by their bits."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from moe_act.oracle import decode
from moe_act.workloads import BLOCK

from ..contender import Contender, Variant
from ..workloads import Array, TensorSet, Workload

E4M3_VALUES = decode(np.arange(256, dtype=np.uint8), "e4m3").astype(np.float32)
E4M3_SMALLEST_NORMAL = np.float32(2**-6)


def encode_e4m3(values: Array) -> Array:
    """Codes of fp32 values of at most 448, to nearest even."""
    bits = values.view(np.uint32)
    magnitude = bits & np.uint32(0x7FFFFFFF)
    normal = ((magnitude + np.uint32(0x7FFFF) + ((magnitude >> 20) & np.uint32(1))) >> 20) - np.uint32(120 << 3)
    # Adding 2^14, whose unit in the last place is the smallest e4m3 number, rounds to a multiple of it.
    small = (magnitude.view(np.float32) + np.float32(2**14)).view(np.uint32) & np.uint32(0xF)
    code = np.where(magnitude.view(np.float32) < E4M3_SMALLEST_NORMAL, small, normal)
    return (code | (bits >> 24) & np.uint32(0x80)).astype(np.uint8)


def gated_act_quant(tensors: TensorSet) -> None:
    rows, columns = tensors.out.shape
    if tensors.x_scale is None:
        values = (tensors.x.astype(np.uint32) << 16).view(np.float32)
    else:
        values = E4M3_VALUES[tensors.x].reshape(rows, -1, BLOCK) * tensors.x_scale.T[:, :, None]
    up, gate = np.split(values.reshape(rows, 2 * columns), 2, axis=1)
    product = (gate / (1 + np.exp(-gate)) * up).reshape(rows, -1, BLOCK)
    scale = np.maximum(np.abs(product).max(axis=2) / np.float32(448), np.float32(2**-126))
    tensors.out[...] = encode_e4m3(product / scale[:, :, None]).reshape(rows, columns)
    tensors.out_scale[...] = scale.T


class NumpyEager(Contender):
    name = "numpy_eager"
    devices = ("cpu",)

    def variants(self, workload: Workload, sets: list[TensorSet]) -> Iterator[Variant]:
        yield Variant("1 thread", [partial(gated_act_quant, tensors) for tensors in sets])

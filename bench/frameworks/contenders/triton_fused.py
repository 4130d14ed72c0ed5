"""A Triton kernel for the whole operation, in several geometries."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from moe_act.workloads import BLOCK

from ..contender import Call, Contender, Variant
from ..torch_tensors import as_torch
from ..workloads import TensorSet, Workload

# Rows, blocks of columns and warps of a program: 4 to 32 columns per lane. Few programs' worth of rows need small
# ones to occupy the GPU; 8 rows fill a sector of column-major scales.
GEOMETRIES = ((1, 1, 1), (1, 2, 1), (1, 4, 1), (1, 4, 4), (1, 16, 4), (1, 16, 8), (2, 16, 4), (8, 2, 4), (8, 4, 8))


class TritonFused(Contender):
    name = "triton_fused"
    devices = ("cuda",)
    needs = ("torch", "triton")

    def variants(self, workload: Workload, sets: list[TensorSet]) -> Iterator[Variant]:
        for rows, blocks, warps in GEOMETRIES:
            geometry = f"{rows} rows x {blocks} blocks, {warps} warps"
            yield Variant(geometry, [_call(workload, each, rows, blocks, warps) for each in sets])


def _call(workload: Workload, tensors: TensorSet, rows: int, blocks: int, warps: int) -> Call:
    from .. import kernels

    programs = -(-workload.rows // rows) * (workload.columns // BLOCK // blocks)
    quantize = tensors.out_scale is not None
    return partial(
        kernels.gated_act_quant[(programs,)],
        as_torch(tensors.x, workload.input),
        as_torch(tensors.out, workload.output),
        tensors.out_scale,
        workload.rows,
        COLUMNS=workload.columns,
        ROWS=rows,
        BLOCKS=blocks,
        QUANTIZE=quantize,
        num_warps=warps,
    )

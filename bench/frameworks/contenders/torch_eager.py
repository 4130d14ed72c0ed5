"""torch, an operation at a time, as one would write it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from moe_act.workloads import BLOCK

from ..contender import Contender, Variant
from ..torch_tensors import torch_tensors
from ..workloads import TensorSet, Workload


def gated_act_quant(tensors: TensorSet) -> None:
    """In fp32, as the contract has it: torch's own silu of bf16 would round in between."""
    import torch

    rows, columns = tensors.out.shape
    values = tensors.x.float()
    if tensors.x_scale is not None:
        values = (values.view(rows, -1, BLOCK) * tensors.x_scale.t().unsqueeze(2)).view(rows, -1)
    up, gate = values.split(columns, dim=1)
    product = torch.nn.functional.silu(gate) * up
    if tensors.out_scale is None:
        tensors.out.copy_(product)
        return
    product = product.view(rows, -1, BLOCK)
    scale = (product.abs().amax(dim=2) / 448).clamp(min=2**-126)
    # No clamp of the quotient: it exceeds 448 by a rounding error at most, which the conversion takes back.
    tensors.out.view(rows, -1, BLOCK).copy_(product / scale.unsqueeze(2))
    tensors.out_scale.copy_(scale.t())


class TorchEager(Contender):
    name = "torch_eager"
    needs = ("torch",)

    def variants(self, workload: Workload, sets: list[TensorSet]) -> Iterator[Variant]:
        calls = [partial(gated_act_quant, torch_tensors(tensors, workload)) for tensors in sets]
        yield Variant("", calls)

"""torch, an operation at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from moe_act.workloads import BLOCK

from ..contender import Contender, Variant
from ..torch_tensors import FORMAT_DTYPES, as_torch, codes_of
from ..workloads import TensorSet, Workload

Function = Callable[[Any, Any, Any], tuple[Any, Any]]


def gated_act_quant(x: Any, x_scale: Any, out_dtype: Any) -> tuple[Any, Any]:
    """out [rows, H] and, for e4m3, scales [rows, H / 128].

    Written so that torch.compile makes one kernel of it: in blocks from the start, results returned and scales row
    major; it would write results into given tensors, or column-major scales, in kernels of their own. In fp32, as the
    contract has it: silu of bf16 would round in between.
    """
    import torch

    rows = x.shape[0]
    values = x.view(rows, -1, BLOCK).float()
    if x_scale is not None:
        values = values * x_scale.t().unsqueeze(2)
    up, gate = values.chunk(2, dim=1)
    product = torch.nn.functional.silu(gate) * up
    if out_dtype != torch.float8_e4m3fn:
        return product.to(out_dtype).view(rows, -1), None
    scale = (product.abs().amax(dim=2) / 448).clamp(min=2**-126)
    # No clamp of the quotient: it exceeds 448 by a rounding error at most, which the conversion takes back.
    return (product / scale.unsqueeze(2)).to(out_dtype).view(rows, -1), scale


class FunctionCall:
    """Keeps the result until the next one, so that results rotate through memory as the sets do."""

    def __init__(self, function: Function, tensors: TensorSet, workload: Workload) -> None:
        import torch

        self.function = function
        self.arguments = as_torch(tensors.x, workload.input), as_torch(tensors.x_scale)
        self.out_dtype = getattr(torch, FORMAT_DTYPES[workload.output])

    def __call__(self) -> tuple[Any, Any]:
        self.result = self.function(*self.arguments, self.out_dtype)
        return self.result


class TorchEager(Contender):
    name = "torch_eager"
    needs = ("torch",)

    def variants(self, workload: Workload, sets: list[TensorSet]) -> Iterator[Variant]:
        yield Variant("", [FunctionCall(gated_act_quant, tensors, workload) for tensors in sets])

    def result(self, returned: Any, tensors: TensorSet) -> tuple[Any, Any]:
        out, scale = returned
        return codes_of(out), None if scale is None else codes_of(scale.t().contiguous())

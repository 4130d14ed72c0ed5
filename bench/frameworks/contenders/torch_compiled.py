"""torch.compile of the eager code, and of another way to write it: what comes out depends on that, on its mode and on
chance, as tuning does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from moe_act.workloads import BLOCK

from ..contender import Variant
from ..workloads import TensorSet, Workload
from .torch_eager import Function, FunctionCall, TorchEager, gated_act_quant


def by_reciprocal(x: Any, x_scale: Any, out_dtype: Any) -> tuple[Any, Any]:
    """The same, halves taken as columns and the quotient formed with a reciprocal."""
    import torch

    rows, columns = x.shape[0], x.shape[1] // 2
    up, gate = x[:, :columns].float(), x[:, columns:].float()
    if x_scale is not None:
        scales = x_scale.t().repeat_interleave(BLOCK, dim=1)
        up, gate = up * scales[:, :columns], gate * scales[:, columns:]
    product = gate * torch.sigmoid(gate) * up
    if out_dtype != torch.float8_e4m3fn:
        return product.to(out_dtype), None
    product = product.view(rows, -1, BLOCK)
    scale = (product.abs().amax(dim=2) * (1 / 448)).clamp(min=2**-126)
    return (product * (1 / scale).unsqueeze(2)).clamp(-448, 448).to(out_dtype).view(rows, -1), scale


class GivenCall(FunctionCall):
    """Results are written into given tensors, scales row major."""

    def __init__(self, function: Function, tensors: TensorSet, workload: Workload) -> None:
        import torch

        super().__init__(function, tensors, workload)
        x = self.arguments[0]
        self.given = torch.empty(x.shape[0], workload.columns, dtype=self.out_dtype, device=x.device), None
        if workload.output == "e4m3":
            scale = torch.empty(x.shape[0], workload.columns // BLOCK, dtype=torch.float32, device=x.device)
            self.given = self.given[0], scale

    def __call__(self) -> tuple[Any, Any]:
        self.function(*self.arguments, self.out_dtype, *self.given)
        return self.given


def into(function: Function) -> Callable[..., None]:
    def write(x: Any, x_scale: Any, out_dtype: Any, out: Any, out_scale: Any) -> None:
        codes, scale = function(x, x_scale, out_dtype)
        out.copy_(codes)
        if scale is not None:
            out_scale.copy_(scale)

    return write


@dataclass(frozen=True)
class Way:
    name: str
    function: Callable[..., Any]
    options: dict[str, Any]
    call: type[FunctionCall] = FunctionCall


# Without CUDA graphs of torch's own, which copy inputs to fixed places and cannot be captured: what it generates goes
# into the same graphs as everybody's. Autotuning has taken a kernel four times as slow as its default (H100, bf16, 8192
# rows), so both are tried.
AUTOTUNED = {"mode": "max-autotune-no-cudagraphs"}
COORDINATE_DESCENT = {"options": {"coordinate_descent_tuning": True}}
ON_CPU = (
    Way("max-autotune", gated_act_quant, AUTOTUNED),
    Way("default", gated_act_quant, {}),
    Way("default, by reciprocal", by_reciprocal, {}),
    Way("default, results given", into(gated_act_quant), {}, GivenCall),
)
ON_GPU = (
    Way("max-autotune", gated_act_quant, AUTOTUNED),
    Way("default", gated_act_quant, {}),
    Way("default, by reciprocal", by_reciprocal, {}),
    Way("coordinate descent, by reciprocal", by_reciprocal, COORDINATE_DESCENT),
)
# What else may be the fastest, or become it when it is tuned again; for the sizes that matter most, as each costs
# seconds to compile.
ON_GPU_LARGE = (
    *ON_GPU,
    Way("max-autotune, by reciprocal", by_reciprocal, AUTOTUNED),
    Way("default, results given", into(gated_act_quant), {}, GivenCall),
    Way("coordinate descent", gated_act_quant, COORDINATE_DESCENT),
    Way("coordinate descent, by reciprocal", by_reciprocal, COORDINATE_DESCENT),
)
LARGE_ROWS = 2048


def ways(workload: Workload, on_gpu: bool) -> tuple[Way, ...]:
    if not on_gpu:
        return ON_CPU
    large = workload.rows >= LARGE_ROWS and (workload.input, workload.output) == ("bf16", "e4m3")
    return ON_GPU_LARGE if large else ON_GPU


class TorchCompiled(TorchEager):
    name = "torch_compiled"

    def variants(self, workload: Workload, sets: list[TensorSet]) -> Iterator[Variant]:
        import torch

        # Tuned anew each time: what a cache holds is what an earlier compilation found.
        torch.compiler.config.force_disable_caches = True
        torch._dynamo.reset()  # every size is compiled for itself, and none counts towards a limit of recompilations
        for way in ways(workload, getattr(sets[0].x, "is_cuda", False)):
            compiled = torch.compile(way.function, dynamic=False, fullgraph=True, **way.options)
            yield Variant(way.name, [way.call(compiled, tensors, workload) for tensors in sets])

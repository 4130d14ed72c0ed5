"""torch.compile of the eager code, and of another way to write it: what comes out depends on that and on its mode."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moe_act.workloads import BLOCK

from ..contender import Variant
from ..workloads import TensorSet, Workload
from .torch_eager import FunctionCall, TorchEager, gated_act_quant


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


# Without CUDA graphs of torch's own, which copy inputs to fixed places and cannot be captured: what it generates goes
# into the same graphs as everybody's. Autotuning has taken a kernel four times as slow as its default (H100, bf16, 8192
# rows), so both are tried.
AUTOTUNED = {"mode": "max-autotune-no-cudagraphs"}
COORDINATE_DESCENT = {"options": {"coordinate_descent_tuning": True}}
WAYS: dict[str, list[tuple[str, Any, dict[str, Any]]]] = {
    "cpu": [("max-autotune", gated_act_quant, AUTOTUNED)],
    "cuda": [
        ("max-autotune", gated_act_quant, AUTOTUNED),
        ("default", gated_act_quant, {}),
        ("default, by reciprocal", by_reciprocal, {}),
        ("coordinate descent, by reciprocal", by_reciprocal, COORDINATE_DESCENT),
    ],
}


class TorchCompiled(TorchEager):
    name = "torch_compiled"

    def variants(self, workload: Workload, sets: list[TensorSet]) -> Iterator[Variant]:
        import torch

        torch._dynamo.reset()  # every size is compiled for itself, and none counts towards a limit of recompilations
        for name, function, options in WAYS["cuda" if getattr(sets[0].x, "is_cuda", False) else "cpu"]:
            compiled = torch.compile(function, dynamic=False, fullgraph=True, **options)
            calls = [FunctionCall(compiled, tensors, workload) for tensors in sets]
            yield Variant(name, calls)

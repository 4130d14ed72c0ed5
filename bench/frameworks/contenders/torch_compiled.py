"""torch.compile of the eager code."""

from __future__ import annotations

from collections.abc import Iterator

from ..contender import Variant
from ..workloads import TensorSet, Workload
from .torch_eager import FunctionCall, TorchEager, gated_act_quant


class TorchCompiled(TorchEager):
    name = "torch_compiled"

    def variants(self, workload: Workload, sets: list[TensorSet]) -> Iterator[Variant]:
        import torch

        torch._dynamo.reset()  # every size is compiled for itself, and none counts towards a limit of recompilations
        # Without CUDA graphs of its own, which copy inputs to fixed places and cannot be captured: what it generates
        # goes into the same graphs as everybody's.
        mode = "max-autotune-no-cudagraphs"
        compiled = torch.compile(gated_act_quant, mode=mode, dynamic=False, fullgraph=True)
        calls = [FunctionCall(compiled, tensors, workload) for tensors in sets]
        yield Variant(mode, calls)

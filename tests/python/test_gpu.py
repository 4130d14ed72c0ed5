"""What only a GPU can show: every compiled kernel, every gate, the order of dependent launches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cases
import devices
import moe_act
import numpy as np
import pytest
from cases import Case

pytestmark = pytest.mark.gpu

# (columns_per_lane, vectors_per_lane) of the kernels that each input format has.
SHAPES = {
    "e4m3": {(1, 4), (4, 1), (16, 1), (16, 2)},
    "bf16": {(1, 4), (4, 1), (8, 1), (8, 2)},
    "fp16": {(1, 4), (4, 1), (8, 1), (8, 2)},
    "fp32": {(1, 4), (4, 1), (4, 2)},
}
# A plan for a GPU with other multiprocessors is a plan that this one runs, too: few of them ask for throughput, many
# for latency. So a small problem reaches every kernel.
MULTIPROCESSORS = (1, 20, 10_000)


def _plans(problem: cases.Problem, arguments: dict[str, Any], out: Any, out_scale: Any) -> list[moe_act.Plan]:
    plans = []
    for multiprocessors in MULTIPROCESSORS:
        device = moe_act.DeviceInfo(multiprocessors=multiprocessors, compute_capability=(9, 0))
        plans.append(moe_act.plan(**arguments, out=out, out_scale=out_scale, device=device))
    return plans


@pytest.mark.parametrize("row_kind", cases.ROW_KINDS)
@pytest.mark.parametrize("output", cases.OUTPUTS)
@pytest.mark.parametrize("input", cases.INPUTS)
def test_every_kernel_gives_the_same_bytes(input: str, output: str, row_kind: str) -> None:
    """All plans of one problem, aligned and not, agree to the last bit, and with the contract."""
    import torch

    shapes = set()
    case = Case(input, output, row_kind=row_kind, rows=67, columns=1088)
    expected: tuple[bytes, bytes] | None = None
    for problem in (cases.build(case), cases.build(replace(case, misaligned=True, row_gap=5))):
        tensors, options = devices.split(problem)
        on_gpu = {name: devices.to_cuda(tensor) for name, tensor in tensors.items()}
        for plan in _plans(problem, on_gpu | options, devices.to_cuda(problem.out), devices.to_cuda(problem.out_scale)):
            out, out_scale = devices.to_cuda(problem.out), devices.to_cuda(problem.out_scale)
            plan.run(**on_gpu, out=out, out_scale=out_scale)
            torch.cuda.synchronize()
            shapes.add((plan.columns_per_lane, plan.vectors_per_lane))
            result = devices.to_numpy(out), devices.to_numpy(out_scale)
            devices.conforms(problem, *result)
            got = tuple(b"" if array is None else np.ascontiguousarray(array).tobytes() for array in result)
            expected = expected or got
            assert got == expected, f"{plan.columns_per_lane} x {plan.vectors_per_lane} differs"
    assert shapes == SHAPES[input]


def test_every_fp32_gate_is_within_the_contract() -> None:
    """silu of all 2^32 fp32 gates against float64: a (1 +- 2^-20 (1 + |gate| / 16)), 0 below 2^-126."""
    import torch

    step = 1 << 26
    x = torch.ones(step // 128, 256, device="cuda")
    worst = 0.0
    for start in range(0, 1 << 32, step):
        bits = torch.arange(start, start + step, device="cuda", dtype=torch.int64)
        gate = bits.to(torch.int32).view(torch.float32)
        x[:, 128:] = gate.view(-1, 128)
        silu = moe_act.gated_act_quant(x, out_format="fp32").out.view(-1).double()
        exact = gate.double()
        sigmoid = torch.exp(-exact.abs())
        sigmoid = torch.where(exact < 0, sigmoid, torch.ones_like(sigmoid)) / (1 + sigmoid)
        exact = exact * sigmoid
        width = 2.0**-20 * (1 + gate.double().abs().clamp(max=104) / 16)
        tiny = 2.0**-126
        flushed = (silu == 0) & ((sigmoid < tiny * (1 + width)) | (exact.abs() < tiny * (1 + width)))
        error = (silu - exact).abs() / (exact.abs() * width + 2.0**-150)  # half the smallest denormal: one rounding
        good = (error <= 1) | flushed | (silu == exact) | (silu.isnan() & exact.isnan())
        assert bool(good.all()), f"gate {gate[~good][0].item():.9g} gives {silu[~good][0].item():.9g}"
        worst = max(worst, torch.where(flushed | ~error.isfinite() | (exact.abs() < tiny), 0.0, error).max().item())
    print(f"largest error, in units of the contract's: {worst:.3f}")


def test_several_map_entries_per_warp_change_nothing() -> None:
    """One row in eight is live among so many entries that warps read them in groups; the hint changes the groups."""
    import torch

    rows, columns = 4096, 512
    generator = torch.Generator(device="cuda").manual_seed(0)
    x = torch.randn(rows, 2 * columns, device="cuda", generator=generator).bfloat16()
    entries = torch.full((8 * 16 * rows,), -1, dtype=torch.int32, device="cuda")
    places = torch.randperm(len(entries), device="cuda", generator=generator)[:rows]
    entries[places] = torch.arange(rows, dtype=torch.int32, device="cuda")
    dense = moe_act.gated_act_quant(x)
    grouped = set()
    for expected_rows in (None, 1, rows, 16 * rows):
        plan = moe_act.plan(x, expanded_idx_to_permuted_idx=entries, expected_rows=expected_rows)
        grouped.add(plan.entries_per_warp)
        for got, want in zip(plan.run(x, expanded_idx_to_permuted_idx=entries), dense, strict=True):
            assert torch.equal(got.view(torch.uint8), want.view(torch.uint8))
    assert max(grouped) > 1


@pytest.mark.parametrize("pdl", ["off", "on", "metadata_ready"])
@pytest.mark.parametrize("row_kind", cases.ROW_KINDS)
def test_a_dependent_launch_sees_what_the_preceding_one_wrote(pdl: str, row_kind: str) -> None:
    """Two of our own kernels, each letting the next start early: the second reads what the first one writes."""
    import torch

    rows, columns = 4096, 1024
    generator = torch.Generator(device="cuda").manual_seed(0)
    first = torch.randn(rows, 4 * columns, device="cuda", generator=generator).bfloat16()
    options: dict[str, Any] = {}
    if row_kind == "map":
        order = torch.randperm(rows, device="cuda", generator=generator).to(torch.int32)
        options["expanded_idx_to_permuted_idx"] = order
    middle = torch.empty(rows, 2 * columns, device="cuda", dtype=torch.bfloat16)

    def chain(pdl: str) -> tuple[Any, Any]:
        middle.fill_(float("nan"))
        moe_act.gated_act_quant(first, out=middle, out_format="bf16", pdl=pdl, **options)
        return tuple(moe_act.gated_act_quant(middle, pdl=pdl, **options))

    expected = chain("off")
    for _ in range(20):
        for got, want in zip(chain(pdl), expected, strict=True):
            assert torch.equal(got.view(torch.uint8), want.view(torch.uint8))

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


def _kernels(input: str, row_kind: str) -> set[tuple[str, int, int]]:
    """(schedule, columns_per_lane, vectors_per_lane) of the kernels that can run an aligned problem, and of the one
    that runs any."""
    width = {"e4m3": 16, "bf16": 8, "fp16": 8, "fp32": 4}[input]
    kernels = {("loop", 1, 4), ("rows", 4, 1), ("rows", width, 1), ("rows", width, 2)}
    if input == "e4m3":
        kernels.add(("tiles", width, 2))
    if row_kind == "map":
        kernels.add(("sparse", width, 2))
    return kernels


@pytest.mark.parametrize("row_kind", cases.ROW_KINDS)
@pytest.mark.parametrize("output", cases.OUTPUTS)
@pytest.mark.parametrize("input", cases.INPUTS)
def test_every_kernel_gives_the_same_bytes(input: str, output: str, row_kind: str) -> None:
    """All plans of one problem, aligned and not, agree to the last bit, and with the contract."""
    import torch

    kernels, marked = set(), set()
    case = Case(input, output, row_kind=row_kind, rows=67, columns=1088)
    expected: tuple[bytes, bytes] | None = None
    for problem in (cases.build(case), cases.build(replace(case, misaligned=True, row_gap=5))):
        tensors, options = devices.split(problem)
        on_gpu = {name: devices.to_cuda(tensor) for name, tensor in tensors.items()}
        results = {"out": devices.to_cuda(problem.out), "out_scale": devices.to_cuda(problem.out_scale)}
        chosen = moe_act.plan(**on_gpu, **options, **results)
        for plan in (chosen, *chosen.alternatives()):
            out, out_scale = devices.to_cuda(problem.out), devices.to_cuda(problem.out_scale)
            plan.run(**on_gpu, out=out, out_scale=out_scale)
            torch.cuda.synchronize()
            kernels.add((plan.schedule, plan.columns_per_lane, plan.vectors_per_lane))
            marked |= {plan.schedule} if plan.workspace_bytes > 0 else set()
            result = devices.to_numpy(out), devices.to_numpy(out_scale)
            devices.conforms(problem, *result)
            got = tuple(b"" if array is None else np.ascontiguousarray(array).tobytes() for array in result)
            expected = expected or got
            assert got == expected, f"{plan} differs"
    assert kernels == _kernels(input, row_kind)
    assert marked == ({kernel[0] for kernel in kernels} - {"sparse"} if row_kind == "map" else set())


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


def test_few_live_rows_among_many_entries_under_every_plan() -> None:
    """One row in 128 entries is live, some padded rows are none at all; the hint and the plan change nothing."""
    import torch

    rows, columns = 4096, 512
    generator = torch.Generator(device="cuda").manual_seed(0)
    x = torch.randn(rows, 2 * columns, device="cuda", generator=generator).bfloat16()
    live = torch.arange(0, rows, 2, dtype=torch.int32, device="cuda")
    entries = torch.full((64 * rows,), -1, dtype=torch.int32, device="cuda")
    entries[torch.randperm(len(entries), device="cuda", generator=generator)[: len(live)]] = live
    dense = [tensor.view(torch.uint8) for tensor in moe_act.gated_act_quant(x, out_scale_layout="row_major")]
    for expected_rows in (None, 1, rows, 16 * rows):
        plan = moe_act.plan(
            x, expanded_idx_to_permuted_idx=entries, expected_rows=expected_rows, out_scale_layout="row_major"
        )
        assert plan.schedule == "sparse"
        for each in (plan, *plan.alternatives()):
            for got, want in zip(each.run(x, expanded_idx_to_permuted_idx=entries), dense, strict=True):
                assert torch.equal(got.view(torch.uint8)[::2], want[::2]), str(each)


def test_a_workspace_may_hold_anything_and_be_used_again() -> None:
    """Marks of a launch before, whose map named other rows, are no marks."""
    import torch

    rows = 5000
    x = torch.randn(rows, 512, device="cuda").bfloat16()
    marked = None
    for start in (0, 1):
        entries = torch.arange(start, rows, 2, dtype=torch.int32, device="cuda")
        out, out_scale = torch.full((rows, 256), 0xA5, dtype=torch.uint8, device="cuda"), torch.zeros(2, rows).cuda()
        call = {"expanded_idx_to_permuted_idx": entries, "out": out, "out_scale": out_scale}
        plans = [plan for plan in moe_act.plan(x, **call).alternatives() if plan.workspace_bytes > 0]
        marked = plans[0]
        marked.run(x, **call)
        expected = moe_act.gated_act_quant(x).out.view(torch.uint8)
        assert torch.equal(out[start::2], expected[start::2])
        assert bool((out[1 - start :: 2] == 0xA5).all())
    assert marked is not None


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

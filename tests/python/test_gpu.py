"""What only a GPU can show: every compiled kernel, every gate, sizes beyond every grid."""

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


def _kernels(input: str, output: str, row_kind: str) -> set[tuple[str, int, int]]:
    """(schedule, columns_per_lane, vectors_per_lane) of the kernels that can run an aligned problem, and of the one
    that runs any."""
    width = {"e4m3": 16, "bf16": 8, "fp16": 8, "fp32": 4}[input]
    kernels = {("loop", 1, 4), ("rows", 4, 1), ("rows", width, 1), ("rows", width, 2)}
    if input == "e4m3":
        kernels.add(("tiles", width, 2))
    shares = row_kind == "map" and input != "fp32"
    if shares:
        kernels.add(("sparse", width, 2))
    if output in ("block", "tensor"):  # lanes for few rows
        kernels |= {("rows", 8, 1)} if input == "e4m3" else set()
        kernels |= {("sparse", width, 1)} if shares else set()
        kernels |= {("sparse", 8, 1)} if shares and input == "e4m3" else set()
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
    assert kernels == _kernels(input, output, row_kind)
    assert marked == ({kernel[0] for kernel in kernels} & {"rows", "tiles"} if row_kind == "map" else set())


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


@pytest.mark.parametrize("expected_rows", [1, 64, 512])
def test_more_live_rows_than_the_ctas_of_a_share_have_in_hand(expected_rows: int) -> None:
    """All entries of a map are live, where few were expected: the CTAs that share entries take turns."""
    import torch

    rows, columns = 4096, 2048
    generator = torch.Generator(device="cuda").manual_seed(0)
    x = torch.randn(rows, 2 * columns, device="cuda", generator=generator).bfloat16()
    entries = torch.randperm(rows, device="cuda", generator=generator).int()
    dense = [tensor.view(torch.uint8) for tensor in moe_act.gated_act_quant(x, out_scale_layout="row_major")]
    plan = moe_act.plan(
        x, expanded_idx_to_permuted_idx=entries, expected_rows=expected_rows, out_scale_layout="row_major"
    )
    assert plan.schedule == "sparse" and plan.grid[2] > 1
    assert plan.grid[2] * plan.rows_per_cta < plan.units_per_cta
    for each in (plan, *plan.alternatives()):
        for got, want in zip(each.run(x, expanded_idx_to_permuted_idx=entries), dense, strict=True):
            assert torch.equal(got.view(torch.uint8), want), str(each)


@pytest.mark.parametrize("columns", [640, 2048, 4352])
@pytest.mark.parametrize("pdl", ["off", "metadata_ready"])
def test_whichever_entries_of_a_share_are_live(pdl: str, columns: int) -> None:
    """None, the first, the last, those of one warp or of two, all: of shares of which the last is not full."""
    import torch

    count = 1301
    x = torch.randn(count, 2 * columns, device="cuda").to(torch.float8_e4m3fn)
    x_scale = torch.rand(2 * columns // 128, count, device="cuda")
    expected = moe_act.gated_act_quant(x, x_scale=x_scale)
    named = torch.randperm(count, device="cuda").int()
    tensors = {"x": x, "x_scale": x_scale, "expanded_idx_to_permuted_idx": named}
    plan = moe_act.plan(**tensors, expected_rows=1, pdl=pdl)
    plans = [each for each in (plan, *plan.alternatives()) if each.schedule == "sparse"]
    lanes = {(each.columns_per_lane, each.vectors_per_lane, each.units_per_cta) for each in plans}
    assert lanes == {(*shape, units) for shape in ((8, 1), (16, 1), (16, 2)) for units in (64, 128, 256, 512)}
    for live in (slice(0, 0), slice(0, 1), slice(1300, 1301), slice(384, 512), slice(500, 700), slice(0, count)):
        entries = torch.full_like(named, -1)
        entries[live] = named[live]
        done = named[live].long()
        for each in plans:
            out = torch.zeros_like(expected.out.view(torch.uint8)).view(torch.float8_e4m3fn)
            out_scale = torch.zeros_like(expected.out_scale)
            each.run(**tensors | {"expanded_idx_to_permuted_idx": entries}, out=out, out_scale=out_scale)
            want = torch.zeros_like(out.view(torch.uint8))
            want[done] = expected.out.view(torch.uint8)[done]
            want_scale = torch.zeros_like(out_scale)
            want_scale[:, done] = expected.out_scale[:, done]
            assert torch.equal(out.view(torch.uint8), want), (str(each), live)
            assert torch.equal(out_scale, want_scale), (str(each), live)


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


def _alternatives(schedule: str, *, marked: bool = False, **call: Any) -> list[moe_act.Plan]:
    plans = moe_act.plan(**call).alternatives()
    return [plan for plan in plans if plan.schedule == schedule and (plan.workspace_bytes > 0) == marked]


def test_more_tiles_than_one_dimension_of_a_grid_holds() -> None:
    import torch

    rows, columns = 65535 * 8 + 4000, 16
    generator = torch.Generator(device="cuda").manual_seed(0)
    codes = torch.randint(0, 0x70, (rows, 2 * columns), device="cuda", generator=generator, dtype=torch.uint8)
    x = codes.view(torch.float8_e4m3fn)
    x_scale = torch.rand(1, rows, device="cuda", generator=generator)
    expected = _alternatives("loop", x=x, x_scale=x_scale)[0].run(x, x_scale)
    plans = _alternatives("tiles", x=x, x_scale=x_scale)
    assert plans
    for plan in plans:
        assert plan.grid[1] == 65535
        assert plan.grid[2] == 2
        for got, want in zip(plan.run(x, x_scale), expected, strict=True):
            assert torch.equal(got.view(torch.uint8), want.view(torch.uint8)), str(plan)


def test_loops_go_on_behind_their_grids() -> None:
    """Along a row of more chunks, and down more rows, than a grid has room for: the rows are a list's then."""
    import torch

    wide = torch.randn(1, 2 * (65535 * 128 + 200), device="cuda").bfloat16()
    plans = [plan for plan in _alternatives("loop", x=wide) if plan.threads_per_cta == 32]
    assert [plan.grid[1] for plan in plans] == [65535]
    expected = moe_act.gated_act_quant(wide)
    for got, want in zip(plans[0].run(wide), expected, strict=True):
        assert torch.equal(got.view(torch.uint8), want.view(torch.uint8))

    rows = (1 << 31) + 1000
    x = torch.ones(rows, 2, device="cuda", dtype=torch.bfloat16)
    x[-1000:] = torch.randn(1000, 2, device="cuda").bfloat16()
    out = torch.zeros(rows, 1, device="cuda", dtype=torch.bfloat16)
    call = {"x": x, "out": out, "out_format": "bf16"}
    plan = min(_alternatives("list", **call), key=lambda plan: plan.units_per_cta)
    assert plan.grid[0] == (1 << 31) - 1
    plan.run(x, out=out)
    first, last = (moe_act.gated_act_quant(x[part], out_format="bf16").out for part in (slice(8), slice(-1000, None)))
    assert torch.equal(out[:8], first)
    assert torch.equal(out[-1000:], last)
    assert bool((out[:-1000].view(-1, 8) == first[0]).all())


def test_marking_goes_on_behind_its_grid() -> None:
    """More map entries than the threads that set marks."""
    import torch

    rows, columns = (17 << 20) + 5, 8  # whole vectors: no others are marked
    x = torch.zeros(rows, 2 * columns, device="cuda", dtype=torch.bfloat16)
    x += torch.arange(rows, device="cuda")[:, None] % 251
    # Every row but every fifth, from the last to the first.
    entries = torch.arange(rows - 1, -1, -1, device="cuda", dtype=torch.int32)
    entries[entries % 5 == 0] = -1
    out = torch.full((rows, columns), 7.0, device="cuda", dtype=torch.bfloat16)
    call = {"x": x, "out": out, "expanded_idx_to_permuted_idx": entries, "out_format": "bf16"}
    expected = moe_act.gated_act_quant(x, out_format="bf16").out
    expected[::5] = 7.0
    plans = _alternatives("rows", marked=True, **call)
    assert plans
    del call["out_format"]
    plans[0].run(**call)
    assert torch.equal(out, expected)


@pytest.mark.parametrize("kind", ["dense", "map", "masked"])
@pytest.mark.parametrize("beyond", [-16, 16])
def test_rows_gigabytes_apart(kind: str, beyond: int) -> None:
    """Bytes between rows, or experts: the most that 32 bits can say, and more than that, which other kernels take."""
    import torch

    apart, columns = (1 << 32) + beyond, 512
    values = torch.randn(3, 2 * columns, device="cuda").bfloat16()
    x = torch.empty(apart + 2 * columns, device="cuda", dtype=torch.bfloat16)
    x = x.as_strided((3, 2 * columns), (apart // 2, 1)).copy_(values)
    out = torch.zeros(2 * apart + columns, device="cuda", dtype=torch.uint8).as_strided((3, columns), (apart, 1))
    expected = moe_act.gated_act_quant(values)
    out_scale = torch.zeros_like(expected.out_scale)
    call = {"x": x, "out": out, "out_scale": out_scale}
    if kind == "map":
        call["expanded_idx_to_permuted_idx"] = torch.tensor([2, -1, 0, 1], device="cuda", dtype=torch.int32)
    if kind == "masked":
        call = {name: tensor.unsqueeze(1) for name, tensor in call.items()}
        call["out_scale"] = out_scale = torch.zeros(3, 4, 1, device="cuda")
        call["rows"] = moe_act.rows.Masked(torch.ones(3, device="cuda", dtype=torch.int32))
    plan = moe_act.plan(**call)
    assert (plan.schedule == "list") == (beyond > 0 and kind != "masked")
    for each in (plan, *plan.alternatives()):
        out.zero_()
        out_scale.zero_()
        each.run(**call)
        assert torch.equal(out.contiguous(), expected.out.view(torch.uint8)), str(each)
        scales = out_scale.squeeze(2).T if kind == "masked" else out_scale
        assert torch.equal(scales, expected.out_scale), str(each)

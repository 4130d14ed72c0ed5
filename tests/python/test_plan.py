"""Plans: made once, readable, reusable, and particular about what they are run with."""

from __future__ import annotations

from typing import Any

import cases
import devices
import moe_act
import numpy as np
import pytest
from cases import Case
from tensors import DEVICES, get, put, same_bytes

H100 = moe_act.DeviceInfo(multiprocessors=132, compute_capability=(9, 0), l2_bytes=50 << 20)
B200 = moe_act.DeviceInfo(multiprocessors=148, compute_capability=(10, 0), l2_bytes=126 << 20)
SMALL = moe_act.DeviceInfo(multiprocessors=28, compute_capability=(8, 9))  # a slice of a larger GPU, or a laptop's
SECOND_HALF = [case for case in cases.every_combination() if case.gate == "second_half"]


def placed(problem: cases.Problem, device: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensors, results included, on the device; and the options."""
    tensors, options = devices.split(problem)
    tensors |= {"out": problem.out, "out_scale": problem.out_scale}
    return {name: put(array, device) for name, array in tensors.items()}, options


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", SECOND_HALF, ids=str)
def test_running_a_plan_is_the_operation(case: Case, device: str) -> None:
    expected = devices.run(cases.build(case), device)
    tensors, options = placed(cases.build(case), device)
    plan = moe_act.plan(**tensors, **options)
    result = plan.run(**tensors)
    assert result.out is tensors["out"] and result.out_scale is tensors["out_scale"]
    assert same_bytes(get(result.out), expected[0]) and same_bytes(get(result.out_scale), expected[1])


@pytest.mark.parametrize("device", DEVICES)
def test_a_plan_is_reusable(device: str) -> None:
    """Other data, other maps of the same length, and results that the plan allocates."""
    case = Case("e4m3", "block", row_kind="map", rows=12)
    tensors, options = placed(cases.build(case), device)
    plan = moe_act.plan(**tensors, **options)
    for seed in range(4):
        problem = cases.build(case, seed)
        tensors, _ = placed(problem, device)
        plan.run(**tensors)
        devices.conforms(problem, get(tensors["out"]), get(tensors["out_scale"]))
        allocated = plan.run(**tensors | {"out": None, "out_scale": None})
        assert type(allocated.out) is type(tensors["out"])
        assert same_bytes(get(allocated.out)[problem.live], get(tensors["out"])[problem.live])


def test_calls_in_turn() -> None:
    """What one call was found to be is not believed of the next: rows, strides, alignment, options, results differ."""
    wide = np.random.default_rng(0).standard_normal((5, 600), np.float32)
    views = [wide[:, :384], wide[:, 1:385], wide[:, 4:388], wide[:4, :384], wide[:, :384].copy(), wide[:0, :384]]
    formats: list[dict[str, Any]] = [{}, {"out_format": "fp16"}, {"static_scale": np.ones(1, np.float32)}]
    calls = [
        {"x": x, "gate": gate} | format for x in views for gate in ("second_half", "first_half") for format in formats
    ]
    alone = [moe_act.gated_act_quant(**call | {"x": call["x"].copy()}) for call in calls]
    for call, expected in 2 * list(zip(calls, alone, strict=True)):
        result = moe_act.gated_act_quant(**call)
        assert same_bytes(result.out, expected.out) and same_bytes(result.out_scale, expected.out_scale)
        given = moe_act.gated_act_quant(**call, out=np.zeros_like(expected.out), out_scale=result.out_scale)
        assert same_bytes(given.out, expected.out)
        with pytest.raises(ValueError, match=r"^out: expected a writable tensor"):
            result.out.flags.writeable = False
            moe_act.gated_act_quant(**call, out=result.out, out_scale=result.out_scale)


def test_runs_in_turn() -> None:
    """What one run was accepted with is not believed of the next, not even of the same objects."""
    x = np.ones((4, 256), np.float32)
    plan = moe_act.plan(x)
    out, out_scale = plan.run(x)
    for _ in range(2):
        plan.run(x, out=out, out_scale=out_scale)
        x.resize((2, 512), refcheck=False)
        with pytest.raises(ValueError, match=r"^(out|rows|columns|x): "):
            plan.run(x, out=out, out_scale=out_scale)
        x.resize((4, 256), refcheck=False)
        plan.run(x, out=out, out_scale=out_scale)
        with pytest.raises(ValueError, match=r"^limit: "):
            plan.run(x, out=out, out_scale=out_scale, limit=7.0)
        out.flags.writeable = False
        with pytest.raises(ValueError, match=r"^out: expected a writable tensor"):
            plan.run(x, out=out, out_scale=out_scale)
        out.flags.writeable = True
        assert plan.run(x).out is not out


def test_a_plan_without_results_promises_contiguous_ones() -> None:
    x = np.ones((4, 256), np.float32)
    problem = moe_act.plan(x).problem
    assert (problem["out_row_stride"], problem["out_scale_stride"], problem["out_alignment"]) == (128, 4, 16)


def test_what_a_plan_says_of_its_problem() -> None:
    problem = cases.build(Case("e4m3", "block", "row_major", row_kind="map", gate="first_half", rows=9, columns=192))
    tensors, options = placed(problem, "cpu")
    plan = moe_act.plan(**tensors, **options, expected_rows=5)
    said = dict(plan.problem)
    assert said.pop("x_alignment") in (1, 2, 4, 8, 16) and said.pop("out_alignment") in (1, 2, 4, 8, 16)
    assert said == {
        "device": "cpu", "x_format": "e4m3", "out_format": "e4m3", "out_scaling": "block",
        "x_scale_layout": "row_major", "out_scale_layout": "column_major", "activation": "swiglu",
        "gate": "first_half", "row_kind": "expanded_to_permuted", "padding": "skip", "pdl": "off",
        "rows": 9, "columns": 192, "entries": 18, "experts": 0, "expected_rows": 5,
        "x_row_stride": 384, "out_row_stride": 192, "x_scale_stride": 3, "out_scale_stride": 9,
        "x_scale_format": "fp32", "out_scale_format": "fp32",
        "scale_rounding": "none", "x_block": 128, "out_block": 128, "interleave": 0, "preset": "flashinfer",
            "product_rounding": "none", "quantization": "divide", "clamp_rounding": "none",
    }  # fmt: skip
    text = str(plan)
    for words in ("swiglu", "e4m3 [9, 2 x 192] -> e4m3", "block", "first half", "18 entries", "CPU"):
        assert words in text
    assert (
        plan.grid == (0, 0, 0)
        and plan.alternatives() == []
        and plan.threads_per_cta == plan.workspace_bytes == plan.shared_bytes == 0
    )


def _covers(plan: moe_act.Plan, rows: int, columns: int) -> None:
    """The grid is one that CUDA allows, and covers every row and column."""
    x, y, z = plan.grid
    assert plan.threads_per_cta <= 512 and plan.threads_per_cta % (32 * plan.warps_per_row) == 0
    assert x <= 2**31 - 1 and (rows == 0 or 1 <= y <= 65535) and z <= 65535
    columns_per_warp = 128 if plan.schedule == "tiles" else 32 * plan.columns_per_lane * plan.vectors_per_lane
    ctas_of_rows, ctas_of_columns = (y * z, x) if plan.schedule == "tiles" else (x * z, y)
    ctas_of_rows = x if plan.schedule == "sparse" else ctas_of_rows  # those of z look at the same entries
    assert ctas_of_rows * plan.units_per_cta >= rows
    whole_rows = plan.schedule == "sparse" and plan.threads_per_cta == 128  # half lanes, by eight warps, do chunks
    assert whole_rows or ctas_of_columns * plan.warps_per_row * columns_per_warp >= columns


@pytest.mark.parametrize("device", [H100, B200, SMALL], ids=repr)
@pytest.mark.parametrize("row_kind", cases.ROW_KINDS)
@pytest.mark.parametrize("rows", [0, 1, 300, 20_000])
@pytest.mark.parametrize("columns", [1, 192, 2048])
def test_plans_for_a_gpu_need_none(columns: int, rows: int, row_kind: str, device: moe_act.DeviceInfo) -> None:
    x = np.empty((rows, 2 * columns), np.float16)
    entries = np.empty((rows, 1), np.int32) if row_kind == "map" else None
    plan = moe_act.plan(x, expanded_idx_to_permuted_idx=entries, device=device)
    assert plan.problem["device"] == "cuda:0"
    for each in (plan, *plan.alternatives()):
        _covers(each, rows, columns)
    major, minor = device.compute_capability
    for words in (f"{major}.{minor}", f"{device.multiprocessors} SMs", "grid {} x {} x {}".format(*plan.grid)):
        assert words in str(plan)


def test_hints_and_devices_change_the_plan() -> None:
    x = np.empty((16384, 4096), np.uint8)
    x_scale = np.empty((32, 16384), np.float32)

    expanded = np.zeros(16384, np.int32)

    def lanes(**changes: Any) -> tuple[str, int, int]:
        options = {"device": H100, "expanded_idx_to_permuted_idx": expanded} | changes
        plan = moe_act.plan(x, x_scale, x_format="e4m3", **options)
        return plan.schedule, plan.columns_per_lane, plan.vectors_per_lane

    assert lanes() == lanes(expected_rows=16384) == lanes(expected_rows=10**9)
    assert lanes() != lanes(expected_rows=1) == lanes(expected_rows=0)

    def dense_lanes(rows: int, device: moe_act.DeviceInfo) -> tuple[int, int]:
        plan = moe_act.plan(np.empty((rows, 4096), np.float16), device=device)
        return plan.columns_per_lane, plan.vectors_per_lane

    assert any(dense_lanes(2**n, H100) != dense_lanes(2**n, SMALL) for n in range(12))


@pytest.mark.parametrize("pdl", ["on", "metadata_ready"])
def test_dependent_launch_needs_compute_capability_9(pdl: str) -> None:
    x = np.ones((4, 256), np.float32)
    assert moe_act.plan(x, pdl=pdl, device=H100).problem["pdl"] == pdl
    with pytest.raises(NotImplementedError, match=f"^pdl: expected 'off' below .* 9.0, got '{pdl}' on 8.9$"):
        moe_act.plan(x, pdl=pdl, device=SMALL)


def test_devices_that_cannot_be() -> None:
    x = np.ones((4, 256), np.float32)
    for device, error, says in [
        (moe_act.DeviceInfo(multiprocessors=0, compute_capability=(9, 0)), ValueError, "1 to 65536 multiprocessors"),
        (moe_act.DeviceInfo(multiprocessors=80, compute_capability=(7, 0)), NotImplementedError, "8.0 or above"),
        ("cuda:0", TypeError, "expected a DeviceInfo, got str"),
    ]:
        with pytest.raises(error, match=f"^device: .*{says}"):
            moe_act.plan(x, device=device)


def test_device_info() -> None:
    assert (H100.multiprocessors, H100.compute_capability, H100.l2_bytes) == (132, (9, 0), 50 << 20)
    assert SMALL.l2_bytes == 0
    assert "132" in repr(H100) and "(9, 0)" in repr(H100)


@pytest.mark.parametrize("device", DEVICES)
def test_better_alignment_than_promised_is_good(device: str) -> None:
    case = Case("bf16", "block", rows=7, columns=384, misaligned=True)
    awkward, options = placed(cases.build(case), device)
    plan = moe_act.plan(**awkward, **options)
    problem = cases.build(Case("bf16", "block", rows=7, columns=384))
    tensors, _ = placed(problem, device)
    devices.conforms(problem, *map(get, plan.run(**tensors)))


def test_a_plan_for_another_device_is_not_run() -> None:
    x = np.ones((4, 256), np.float32)
    with pytest.raises(ValueError, match=r"^device: the plan was made for 'cuda', got 'cpu'$"):
        moe_act.plan(x, device=H100).run(x)


@pytest.mark.gpu
def test_the_plan_of_this_machine() -> None:
    import torch

    properties = torch.cuda.get_device_properties(0)
    info = moe_act.device_info(0)
    assert info.multiprocessors == properties.multi_processor_count
    assert info.compute_capability == (properties.major, properties.minor)
    x = torch.ones(300, 4096, device="cuda")
    assert str(moe_act.plan(x)) == str(moe_act.plan(x.cpu(), device=info))

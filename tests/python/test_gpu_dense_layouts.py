"""Few dense rows in any scale layout: straight code for each form of scales gives the bytes of every other kernel."""

from __future__ import annotations

from typing import Any

import cases
import moe_act
import numpy as np
import pytest
from scale_forms import FORMS, ScaleForm
from tensors import get, put, same_bytes

pytestmark = pytest.mark.gpu

ROWS = 132  # more than a tile of the swizzled layout
WHOLE, PARTS = 1024, 1088  # columns: whole chunks and fours of blocks for every width; neither
FP32, UE8M0 = ScaleForm("row_major", "fp32", 64), ScaleForm("swizzled_128x4", "ue8m0", 128)
TENSORS = ("x", "x_scale", "static_scale")


def call_of(input: str, x_form: ScaleForm, columns: int) -> dict[str, Any]:
    rng = np.random.default_rng(columns)
    call: dict[str, Any] = {"x": cases.values_of(rng, (ROWS, 2 * columns), input)}
    if input in ("e4m3", "bf16"):
        call["x_format"] = input
    if input == "e4m3":
        values = np.exp2(rng.integers(-6, 2, (ROWS, -(-2 * columns // x_form.block)))).astype(np.float32)
        call["x_scale"] = moe_act.scales.from_rows(values, x_form.layout, format=x_form.format)
        call |= {"x_scale_layout": x_form.layout, "x_scale_format": x_form.format, "x_block": x_form.block}
    return call


def results_in(form: ScaleForm) -> dict[str, Any]:
    return {"out_scale_layout": form.layout, "out_scale_format": form.format, "out_block": form.block}


def every_plan_agrees(call: dict[str, Any], form: ScaleForm | None = None) -> set[tuple[str, int, int]]:
    """With the first to the last bit, and that with the CPU's codes, but for what the contract allows."""

    def rows_of(result: moe_act.Result) -> tuple[Any, Any]:
        out, scales = get(result.out), get(result.out_scale)
        if form is not None:
            columns = call["x"].shape[1] // 2
            scales = moe_act.scales.to_rows(scales, form.layout, rows=ROWS, columns=columns, block=form.block)
        return out, scales

    on_cpu, cpu_scales = rows_of(moe_act.gated_act_quant(**call | {"pdl": "off"}))
    tensors = {name: put(call[name], "cuda") for name in TENSORS if name in call}
    plan = moe_act.plan(**tensors, **{name: value for name, value in call.items() if name not in TENSORS})
    first: tuple[Any, Any] | None = None
    lanes = set()
    for each in (plan, *plan.alternatives()):
        out, scales = rows_of(each.run(**tensors))
        first = first or (out, scales)
        lanes.add((each.schedule, each.columns_per_lane, each.vectors_per_lane))
        assert same_bytes(out, first[0]) and same_bytes(scales, first[1]), str(each)
    assert first is not None and first[0].shape == on_cpu.shape
    if form is not None:
        assert np.mean(np.isclose(first[1], cpu_scales, rtol=1e-5, atol=0)) >= 0.995
    if on_cpu.dtype == np.float32:
        np.testing.assert_allclose(first[0], on_cpu, rtol=1e-5, atol=1e-30)
    else:
        assert np.count_nonzero(first[0] != on_cpu) <= on_cpu.size // 200
    return lanes


@pytest.mark.parametrize("pdl", ["off", "on", "metadata_ready"])
@pytest.mark.parametrize("columns", [WHOLE, PARTS])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_scales_of_x(form: ScaleForm, columns: int, pdl: str) -> None:
    for out_form, gate in ((FP32, "second_half"), (UE8M0, "first_half")):
        call = call_of("e4m3", form, columns) | results_in(out_form) | {"pdl": pdl, "gate": gate}
        lanes = every_plan_agrees(call, out_form)
        assert {("list", 4, 1), ("list", 16, 1), ("list", 16, 2)} <= lanes


@pytest.mark.parametrize("columns", [WHOLE, PARTS])
@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("input", cases.INPUTS)
def test_scales_of_results(input: str, form: ScaleForm, columns: int) -> None:
    for x_form in (FP32, UE8M0) if input == "e4m3" else (FP32,):
        for rounding in (None, "power_of_two") if form.format == "fp32" else (None,):
            call = call_of(input, x_form, columns) | results_in(form) | {"scale_rounding": rounding}
            every_plan_agrees(call, form)


@pytest.mark.parametrize("output", ["bf16", "fp32", "e5m2", "tensor"])
@pytest.mark.parametrize("form", [FP32, UE8M0], ids=str)
def test_other_results(form: ScaleForm, output: str) -> None:
    """Plain ones, and those that straight code leaves to others."""
    call = call_of("e4m3", form, WHOLE)
    if output == "tensor":
        call["static_scale"] = np.array([0.037], np.float32)
    else:
        call["out_format"] = output
    every_plan_agrees(call)

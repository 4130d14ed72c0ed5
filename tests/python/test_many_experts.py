"""Segments of more experts than are counted at once, most of them empty."""

from __future__ import annotations

from typing import Any

import moe_act
import numpy as np
import pytest
from moe_act import oracle
from moe_act.rows import ExpertEnds, ExpertOffsets, Masked
from tensors import DEVICES, get, on_device, put

COLUMNS = 80
FORMS: list[dict[str, Any]] = [
    {},
    {"out_scale_layout": "swizzled_128x4", "out_block": 32},
    {"out_scaling": "row"},
]


def case(kind: str, experts: int, most: int = 4) -> tuple[np.ndarray, Any, np.ndarray]:
    """x, NaN where it is dead, the rows, fewer than `most` of each expert, and which are live."""
    rng = np.random.default_rng(experts)
    counts = rng.integers(0, most, experts) * (rng.random(experts) < 0.5)
    counts[[0, experts // 2, -1]] = (2, 3, 3)  # the last expert is reached
    if kind == "masked":
        live = np.arange(most) < counts[:, None]
        rows: Any = Masked(counts.astype(np.int64))
    else:
        step = 4 if kind == "ends" else 1
        begins, ends = np.zeros(experts, int), np.zeros(experts, int)
        for expert, count in enumerate(counts):
            begins[expert] = -(-ends[expert - 1] // step) * step if expert > 0 else 0
            ends[expert] = begins[expert] + count
        live = np.zeros(ends[-1] + 5, bool)
        for begin, end in zip(begins, ends, strict=True):
            live[begin:end] = True
        bounds = ends.astype(np.int32)
        rows = ExpertEnds(bounds, step) if kind == "ends" else ExpertOffsets(np.concatenate([bounds[:1] * 0, bounds]))
    x = rng.standard_normal((*live.shape, 2 * COLUMNS), np.float32)
    x[~live] = np.nan
    return x, rows, live


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("experts", [33, 256, 513, 1100])
@pytest.mark.parametrize("kind", ["offsets", "ends", "masked"])
def test_many_experts(kind: str, experts: int, form: dict[str, Any], device: str) -> None:
    x, rows, live = case(kind, experts)
    out, out_scale = map(get, moe_act.gated_act_quant(put(x, device), rows=on_device(rows, device), **form))
    report = oracle.check(x=x, rows=rows, **form, out=out, out_scale=out_scale, padding="zero")
    assert report.ok, report.message
    assert report.rows == live.sum()
    assert not out[~live].any()
    if device == "cuda":
        cpu_out, cpu_scale = moe_act.gated_act_quant(x, rows=rows, **form)
        steps = np.abs(out_scale.view(np.uint8).astype(int) - cpu_scale.view(np.uint8)) if form.get("out_block") else (
            np.abs(out_scale.view(np.int32).astype(np.int64) - cpu_scale.view(np.int32))
        )  # fmt: skip
        assert steps.max() <= (1 if form.get("out_block") else 16)
        assert np.count_nonzero(out != cpu_out) <= 2 + out.size // 500


def exact_values(shape: tuple[int, ...]) -> np.ndarray:
    """Gates whose silu is the gate itself, and blocks whose scales are powers of two: no step rounds but the last."""
    rng = np.random.default_rng(0)
    gate, up = rng.integers(32, 65, (*shape, COLUMNS)), rng.integers(-6, 7, (*shape, COLUMNS))
    gate[..., ::32], up[..., ::32] = 64, 7  # the largest product of every block, a power of two times 448
    return np.concatenate([up << rng.integers(0, 4, (*shape, 1)), gate], axis=-1).astype(np.float32)


@pytest.mark.gpu
@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("input", ["fp32", "bf16"])  # bf16 beside indices of 32 bits: what plain kernels take
@pytest.mark.parametrize("kind", ["offsets", "ends", "masked"])
def test_every_plan_for_many_experts(kind: str, input: str, form: dict[str, Any]) -> None:
    """The CPU's bits, by several rows of warps in a CTA that take several turns, and behind the grid, too."""
    _, rows, live = case(kind, 1100, most=40)
    x = exact_values(live.shape)
    x[~live] = np.nan
    options = form | {"x_format": input}
    if input == "bf16":
        x = (x.view(np.uint32) >> 16).astype(np.uint16)  # exact
        rows = Masked(rows.expert_counts.astype(np.int32)) if kind == "masked" else rows
    expected = [tensor.tobytes() for tensor in moe_act.gated_act_quant(x, rows=rows, **options)]
    call: dict[str, Any] = {"x": put(x, "cuda"), "rows": on_device(rows, "cuda")}
    plan = moe_act.plan(**call, **options)
    plans = plan.alternatives()
    one_range = kind == "offsets" and input == "bf16" and not form
    assert {each.schedule for each in plans} == {"segments"} | ({"span"} if one_range else set()) and len(plans) > 4
    row_warps = [each.threads_per_cta // 32 // each.warps_per_row for each in plans]
    turns = [each.units_per_cta // warps for each, warps in zip(plans, row_warps, strict=True)]
    if "out_scaling" not in form:  # else all warps of a CTA work on one row
        assert any(warps > 1 and turn > 1 for warps, turn in zip(row_warps, turns, strict=True))
    assert max(turns) > 1
    assert any(each.grid[0] * each.units_per_cta < live.sum() for each in plans)
    for each in (plan, *plans):
        assert [get(tensor).tobytes() for tensor in each.run(**call)] == expected, str(each)

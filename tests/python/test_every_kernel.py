"""Every compiled kernel is reached by these cases, and every way to run them is right by the oracle.

The kernels of dense rows and int32 maps alone are test_gpu.py's.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import cases
import moe_act
import numpy as np
import pytest
from cases import Case
from moe_act import oracle
from moe_act.rows import ExpertEnds, ExpertOffsets, RowToExpert
from tensors import DEVICES, get, on_device

H100 = moe_act.DeviceInfo(multiprocessors=132, compute_capability=(9, 0), memory_gigabytes_per_second=3352)
CAPACITY, COLUMNS, EXPERTS = 70, 1088, 3  # a partial chunk for every width, and a partial block
ARGUMENTS = ("x", "x_scale", "rows", "bias", "alpha", "beta", "limit", "weight")  # of run, too

OUTPUTS: dict[str, dict[str, Any]] = {
    "e4m3 by 32, swizzled": {"out_block": 32, "out_scale_layout": "swizzled_128x4"},
    "e5m2 by 64, packed": {"out_format": "e5m2", "out_block": 64, "out_scale_layout": "packed_ue8m0"},
    "e4m3 by 128, for TMA": {"out_scale_layout": "tma_column_major", "scale_rounding": "power_of_two"},
    "e4m3": {},
    "e4m3 per row": {"out_scaling": "row"},
    "bf16": {"out_format": "bf16"},
    "fp16": {"out_format": "fp16"},
    "fp32": {"out_format": "fp32"},
}
X_SCALES = {"e4m3 by 32, swizzled": ("row_major", 32), "e5m2 by 64, packed": ("packed_ue8m0", 64)}
MODELS: dict[str, dict[str, Any]] = {
    "plain": {},
    "general": {"alpha": 1.7, "beta": 1.0, "limit": 3.0, "numerics": "deepgemm", "gate": "interleaved"},
    "general, by expert": {"activation": "geglu", "bias": np.linspace(-1, 1, EXPERTS * 2 * COLUMNS, dtype=np.float32)},
}


def call_of(schedule: str, index: str, input: str, output: str, model: str) -> tuple[dict[str, Any], np.ndarray]:
    """The arguments, and which rows are live; what is dead is NaN. Kernels that know plain scales alone take int32."""
    rng = np.random.default_rng(0)
    rows: RowToExpert | ExpertOffsets | ExpertEnds
    if schedule == "list":
        experts = rng.integers(-1, EXPERTS, CAPACITY)
        live, rows = experts >= 0, RowToExpert(experts.astype(index))
    else:
        live, ends = np.arange(CAPACITY) < 61, np.array([17, 17, 61], index)
        rows = ExpertEnds(ends) if schedule == "ends" else ExpertOffsets(np.insert(ends, 0, 0))
    x = np.full((CAPACITY, 2 * COLUMNS), 0xFFFF if input == "bf16" else 0xFF if input == "e4m3" else np.nan)
    x = x.astype(cases.CODES[input])
    x[live] = cases.values_of(rng, (int(live.sum()), 2 * COLUMNS), input)
    call: dict[str, Any] = {"x": x, "rows": rows} | OUTPUTS[output] | MODELS[model]
    if "bias" in call:
        call["bias"] = call["bias"].reshape(EXPERTS, 2 * COLUMNS)
    if input in ("e4m3", "bf16"):
        call["x_format"] = input
    if input == "e4m3":
        layout, block = X_SCALES.get(output, ("column_major", 128))
        scales = np.exp2(rng.integers(-6, 3, (CAPACITY, -(-2 * COLUMNS // block)))).astype(np.float32)
        call |= {"x_scale": moe_act.scales.from_rows(scales, layout), "x_scale_layout": layout, "x_block": block}
    return call, live


ALL = [
    (schedule, index, input, output, model)
    for schedule in ("list", "segments")
    for index in ("int32", "int64")
    for input in cases.INPUTS
    for output in OUTPUTS
    for model in MODELS
    if index == "int32" or model == "plain"
]
# Few rows of one range have kernels of their own, so that of those for segments ends reach some that offsets do not.
ALL += [("ends", "int32", input, output, "plain") for input in cases.INPUTS for output in OUTPUTS]


# What the planner may choose for each, on a GPU.
CHOSEN = {"list": {"list", "entry"}, "segments": {"segments", "span"}, "ends": {"segments"}}


def test_no_kernel_is_left_out() -> None:
    reached, schedules = set(), set()
    for names in ALL:
        plan = moe_act.plan(**call_of(*names)[0], device=H100)
        assert plan.schedule in CHOSEN[names[0]]
        schedules |= {each.schedule for each in plan.alternatives()}
        reached |= {each.kernel for each in (plan, *plan.alternatives())}
    assert schedules == CHOSEN["list"] | CHOSEN["segments"]
    for input in cases.INPUTS:
        for output in cases.OUTPUTS:
            for row_kind in cases.ROW_KINDS:
                problem = cases.build(Case(input, output, row_kind=row_kind, rows=67, columns=COLUMNS))
                plan = moe_act.plan(**problem.arguments, device=H100)
                reached |= {each.kernel for each in (plan, *plan.alternatives())}
    left_out = set(range(plan.kernels)) - reached
    assert len(left_out) == 2  # of marked rows, for which there has to be a workspace, which tensors of torch may have
    if find_spec("torch") is None:
        return
    import torch

    x, x_scale = torch.empty(67, 2 * COLUMNS, dtype=torch.float8_e4m3fn), torch.empty(2 * COLUMNS // 128, 67)
    for out_format in ("e4m3", "bf16"):
        map = {"expanded_idx_to_permuted_idx": torch.empty(67, dtype=torch.int32)}
        plan = moe_act.plan(x, x_scale, **map, out_format=out_format, device=H100)
        left_out -= {each.kernel for each in plan.alternatives() if each.workspace_bytes > 0}
    assert not left_out


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("schedule", "index", "input", "output", "model"), ALL)
def test_every_plan_by_the_oracle(schedule: str, index: str, input: str, output: str, model: str, device: str) -> None:
    call, live = call_of(schedule, index, input, output, model)
    options = {name: value for name, value in call.items() if name not in ARGUMENTS}
    arguments = {name: on_device(value, device) for name, value in call.items() if name in ARGUMENTS}
    plan = moe_act.plan(**(options | arguments))
    assert plan.schedule in (CHOSEN[schedule] if device == "cuda" else {""})
    expected: list[bytes] | None = None
    for each in (plan, *plan.alternatives()):
        out, out_scale = map(get, each.run(**arguments))
        found = [b"" if array is None else np.ascontiguousarray(array).tobytes() for array in (out, out_scale)]
        if expected is None:
            report = oracle.check(**call, out=out, out_scale=out_scale)
            assert report.ok, f"{each}\n{report.message}"
            assert report.rows == live.sum() and not out[~live].any()
            expected = found
        assert found == expected, f"{each} gives other bytes"

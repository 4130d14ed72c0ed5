"""What a plan was not made for: told in one line, and nothing is written."""

from __future__ import annotations

import re
from typing import Any

import cases
import moe_act
import numpy as np
import pytest
from tensors import DEVICES, get, put, same_bytes


def mismatches() -> dict[str, tuple[dict[str, Any], str]]:
    """What is another than the plan's, and what the error begins with. The plan's: e4m3 [6, 384] in, map of [3, 2]."""

    def ones(*shape: int, dtype: Any = np.float32) -> np.ndarray:
        return np.ones(shape, dtype)

    fewer = {"x": ones(5, 384, dtype=np.uint8), "x_scale": ones(3, 5), "out": None, "out_scale": None}
    narrow = {"x": ones(6, 256, dtype=np.uint8), "x_scale": ones(2, 6), "out": None, "out_scale": None}
    gapped = cases._strided(ones(6, 384, dtype=np.uint8), 16, False)
    return {
        "rows": (fewer, "x rows: the plan was made for 6, got 5"),
        "columns": (narrow, "x columns / 2: the plan was made for 192, got 128"),
        "x stride": ({"x": gapped}, "x row stride: the plan was made for 384, got 400"),
        "out stride": ({"out": gapped[:, :192]}, "out row stride: the plan was made for 192, got 400"),
        "x_scale stride": ({"x_scale": ones(3, 9)}, "x_scale stride: the plan was made for 6, got 9"),
        "out_scale stride": ({"out_scale": ones(2, 8)}, "out_scale stride: the plan was made for 6, got 8"),
        "map length": (
            {"expanded_idx_to_permuted_idx": np.zeros(5, np.int32)},
            "expanded_idx_to_permuted_idx length: the plan was made for 6, got 5",
        ),
        "no map": (
            {"expanded_idx_to_permuted_idx": None},
            "row_kind: the plan was made for 'expanded_to_permuted', got 'dense'",
        ),
        "map dtype": (
            {"expanded_idx_to_permuted_idx": np.zeros(6, np.int64)},
            "bits of the row index: the plan was made for 32, got 64",
        ),
        "map rank": (
            {"expanded_idx_to_permuted_idx": np.zeros((3, 2, 1), np.int32)},
            "expanded_idx_to_permuted_idx: expected int32 or int64 [expanded_rows] or [tokens, top_k], "
            "got int32 [3, 2, 1]",
        ),
        "dtype": ({"x": ones(6, 384, dtype=np.float16)}, "x: expected e4m3 or an integer view of it"),
        "static_scale": ({"static_scale": ones(1)}, "static_scale: expected none"),
        "x_scale": ({"x_scale": None}, "x_scale: expected a tensor, got none: e4m3 input needs its scales"),
        "x alignment": ({"x": "misaligned"}, "x: the plan was promised data aligned to 16 bytes, got 1"),
        "out alignment": ({"out": "misaligned"}, "out: the plan was promised data aligned to 16 bytes, got 1"),
    }


def planned_call() -> dict[str, Any]:
    return {
        "x": cases._strided(np.full((6, 384), 0x38, np.uint8), 0, False),
        "x_scale": np.ones((3, 6), np.float32),
        "out": cases._strided(cases.poisoned((6, 192), np.uint8), 0, False),
        "out_scale": cases.poisoned((2, 6), np.float32),
        "expanded_idx_to_permuted_idx": np.array([[3, -1], [0, 5], [-1, 1]], np.int32),
    }


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("binds", [False, True], ids=["run", "bind"])
@pytest.mark.parametrize("name", mismatches())
def test_what_a_plan_was_not_made_for(name: str, binds: bool, device: str) -> None:
    """Refused by a run, and when a launch is bound, in the same words."""
    changes, begins = mismatches()[name]
    call = planned_call()
    for argument in [argument for argument, value in changes.items() if isinstance(value, str)]:
        changes = changes | {argument: cases._strided(call[argument], 0, True)}
    call = {argument: put(array, device) for argument, array in call.items()}
    plan = moe_act.plan(**call, x_format="e4m3")
    changed = call | {argument: put(array, device) for argument, array in changes.items()}
    with pytest.raises((ValueError, TypeError), match=f"^{re.escape(begins)}") as raised:
        (plan.bind if binds else plan.run)(**changed)
    assert "\n" not in str(raised.value)
    for result in (call["out"], call["out_scale"]):
        assert (get(result).view(np.uint8) == cases.POISON).all(), "something was written"
    if binds:
        plan.bind(**call).run()
    else:
        plan.run(**call)
    assert not (get(call["out"])[[0, 1, 3, 5]] == cases.POISON).any()


def test_parameters_that_a_plan_was_not_made_for() -> None:
    x, limits = np.ones((4, 256), np.float32), np.ones(2, np.float32)
    rows = moe_act.rows.ExpertOffsets(np.int32([0, 1, 4]))
    for planned, given, says in (
        (7.0, 8.0, "7.0, got 8.0"),
        (0.1, 0.1 + 2.0**-27, "0.1, got 0.10000001"),
        (7.0, limits, "'number', got 'one for each expert'"),
        (limits, 7.0, "'one for each expert', got 'number'"),
        (limits, None, "'one for each expert', got 'none'"),
        (None, 7.0, "'none', got 'number'"),
    ):
        plan = moe_act.plan(x, rows=rows, limit=planned)
        with pytest.raises(ValueError, match=f"^limit: the plan was made for {re.escape(says)}$"):
            plan.run(x, rows=rows, limit=given)
    plan = moe_act.plan(x, rows=rows, limit=7.0)
    assert same_bytes(plan.run(x, rows=rows).out, plan.run(x, rows=rows, limit=7.0).out)


def test_tensors_that_a_plan_was_not_made_with() -> None:
    """Either way, in words."""
    x, ones = np.ones((4, 256), np.float32), np.ones(4, np.float32)
    ends = moe_act.rows.ExpertEnds(np.int32([1, 4]))
    tiles = moe_act.rows.Dense(tile_to_expert=np.int32([0, 1]), tile_tokens=2)
    for argument, bare, given in (
        ("weight", {}, {"weight": ones}),
        ("bias", {"rows": ends}, {"bias": np.ones((2, 256), np.float32)}),
        ("out_unquantized", {}, {"out_unquantized": np.ones((4, 128), np.float32)}),
        ("total_num_padded_tokens", {}, {"out_scale": ones, "total_num_padded_tokens": np.int32([4])}),
        ("tile_to_expert", {}, {"rows": tiles}),
    ):
        with pytest.raises(ValueError, match=f"^{argument}: the plan was made with this tensor, got none$"):
            moe_act.plan(x, **bare, **given).run(x, **bare)
        with pytest.raises(ValueError, match=f"^{argument}: the plan was made without this tensor, got one$"):
            moe_act.plan(x, **bare).run(x, **bare, **given)

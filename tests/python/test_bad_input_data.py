"""What only the data shows: refused under `validate=True`, and harmless to memory without it."""

from __future__ import annotations

import re
from typing import Any

import cases
import moe_act
import numpy as np
import pytest
from moe_act.rows import Dense, ExpertEnds, ExpertOffsets, RowToExpert, SortedTokenIds, TileLimits, ValidPrefix
from tensors import DEVICES, get, on_device

ROWS, COLUMNS = 6, 192
MAP, TOTAL, STATIC = "expanded_idx_to_permuted_idx", "total_num_padded_tokens", "static_scale"


def int32(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def float32(value: float) -> np.ndarray:
    return np.array([value], np.float32)


def call_with(changes: dict[str, Any], device: str) -> dict[str, Any]:
    """fp32 to e4m3, block scaled unless a static scale is given, flat scales if a total is."""
    call: dict[str, Any] = {"x": np.ones((ROWS, 2 * COLUMNS), np.float32)}
    call["out"] = cases.poisoned((ROWS, COLUMNS), np.uint8)
    if STATIC not in changes:
        call["out_scale"] = cases.poisoned((2 * ROWS,) if TOTAL in changes else (2, ROWS), np.float32)
    return {name: on_device(value, device) for name, value in (call | changes).items()}


ONE_EXPERT = Dense(tile_to_expert=int32(0), tile_tokens=ROWS)
TWO_EXPERTS = Dense(tile_to_expert=int32(0, 1), tile_tokens=ROWS // 2)
BAD = {
    "alpha of an expert is 0": ({"alpha": float32(0), "rows": ONE_EXPERT}, "alpha", "that of expert 0 is 0.0"),
    "beta of an expert": ({"beta": float32(np.inf), "rows": ONE_EXPERT}, "beta", "is inf, expected a finite number"),
    "limit of an expert": ({"limit": float32(-1e-30), "rows": ONE_EXPERT}, "limit", "is -1e-30, expected a positive"),
    "alpha of an expert is NaN": (
        {"alpha": np.float32([1, np.nan]), "rows": TWO_EXPERTS},
        "alpha",
        "that of expert 1 is nan, expected a finite number other than 0",
    ),
    "beta of an expert is NaN": (
        {"beta": np.float32([np.nan, 1]), "rows": TWO_EXPERTS},
        "beta",
        "that of expert 0 is nan, expected a finite number",
    ),
    "limit of an expert is NaN": (
        {"limit": np.float32([7, np.nan]), "rows": TWO_EXPERTS},
        "limit",
        "that of expert 1 is nan, expected a positive number",
    ),
    "map below -1": ({MAP: int32(3, -2)}, MAP, "entry 1 is -2, expected -1 or a row below 6"),
    "map far below -1": ({MAP: int32(-(2**31))}, MAP, "entry 0 is -2147483648, expected -1 or a row below 6"),
    "map at the rows": ({MAP: int32(0, 1, 6)}, MAP, "entry 2 is 6, expected -1 or a row below 6"),
    "map far above": ({MAP: int32(2**31 - 1)}, MAP, "entry 0 is 2147483647"),
    "map names a row twice": (
        {MAP: int32(4, -1, -1, 4)},
        MAP,
        "entry 3 is 4, a row that an earlier entry names already",
    ),
    "map in a matrix": ({MAP: int32(0, 1, -5, 2).reshape(2, 2)}, MAP, "entry 2 is -5"),
    "total above the rows": ({TOTAL: int32(7)}, TOTAL, "is 7, expected at most the 6 rows of x"),
    "total below 0": ({TOTAL: int32(-1), MAP: int32(-1)}, TOTAL, "is -1, expected at most the 6 rows of x"),
    "total at a row of the map": (
        {TOTAL: int32(4), MAP: int32(2, 4, -1)},
        TOTAL,
        "is 4, expected more than the largest",
    ),
    "total below the dense rows": ({TOTAL: int32(5)}, TOTAL, "is 5, expected more than the largest row in use, 5"),
    "total at a row of the prefix": (
        {TOTAL: int32(3), "rows": ValidPrefix(int32(4))},
        TOTAL,
        "is 3, expected more than the largest row in use, 3",
    ),
    "total at a row of the last segment": (
        {TOTAL: int32(4), "rows": ExpertEnds(int32(1, 5), 4)},
        TOTAL,
        "is 4, expected more than the largest row in use, 4",
    ),
    "static scale 0": ({STATIC: float32(0)}, STATIC, "expected a number from 2^-126 to 2^126"),
    "static scale below 0": ({STATIC: float32(-1)}, STATIC, "is -1"),
    "static scale too small": (
        {STATIC: float32(2.0**-127)},
        STATIC,
        "is 5.877472e-39, expected a number from 2^-126 to 2^126",
    ),
    "static scale too large": ({STATIC: float32(2.0**127)}, STATIC, "to 2^126"),
    "static scale infinite": ({STATIC: float32(np.inf)}, STATIC, "is inf"),
    "static scale NaN": ({STATIC: float32(np.nan)}, STATIC, "is nan"),
}

GOOD = {
    "map": {MAP: int32(5, -1, 0, -1, -1, 3, -1)},
    "map of nothing": {MAP: int32(-1, -1)},
    "empty map": {MAP: int32()},
    "total": {TOTAL: int32(6)},
    "total above the map": {TOTAL: int32(5), MAP: int32(4, -1, 2)},
    "total of nothing": {TOTAL: int32(0), MAP: int32(-1)},
    "total at the end of the prefix": {TOTAL: int32(3), "rows": ValidPrefix(int32(3))},
    "total behind the last live row": {TOTAL: int32(4), "rows": RowToExpert(int32(-1, 0, -1, 2, -1, -1))},
    "total behind the last segment": {TOTAL: int32(5), "rows": ExpertOffsets(int32(0, 2, 5))},
    "total behind the last live tile": {TOTAL: int32(2), "rows": TileLimits(int32(2, 6), 3, int32(1))},
    "limits of tiles that are not live": {"rows": TileLimits(int32(2, -7, 10**9), 2, int32(1))},
    "ids behind those in use": {"rows": SortedTokenIds(int32(1, 0, 1, 1), 4, int32(2), "id")},
    "smallest static scale": {STATIC: float32(2.0**-126)},
    "largest static scale": {STATIC: float32(2.0**126)},
}


# The rows of those that have no map.
LIVE = {
    "total at the end of the prefix": [0, 1, 2],
    "total behind the last live row": [1, 3],
    "total behind the last segment": [0, 1, 2, 3, 4],
    "total behind the last live tile": [0, 1],
    "limits of tiles that are not live": [0, 1],
    "ids behind those in use": [0, 1],
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("by_plan", [False, True], ids=["call", "plan"])
@pytest.mark.parametrize("name", BAD)
def test_refused_under_validate(name: str, by_plan: bool, device: str) -> None:
    changes, argument, says = BAD[name]
    call = call_with(changes, device)
    run = moe_act.plan(**call).run if by_plan else moe_act.gated_act_quant
    with pytest.raises(ValueError, match=f"^{re.escape(argument)}: ") as raised:
        run(**call, validate=True)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
    for result in (call["out"], call.get("out_scale")):
        if result is not None:
            assert (get(result).view(np.uint8) == cases.POISON).all(), "something was written"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", GOOD)
def test_accepted_under_validate(name: str, device: str) -> None:
    call = call_with(GOOD[name], device)
    moe_act.gated_act_quant(**call, validate=True)
    written = (get(call["out"]) != cases.POISON).any(axis=1)
    live = LIVE.get(name, GOOD[name].get(MAP, np.arange(ROWS)))
    assert set(np.flatnonzero(written)) == {row for row in live if row >= 0}


@pytest.mark.parametrize("device", DEVICES)
def test_map_values_out_of_range_are_skipped(device: str) -> None:
    """Without `validate` they cost nothing and touch nothing."""
    entries = int32(-(2**31), 3, -2, 6, 2**31 - 1, 1, 7, -1)
    call = call_with({MAP: entries}, device)
    moe_act.gated_act_quant(**call)
    out, out_scale = get(call["out"]), get(call["out_scale"])
    done = np.isin(np.arange(ROWS), [1, 3])
    assert (out[done] != cases.POISON).all()
    assert (out_scale.T[done] > 0).all()
    assert (out[~done] == cases.POISON).all()
    assert (np.ascontiguousarray(out_scale.T[~done]).view(np.uint8) == cases.POISON).all()

"""What rows that are not done hold: which default applies, row scales in every layout, what DeepGEMM asserts."""

from __future__ import annotations

from typing import Any

import moe_act
import numpy as np
import pytest
from moe_act import rows as conventions
from tensors import DEVICES, get, put

ROWS, COLUMNS = 12, 192
LIVE = 5
NAN_BYTE = 0xFF


def full_of_nan(*shape: int, dtype: Any) -> np.ndarray:
    array = np.empty(shape, dtype)
    array.view(np.uint8).fill(NAN_BYTE)
    return array


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


# Every kind whose padding can be told, with the rows that are live.
PADDED: dict[str, tuple[type, dict[str, Any], list[int]]] = {
    "prefix": (conventions.ValidPrefix, {"valid_rows": ints(LIVE)}, [0, 1, 2, 3, 4]),
    "tile limits": (conventions.TileLimits, {"tile_limits": ints(2, 4, 9), "tile_tokens": 4}, [0, 1, 8]),
    "live tiles": (
        conventions.TileLimits,
        {"tile_limits": ints(2, 7, 999), "tile_tokens": 4, "num_live_tiles": ints(2)},
        [0, 1, 4, 5, 6],
    ),
    "row to expert": (conventions.RowToExpert, {"row_to_expert": ints(*([3, -1] * 6))}, [0, 2, 4, 6, 8, 10]),
    "sorted ids": (
        conventions.SortedTokenIds,
        {
            "sorted_token_ids": ints(2, 9, 0, 9, 1, 7, 0, 0, 0, 0, 0, 0),
            "num_valid_ids": 4,
            "num_tokens_post_padded": ints(6),
        },
        [0, 2, 4],
    ),
    "offsets": (conventions.ExpertOffsets, {"expert_offsets": ints(0, 3, 3, 7)}, [0, 1, 2, 3, 4, 5, 6]),
    "ends": (conventions.ExpertEnds, {"expert_ends": ints(3, 3, 9), "expert_alignment": 4}, [0, 1, 2, 4, 5, 6, 7, 8]),
    "dense, tiles of experts": (
        conventions.Dense,
        {"tile_to_expert": ints(1, -1, 0), "tile_tokens": 4},
        [0, 1, 2, 3, 8, 9, 10, 11],
    ),
}


def call_of(kind: str, device: str, **arguments: Any) -> tuple[dict[str, Any], np.ndarray]:
    """x and rows on the device with what else is given, and which rows are live."""
    convention, fields, live = PADDED[kind]
    x = np.random.default_rng(0).standard_normal((ROWS, 2 * COLUMNS), np.float32)
    rows = convention(**{name: put(value, device) for name, value in fields.items()})
    placed = {name: put(value, device) for name, value in {"x": x, **arguments}.items()}
    return placed | {"rows": rows}, np.isin(np.arange(ROWS), live)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("given", ["nothing", "out", "out_scale", "both"])
@pytest.mark.parametrize("kind", PADDED)
def test_padding_is_zeroed_where_a_result_is_allocated(kind: str, given: str, device: str) -> None:
    arrays = {}
    if given in ("out", "both"):
        arrays["out"] = full_of_nan(ROWS, COLUMNS, dtype=np.uint8)
    if given in ("out_scale", "both"):
        arrays["out_scale"] = full_of_nan(2, ROWS, dtype=np.float32)
    call, live = call_of(kind, device, **arrays)
    for run in (moe_act.gated_act_quant, moe_act.plan(**call).run):
        out, out_scale = map(get, run(**call))
        assert (out_scale.T[live] > 0).all() and (out[live] != NAN_BYTE).any(axis=1).all()
        if given == "both":
            assert (out[~live] == NAN_BYTE).all() and np.isnan(out_scale.T[~live]).all()
        else:
            assert not out[~live].any() and (out_scale.T[~live] == 1).all()


@pytest.mark.parametrize("device", DEVICES)
def test_a_given_result_without_scales_keeps_its_padding(device: str) -> None:
    for options in ({"out_format": "fp32"}, {"static_scale": np.ones(1, np.float32)}):
        dtype = np.float32 if "out_format" in options else np.uint8
        call, live = call_of("prefix", device, out=full_of_nan(ROWS, COLUMNS, dtype=dtype), **options)
        out = get(moe_act.gated_act_quant(**call).out)
        assert (np.ascontiguousarray(out[~live]).view(np.uint8) == NAN_BYTE).all()
        assert (np.ascontiguousarray(out[live]).view(np.uint8) != NAN_BYTE).any()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layout", moe_act.scales.LAYOUTS)
@pytest.mark.parametrize("kind", PADDED)
def test_one_scale_for_a_row_lies_alike_in_every_layout(kind: str, layout: Any, device: str) -> None:
    call, live = call_of(kind, device)
    options: dict[str, Any] = {"out_scaling": "row", "out_scale_layout": layout}
    out, out_scale = map(get, moe_act.gated_act_quant(**call, **options))
    assert out_scale.shape == (ROWS,) and out_scale.dtype == np.float32
    assert (out_scale[~live] == 1).all() and (out_scale[live] < 1).all()
    memory = full_of_nan(ROWS + 2048, dtype=np.float32)  # the scales, and what lies behind them
    tensor = put(memory, device)
    given, _ = call_of(kind, device, out=full_of_nan(ROWS, COLUMNS, dtype=np.uint8))
    moe_act.gated_act_quant(**given, **options, out_scale=tensor[:ROWS], padding="zero")
    assert (get(given["out"]) == out).all()
    assert (get(tensor)[:ROWS] == out_scale).all() and np.isnan(get(tensor)[ROWS:]).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layout", ["row_major", "column_major", "tma_column_major"])
@pytest.mark.parametrize("kind", [*PADDED, "masked"])
def test_every_row_satisfies_what_deepgemm_asserts(kind: str, layout: Any, device: str) -> None:
    """Before it packs fp32 scales on Blackwell: each is an exact power of two, in padding rows, too."""
    if kind == "masked":
        x = np.random.default_rng(0).standard_normal((3, ROWS, 2 * COLUMNS), np.float32)
        call = {"x": put(x, device), "rows": conventions.Masked(put(ints(LIVE, 0, ROWS), device))}
    else:
        call, _ = call_of(kind, device)
    scale = get(moe_act.gated_act_quant(**call, out_scale_layout=layout, scale_rounding="power_of_two").out_scale)
    bits = np.ascontiguousarray(scale).view(np.uint32)
    assert bits.size >= ROWS and not (bits & 0x807FFFFF).any() and (bits > 0).all()

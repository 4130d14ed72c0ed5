"""Problems and pointers of row conventions, parameters and copies that only the C interface can be given."""

from __future__ import annotations

import ctypes
from typing import Any

import c_interface as c
import cases
import numpy as np
import pytest

INVALID = c.constants["MOE_ACT_INVALID_PROBLEM"]
ROWS = {n.removeprefix("MOE_ACT_ROWS_").lower(): v for n, v in c.constants.items() if n.startswith("MOE_ACT_ROWS_")}
BF16, PER_EXPERT = c.constants["MOE_ACT_FORMAT_BF16"], c.constants["MOE_ACT_PARAMETER_PER_EXPERT"]
TMA = c.constants["MOE_ACT_SCALE_LAYOUT_TMA_COLUMN_MAJOR"]
MASKED = {"row_kind": ROWS["masked"], "experts": 2, "x_expert_stride": 2304, "out_expert_stride": 1152}
MASKED |= {"x_scale_expert_stride": 18, "out_scale_expert_stride": 12}
SORTED = {"row_kind": ROWS["sorted_token_ids"], "entries": 6, "num_valid_ids": 6}
LIMITS = {"row_kind": ROWS["tile_limits"], "entries": 2, "tile_tokens": 3}
OFFSETS = {"row_kind": ROWS["expert_offsets"], "experts": 2}
ENDS = {"row_kind": ROWS["expert_ends"], "experts": 2, "expert_alignment": 4}
NAN = float("nan")

# What is set in a good problem of [6, 2 x 192] e4m3, and what the error begins with.
PROBLEMS: list[tuple[dict[str, Any], str]] = [
    ({"experts": 1}, "experts: expected 0 for these rows, got 1"),
    (OFFSETS | {"experts": -1}, "experts: expected at least 0, got -1"),
    (MASKED | {"experts": 2**40, "rows": 2**31}, "rows: expected at most 2^53 of all experts, got 1099511627776 x "),
    (MASKED | {"x_expert_stride": 2**62}, "x: its extent of 2 x 4611686018427387904 elements exceeds"),
    (MASKED | {"x_expert_stride": 2303}, "x: expected experts at least 2304 elements apart, got 2303"),
    (MASKED | {"out_expert_stride": 0}, "out: expected experts at least 1152 elements apart, got 0"),
    (MASKED | {"x_scale_expert_stride": 17}, "x_scale: expected experts at least 18 elements apart, got 17"),
    (MASKED | {"out_scale_expert_stride": -1}, "out_scale: expected experts at least 12 elements apart, got -1"),
    (
        MASKED | {"out_scale_layout": TMA, "out_scale_stride": 8, "out_scale_expert_stride": 18},
        "out_scale: expected experts a multiple of 4 elements (16 bytes) apart, got 18",
    ),
    ({"x_expert_stride": 2304}, "x_expert_stride: expected 0 for these rows, got 2304"),
    ({"out_scale_expert_stride": 12}, "out_scale_expert_stride: expected 0 for these rows, got 12"),
    ({"tile_tokens": 3}, "tile_tokens: expected 0 for these rows, got 3"),
    (LIMITS | {"tile_tokens": 0}, "tile_tokens: expected at least 1, got 0"),
    (LIMITS | {"tile_tokens": 2**62}, "tile_tokens: expected at most 2^40"),
    (ENDS | {"expert_alignment": 0}, "expert_alignment: expected at least 1, got 0"),
    (ENDS | {"expert_alignment": 2**62}, "expert_alignment: expected at most 2^40"),
    (OFFSETS | {"expert_alignment": 4}, "expert_alignment: expected 0 for these rows, got 4"),
    (SORTED | {"num_valid_ids": -1}, "num_valid_ids: expected at least 0, got -1"),
    (SORTED | {"sorted_rows": 3}, "sorted_rows: expected one of 'position', 'id', got value 3"),
    ({"sorted_rows": 2}, "sorted_rows: expected 'position' for these rows"),
    (LIMITS | {"index_bits": 16}, "index_bits: expected 32 or 64, got 16"),
    (LIMITS | {"count_bits": -1}, "count_bits: expected 32 or 64, got -1"),
    ({"x_block": 16}, "x_block: expected 32, 64 or 128 columns that share a scale, got 16"),
    ({"out_block": -128}, "out_block: expected 32, 64 or 128 columns that share a scale, got -128"),
    ({"x_scale_format": 3}, "x_scale_format: expected one of 'fp32', 'ue8m0', got value 3"),
    ({"out_scale_format": -7}, "out_scale_format: expected one of 'fp32', 'ue8m0', got value -7"),
    ({"scale_rounding": 5}, "scale_rounding: expected one of 'none', 'power_of_two', got value 5"),
    ({"gate": 3, "interleave": 4}, "interleave: expected 1, 8 or 32 columns, got 4"),
    ({"gate": 3, "interleave": 32, "columns": 16}, "interleave: expected a divisor of the 16 columns"),
    ({"alpha_from": 9}, "alpha: expected none (0), a scalar (1) or one for each expert (2), got 9"),
    ({"alpha_from": 1, "alpha": NAN}, "alpha: expected a finite number other than 0, got "),
    ({"beta_from": 1, "beta": float("inf")}, "beta: expected a finite number, got inf"),
    *(({"limit_from": 1, "limit": limit}, "limit: expected a positive number, got ") for limit in (0, -1, NAN)),
    ({"limit": 1}, "limit: expected 0 where it is not a scalar, got 1"),
    ({"limit_from": PER_EXPERT}, "limit: expected at least one expert, got 0"),
    ({"gate_bound": 1}, "gate_bound: expected none: only 'situ' has bounds, got 1"),
    (
        {"activation": 6, "gate_bound": NAN, "up_bound": 1},
        "gate_bound: expected a positive number, from 2^-126 to 2^125, got ",
    ),
    ({"bias_format": 6, "parameter_experts": 2} | OFFSETS, "bias: expected fp32 or bf16, got format 6"),
    ({"bias_format": BF16}, "bias: expected at least one expert, got 0"),
    ({"parameter_experts": 2}, "parameter_experts: expected 0 without bias and per-expert parameters, got 2"),
    ({"weights": 6}, "weight: expected 0 weights where there are none, got 6"),
    ({"has_weight": 1}, "weight: expected 6 weights, got 0"),
    ({"has_weight": 1, "weights": 2**62}, "weights: expected at most 2^53"),
    ({"expert_tiles": 2, "tile_tokens": 3} | OFFSETS, "tile_to_expert: expected none: rows are 'expert_offsets', "),
    ({"expert_tiles": 2}, "tile_tokens: expected at least 1, got 0"),
    ({"expert_tiles": 2**62, "tile_tokens": 3}, "expert_tiles: expected at most 2^53"),
    ({"expert_tiles": 2, "tile_tokens": 3, "tile_to_expert_bits": 8}, "tile_to_expert_bits: expected 32 or 64, got 8"),
    ({"unquantized_format": 4}, "out_unquantized: expected fp32, fp16 or bf16, got format 4"),
    ({"unquantized_format": 1}, "out_unquantized: expected rows at least 192 elements apart, got 0"),
    ({"preset": 8}, "preset: expected one of 'flashinfer', "),
    ({"preset": 7}, "preset: 'te_mxfp8' expects x in bf16, fp16, fp32, got e4m3"),
    ({"smallest_scale": NAN}, "smallest_scale: expected a number from 2^-126 to 2^126, got "),
]


def assert_failed(status: int, begins: str) -> None:
    assert status == INVALID, c.last_error()
    assert c.last_error().startswith(begins), c.last_error()
    assert "\n" not in c.last_error()


@pytest.mark.parametrize(("changes", "begins"), PROBLEMS, ids=lambda value: str(value)[:50])
def test_problems_that_cannot_be(changes: dict[str, Any], begins: str) -> None:
    described = c.problem(6, 192)
    for name, value in changes.items():
        setattr(described, name, value)
    plan = c.Plan(described)
    assert_failed(plan.status, begins)
    assert plan.handle.value is None


def int32(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def int64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


# What is set in the good problem, the buffers that it then has beside the usual, and the names of two of them.
Kind = tuple[dict[str, Any], dict[str, np.ndarray], dict[str, str]]
TILES = {"expert_tiles": 2, "tile_tokens": 3, "tile_to_expert_bits": 64}
KINDS: dict[str, Kind] = {
    "prefix": ({"row_kind": ROWS["valid_prefix"], "count_bits": 64}, {"row_count": int64(3)},
               {"row_count": "valid_rows"}),
    "limits": (LIMITS, {"row_index": int32(3, 6)}, {"row_index": "tile_limits"}),
    "row to expert": ({"row_kind": ROWS["row_to_expert"], "entries": 6, "index_bits": 64},
                      {"row_index": int64(*range(6))}, {"row_index": "row_to_expert"}),
    "sorted ids": (SORTED, {"row_index": int32(*range(6)), "row_count": int32(6)},
                   {"row_index": "sorted_token_ids", "row_count": "num_tokens_post_padded"}),
    "offsets": (OFFSETS, {"row_index": int32(0, 2, 6)}, {"row_index": "expert_offsets"}),
    "ends": (ENDS, {"row_index": int32(2, 6)}, {"row_index": "expert_ends"}),
    "bias": (TILES | {"bias_format": 1, "bias_expert_stride": 384, "parameter_experts": 2},
             {"tile_to_expert": int64(0, 1), "bias": ones(2, 384)}, {}),
    "parameters": (
        OFFSETS | {"alpha_from": 2, "beta_from": 2, "limit_from": 2, "parameter_experts": 2},
        {"row_index": int32(0, 2, 6), "alpha": ones(2), "beta": ones(2), "limit": ones(2)},
        {"row_index": "expert_offsets"},
    ),
    "weight": (
        ENDS | {"has_weight": 1, "weights": 6, "permuted_to_expanded_bits": 64},
        {"row_index": int32(2, 6), "weight": ones(6), "permuted_to_expanded": int64(*range(6))},
        {"row_index": "expert_ends"},
    ),
    "copy": ({"unquantized_format": 1, "unquantized_row_stride": 192}, {"out_unquantized": ones(6, 192)}, {}),
}  # fmt: skip


def prepared(kind: str) -> tuple[c.Plan, dict[str, Any]]:
    """A plan, and the buffers that it needs."""
    fields, extra, _ = KINDS[kind]
    described = c.problem(6, 192)
    described.x_alignment = described.out_alignment = 1
    for name, value in fields.items():
        setattr(described, name, value)
    plan = c.Plan(described)
    assert plan.status == 0, c.last_error()
    usual = {
        "x": np.full((6, 384), 0x38, np.uint8),
        "x_scale": ones(3, 6),
        "out": cases.poisoned((6, 192), np.uint8),
        "out_scale": cases.poisoned((2, 6), np.float32),
    }
    return plan, usual | {name: array.copy() for name, array in extra.items()}


def assert_untouched(arrays: dict[str, Any]) -> None:
    for name in ("out", "out_scale"):
        assert (arrays[name].view(np.uint8) == cases.POISON).all(), f"{name} was written"


EXTRA = [(kind, name) for kind, (_, extra, _) in KINDS.items() for name in extra]


@pytest.mark.parametrize(("kind", "name"), EXTRA)
def test_null_pointers(kind: str, name: str) -> None:
    plan, arrays = prepared(kind)
    status = plan.launch(c.buffers(**(arrays | {name: None})))
    assert_failed(status, f"{KINDS[kind][2].get(name, name)}: expected data, got null")
    assert_untouched(arrays)
    assert plan.launch(c.buffers(**arrays)) == 0, c.last_error()
    assert (arrays["out"] != cases.POISON).any()


@pytest.mark.parametrize(("kind", "name"), EXTRA)
def test_pointers_off_the_alignment_of_their_elements(kind: str, name: str) -> None:
    plan, arrays = prepared(kind)
    size = arrays[name].itemsize
    address = arrays[name].ctypes.data + size // 2
    for run in (plan.launch, lambda buffers: c.library.moe_act_validate(plan.handle, ctypes.byref(buffers), None)):
        status = run(c.buffers(**(arrays | {name: address})))
        assert_failed(status, f"{KINDS[kind][2].get(name, name)}: the plan was promised data aligned to {size} bytes")
    assert_untouched(arrays)


@pytest.mark.parametrize(
    ("kind", "superfluous"), sorted({(k, n) for k in KINDS for _, n in EXTRA if n not in KINDS[k][1]})
)
def test_pointers_that_nothing_is_done_with(kind: str, superfluous: str) -> None:
    plan, arrays = prepared(kind)
    if (kind, superfluous) == ("limits", "row_count"):
        pytest.skip("the number of live tiles may be given")
    status = plan.launch(c.buffers(**arrays, **{superfluous: int64(*range(200))}))
    assert status == INVALID
    assert c.last_error().endswith(": the plan has no use for it, expected null"), c.last_error()
    assert_untouched(arrays)


@pytest.mark.parametrize("name", ["row_index", "weight", "permuted_to_expanded", "x"])
def test_results_over_what_is_read(name: str) -> None:
    plan, arrays = prepared("weight")
    before = arrays[name].tobytes()
    assert_failed(plan.launch(c.buffers(**(arrays | {"out_scale": arrays[name].ctypes.data}))), "out_scale: overlaps ")
    assert arrays[name].tobytes() == before


def test_a_copy_over_another_result() -> None:
    plan, arrays = prepared("copy")
    status = plan.launch(c.buffers(**(arrays | {"out_unquantized": arrays["out_scale"].ctypes.data})))
    assert_failed(status, "out_scale: overlaps out_unquantized, expected memory of its own")
    assert_untouched(arrays)

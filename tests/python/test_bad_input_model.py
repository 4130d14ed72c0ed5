"""Activations, parameters, bias, weights, copies and numerics that cannot be: refused by name, nothing written."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import cases
import moe_act
import numpy as np
import pytest
from moe_act import Numerics
from moe_act.rows import Dense, ExpertOffsets, Masked, RowToExpert, SortedTokenIds, TileLimits, ValidPrefix
from refusals import check_refused, ints, ones
from tensors import DEVICES, Exporter, get, on_device

ROWS, COLUMNS, EXPERTS = 6, 192, 2
Call = dict[str, Any]


SEGMENTS = {"rows": ExpertOffsets(ints(0, 2, 6))}
TILES: Call = {"rows": Dense(tile_to_expert=ints(0, 1), tile_tokens=3)}
BIASED = SEGMENTS | {"bias": ones(EXPERTS, 2 * COLUMNS)}
E4M3: Call = {"x": ones(ROWS, 2 * COLUMNS, dtype=np.uint8), "x_format": "e4m3", "x_scale": ones(3, ROWS)}
PER_EXPERT = SEGMENTS | {"alpha": ones(EXPERTS)}
COPY: Call = {"out_unquantized": cases.poisoned((ROWS, COLUMNS), np.float32)}
UNGATED: Call = {"x": ones(ROWS, COLUMNS), "activation": "relu"}
PLAIN: Call = {"out": cases.poisoned((ROWS, COLUMNS), np.float32), "out_format": "fp32"}
MASKED: Call = {
    "x": ones(EXPERTS, ROWS, 2 * COLUMNS),
    "out": cases.poisoned((EXPERTS, ROWS, COLUMNS), np.uint8),
    "rows": Masked(ints(1, 2)),
}


def good_call() -> Call:
    return {"x": ones(ROWS, 2 * COLUMNS), "out": cases.poisoned((ROWS, COLUMNS), np.uint8)}


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def in_one_memory() -> Call:
    """out_unquantized begins in the last row of out."""
    memory = cases.poisoned((ROWS * COLUMNS * 5,), np.uint8)
    out = memory[: ROWS * COLUMNS].reshape(ROWS, COLUMNS)
    copy = memory[ROWS * COLUMNS - 4 :][: 4 * ROWS * COLUMNS].view(np.float32).reshape(ROWS, COLUMNS)
    return {"out": out, "out_unquantized": copy}


def x_is_its_copy() -> Call:
    x = ones(ROWS, 2 * COLUMNS)
    return {"x": x, "out_unquantized": x[:, :COLUMNS]}


class Bad(NamedTuple):
    name: str
    changes: Call
    error: type[Exception]
    argument: str
    says: tuple[str, ...]


ACTIVATIONS = [
    Bad("a gate order without a gate", UNGATED | {"gate": "first_half"}, ValueError, "gate",
        ("'relu' has no gate order", "got 'first_half'")),
    Bad("an interleaved gate without a gate", UNGATED | {"gate": "interleaved"}, ValueError, "gate",
        ("'relu' has no gate order",)),
    Bad("as many columns as with a gate", {"activation": "silu"}, ValueError, "out", ("[6, 384]", "uint8 [6, 192]")),
    Bad("half the columns without a gate", UNGATED | {"activation": "geglu"}, ValueError, "out",
        ("[6, 96]", "uint8 [6, 192]")),
    Bad("an interleave of 2", {"gate": "interleaved", "interleave": 2}, ValueError, "interleave",
        ("1, 8 or 32", "got 2")),
    Bad("an interleave of 0", {"gate": "interleaved", "interleave": 0}, ValueError, "interleave", ("1, 8 or 32",)),
    Bad("an interleave that is a float", {"gate": "interleaved", "interleave": 8.0}, TypeError, "interleave",
        ("expected an int", "got float")),
    Bad("an interleave that does not divide", {"x": ones(ROWS, 40), "out": None, "gate": "interleaved",
        "interleave": 8}, ValueError, "interleave", ("divisor of the 20 columns", "got 8")),
    Bad("an interleave of halves", {"interleave": 8}, ValueError, "interleave", ("not 'interleaved'", "got 8")),
    *(Bad(f"a limit of {limit}", {"limit": limit}, ValueError, "limit", ("a positive number",))
      for limit in (0, -1.0, float("nan"), float("-inf"))),
    *(Bad(f"an alpha of {alpha}", {"alpha": alpha}, ValueError, "alpha", ("finite number other than 0",))
      for alpha in (0.0, float("nan"), float("inf"))),
    Bad("a beta of NaN", {"beta": float("nan")}, ValueError, "beta", ("a finite number", "nan")),
    Bad("alpha for geglu", {"activation": "geglu", "alpha": 1.0}, ValueError, "alpha", ("'geglu' takes none",)),
    Bad("beta for swiglu_step", {"activation": "swiglu_step", "beta": 1.0}, ValueError, "beta", ("takes none",)),
    Bad("a limit for situ", {"activation": "situ", "gate_bound": 1, "up_bound": 1, "limit": 7}, ValueError, "limit",
        ("'situ' takes none",)),
    Bad("an alpha for each expert of reglu", SEGMENTS | {"activation": "reglu", "alpha": ones(2)}, ValueError, "alpha",
        ("'reglu' takes none",)),
    Bad("situ without bounds", {"activation": "situ"}, ValueError, "gate_bound", ("a positive number", "got 0")),
    Bad("situ without one bound", {"activation": "situ", "gate_bound": 1.0}, ValueError, "up_bound", ("positive",)),
    *(Bad(f"a bound of {bound}", {"activation": "situ", "gate_bound": 1.0, "up_bound": bound}, ValueError, "up_bound",
          ("a positive number",)) for bound in (-1.0, 1e-40, 1e38, float("nan"), float("inf"))),
    Bad("bounds of swiglu", {"gate_bound": 1.0}, ValueError, "gate_bound", ("only 'situ' has bounds", "got 1.0")),
    Bad("a bound that is a str", {"activation": "situ", "gate_bound": "1"}, TypeError, "gate_bound",
        ("expected a number", "got str")),
    Bad("a limit that is a list", {"limit": [7.0]}, TypeError, "limit", ("expected a tensor", "got list")),
]  # fmt: skip

EXPERTS_OF = [
    Bad("bias without experts", {"bias": ones(EXPERTS, 384)}, ValueError, "bias",
        ("rows are 'dense', which do not say whose they are", "expected tile_to_expert")),
    Bad("bias of a prefix", {"bias": ones(EXPERTS, 384), "rows": ValidPrefix(ints(3))}, ValueError, "bias",
        ("rows are 'valid_prefix'", "expected tile_to_expert")),
    Bad("alpha of a map", {"alpha": ones(EXPERTS), "expanded_idx_to_permuted_idx": ints(1)}, ValueError, "alpha",
        ("rows are 'expanded_to_permuted'", "expected tile_to_expert")),
    Bad("bias of other experts", SEGMENTS | {"bias": ones(3, 384)}, ValueError, "bias",
        ("each of the 2 experts of the rows", "got 3")),
    Bad("limits of other experts", SEGMENTS | {"limit": ones(3)}, ValueError, "limit", ("each of the 2", "got 3")),
    Bad("beta of other experts than alpha", PER_EXPERT | {"beta": ones(3)}, ValueError, "beta",
        ("float32 [2], as the parameters before it", "float32 [3]")),
    Bad("alpha of other experts than the bias", BIASED | {"alpha": ones(1)}, ValueError, "alpha",
        ("float32 [2], as the parameters", "float32 [1]")),
    Bad("alpha of no experts", TILES | {"alpha": ones(0)}, ValueError, "alpha", ("at least one", "float32 [0]")),
    Bad("alpha in a matrix", SEGMENTS | {"alpha": ones(2, 1)}, ValueError, "alpha", ("[experts]", "[2, 1]")),
    Bad("alpha strided", SEGMENTS | {"alpha": ones(4)[::2]}, ValueError, "alpha", ("contiguous", "stride 2")),
    Bad("limits in fp16", SEGMENTS | {"limit": ones(2, dtype=np.float16)}, TypeError, "limit", ("float32", "float16")),
    Bad("bias in fp16", SEGMENTS | {"bias": ones(2, 384, dtype=np.float16)}, TypeError, "bias",
        ("float32 or bfloat16", "float16 [2, 384]")),
    Bad("bias of one half", SEGMENTS | {"bias": ones(2, 192)}, ValueError, "bias", ("[experts, 384]", "[2, 192]")),
    Bad("bias is flat", SEGMENTS | {"bias": ones(384)}, ValueError, "bias", ("[experts, 384]", "float32 [384]")),
    Bad("bias of no experts", TILES | {"bias": ones(0, 384)}, ValueError, "bias", ("[experts, 384]", "[0, 384]")),
    Bad("bias is transposed", SEGMENTS | {"bias": ones(384, 2).T}, ValueError, "bias", ("adjacent", "stride 2")),
    Bad("bias is a number", SEGMENTS | {"bias": 1.0}, TypeError, "bias", ("expected a tensor", "got float")),
    Bad("experts of tiles in fp32", {"rows": Dense(tile_to_expert=ones(2), tile_tokens=3)}, TypeError,
        "tile_to_expert", ("int32 or int64", "float32 [2]")),
    Bad("experts of tiles in a matrix", {"rows": Dense(tile_to_expert=ints(0, 1).reshape(1, 2), tile_tokens=3)},
        ValueError, "tile_to_expert", ("[tiles]", "int32 [1, 2]")),
    Bad("experts of tiles of no rows", {"rows": Dense(tile_to_expert=ints(0, 1))}, ValueError, "tile_tokens",
        ("at least 1", "got 0")),
    Bad("tiles without experts", {"rows": Dense(tile_tokens=3)}, ValueError, "tile_tokens", ("expected 0", "got 3")),
    Bad("experts of tiles beside the rows'", {"rows": RowToExpert(ints(*range(6)), tile_to_expert=ints(0, 1),
        tile_tokens=3)}, ValueError, "tile_to_expert", ("'row_to_expert', which say themselves",)),
]  # fmt: skip

WEIGHTS = [
    Bad("a weight without an index", SEGMENTS | {"weight": ones(ROWS)}, ValueError, "weight",
        ("'expert_offsets', which do not say which weight is a row's", "expected permuted_to_expanded")),
    Bad("an index without a weight", {"rows": ExpertOffsets(ints(0, 6), permuted_to_expanded=ints(*range(6)))},
        ValueError, "permuted_to_expanded", ("there is no weight",)),
    Bad("an index where rows say it", {"rows": Dense(permuted_to_expanded=ints(*range(6))), "weight": ones(6)},
        ValueError, "permuted_to_expanded", ("'dense', which say themselves", "expected none")),
    Bad("an index of fewer rows", {"rows": TileLimits(ints(6), 6, permuted_to_expanded=ints(0, 1)), "weight": ones(2)},
        ValueError, "permuted_to_expanded", ("[6]", "int32 [2]")),
    Bad("an index of int16", {"rows": TileLimits(ints(6), 6, permuted_to_expanded=ints(*range(6), dtype=np.int16)),
        "weight": ones(6)}, TypeError, "permuted_to_expanded", ("int32 or int64", "int16")),
    Bad("weights of fewer rows", {"weight": ones(5)}, ValueError, "weight", ("expected 6 weights", "got 5")),
    Bad("weights of fewer entries", {"weight": ones(2), "expanded_idx_to_permuted_idx": ints(1, 2, 3)}, ValueError,
        "weight", ("expected 3 weights", "got 2")),
    Bad("weights of fewer ids", {"rows": SortedTokenIds(ints(0, 1), 4, ints(2)), "weight": ones(3)}, ValueError,
        "weight", ("at least 4 weights", "got 3")),
    Bad("weights of fewer masked rows", MASKED | {"weight": ones(EXPERTS, 5)}, ValueError, "weight",
        ("expected 12 weights", "got 10")),
    Bad("weights in bf16", {"weight": ones(ROWS, dtype=np.float16)}, TypeError, "weight", ("float32", "float16 [6]")),
    Bad("weights strided", {"weight": ones(12)[::2]}, ValueError, "weight", ("contiguous", "stride 2")),
    Bad("a weight that is a number", {"weight": 0.5}, TypeError, "weight", ("expected a tensor", "got float")),
]  # fmt: skip

COPIES = [
    Bad("a copy of fewer rows", {"out_unquantized": ones(5, 192)}, ValueError, "out_unquantized",
        ("[6, 192]", "float32 [5, 192]")),
    Bad("a copy as wide as x", {"out_unquantized": ones(6, 384)}, ValueError, "out_unquantized", ("[6, 192]",)),
    Bad("a copy of one expert", MASKED | {"out_unquantized": ones(1, 6, 192)}, ValueError, "out_unquantized",
        ("[2, 6, 192]", "[1, 6, 192]")),
    Bad("a copy that is read-only", {"out_unquantized": read_only(ones(6, 192))}, ValueError, "out_unquantized",
        ("a writable tensor", "read-only")),
    Bad("a copy in out", in_one_memory(), ValueError, "out", ("overlaps out_unquantized", "memory of its own")),
    Bad("a copy in x", x_is_its_copy(), ValueError, "out_unquantized", ("overlaps x",)),
    Bad("a copy that is transposed", {"out_unquantized": ones(192, 6).T}, ValueError, "out_unquantized", ("adjacent",)),
    Bad("a copy in fp64", {"out_unquantized": ones(6, 192, dtype=float)}, TypeError, "out_unquantized",
        ("float32, float16 or bfloat16", "float64 [6, 192]")),
    Bad("a copy in e4m3", {"out_unquantized": ones(6, 192, dtype=np.uint8), "unquantized_format": "e4m3"}, TypeError,
        "out_unquantized", ("float32, float16 or bfloat16", "uint8 [6, 192]")),
    Bad("a copy in codes alone", {"out_unquantized": ones(6, 192, dtype=np.uint16)}, TypeError, "out_unquantized",
        ("unquantized_format naming its format", "uint16 [6, 192]")),
    Bad("a copy of plain values", PLAIN | COPY, ValueError, "out_unquantized", ("fp32 is not quantized itself",)),
    Bad("an unknown format of a copy", COPY | {"unquantized_format": "fp64"}, ValueError, "unquantized_format",
        ("'fp32', 'fp16', 'bf16'", "got 'fp64'")),
]  # fmt: skip

NUMERICS = [
    Bad("an unknown preset", {"numerics": "tensorrt"}, ValueError, "preset", ("'flashinfer'", "got 'tensorrt'")),
    Bad("numerics of a wrong type", {"numerics": 3}, TypeError, "numerics", ("moe_act.Numerics", "got int")),
    Bad("numerics in a dict", {"numerics": {"preset": "sglang"}}, TypeError, "numerics", ("moe_act.Numerics", "dict")),
    Bad("a preset of fp32", {"numerics": "vllm_masked"}, ValueError, "preset",
        ("'vllm_masked' expects x in bf16", "got fp32")),
    Bad("sglang of fp32", {"numerics": Numerics("sglang")}, ValueError, "preset", ("bf16, fp16", "got fp32")),
    Bad("a preset of e4m3", E4M3 | {"numerics": "te_mxfp8"}, ValueError, "preset", ("bf16, fp16, fp32", "got e4m3")),
    Bad("te_mxfp8 per row", {"numerics": "te_mxfp8", "out_scaling": "row"}, ValueError, "preset",
        ("'te_mxfp8' expects block scaling", "got out_scaling 'row'")),
    Bad("te_mxfp8 by 128", {"numerics": "te_mxfp8", "out_block": 128}, ValueError, "preset", ("128 columns",)),
    Bad("te_mxfp8 in fp32", {"numerics": "te_mxfp8", "out_scale_format": "fp32"}, ValueError, "preset",
        ("fp32 scales of 32",)),
    Bad("te_mxfp8 of plain values", PLAIN | {"numerics": "te_mxfp8"}, ValueError, "preset", ("out_scaling 'none'",)),
    Bad("te_mxfp8 with another quantization", {"numerics": Numerics("te_mxfp8", quantization="multiply")}, ValueError,
        "preset", ("its own quantization",)),
    Bad("products of e4m3", E4M3 | {"numerics": Numerics(product_rounding="product")}, ValueError, "product_rounding",
        ("the format of x", "got e4m3")),
    Bad("clamps of e4m3", E4M3 | {"numerics": Numerics(clamp_rounding="input")}, ValueError, "clamp_rounding",
        ("the format of x", "got e4m3")),
    Bad("an unknown quantization", {"numerics": Numerics(quantization="shift")}, ValueError, "quantization",
        ("'divide', 'multiply', 'multiply_bf16'", "got 'shift'")),
    Bad("an unknown rounding", {"numerics": Numerics(product_rounding="up")}, ValueError, "product_rounding",
        ("'product'", "got 'up'")),
    Bad("a rounding by number", {"numerics": Numerics(clamp_rounding=2)}, TypeError, "clamp_rounding",
        ("expected a str", "got int")),
    Bad("a smallest amax below 0", {"numerics": Numerics(smallest_amax=-1e-30)}, ValueError, "smallest_amax",
        ("at least 0, got -1e-30",)),
    Bad("a smallest amax of NaN", {"numerics": Numerics(smallest_amax=float("nan"))}, ValueError, "smallest_amax",
        ("finite", "nan")),
    Bad("a smallest scale below 2^-126", {"numerics": Numerics(smallest_scale=2.0**-127)}, ValueError,
        "smallest_scale", ("2^-126 to 2^126, got 5.877472e-39",)),
    Bad("a smallest scale by name", {"numerics": Numerics(smallest_scale="tiny")}, TypeError, "smallest_scale",
        ("expected a number", "got str")),
]  # fmt: skip

TABLE = [*ACTIVATIONS, *EXPERTS_OF, *WEIGHTS, *COPIES, *NUMERICS]


@pytest.mark.parametrize("bad", [pytest.param(bad, id=bad.name) for bad in TABLE])
def test_refused(bad: Bad) -> None:
    call = good_call() | bad.changes
    check_refused(bad, call)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "changes",
    [{}, SEGMENTS, TILES, BIASED, E4M3, PER_EXPERT, COPY, UNGATED, PLAIN, MASKED],
    ids=["plain call", "segments", "tiles", "bias", "e4m3", "per expert", "copy", "ungated", "plain", "masked"],
)
def test_what_the_table_starts_from_is_good(changes: Call, device: str) -> None:
    call = {name: on_device(value, device) for name, value in (good_call() | changes).items()}
    assert moe_act.gated_act_quant(**call, validate=True).out is call["out"]
    assert (get(call["out"]).view(np.uint8) != cases.POISON).any()


@pytest.mark.parametrize("argument", ["bias", "alpha", "beta", "limit", "weight", "out_unquantized"])
def test_another_device_than_that_of_x(argument: str) -> None:
    shape = {"bias": (EXPERTS, 384), "weight": (ROWS,), "out_unquantized": (ROWS, COLUMNS)}.get(argument, (EXPERTS,))
    call = good_call() | {argument: Exporter(ones(*shape), device=(2, 1))}
    if argument not in ("weight", "out_unquantized"):
        call |= SEGMENTS
    says = f"{argument}: expected a tensor on cpu (the device of x), got one on cuda:1"
    with pytest.raises(ValueError, match=f"^{re.escape(says)}$"):
        moe_act.gated_act_quant(**call)
    assert (call["out"] == cases.POISON).all()


# Of live rows alone; -1 is no expert of a row that is live, and no weight either.
WRONG_DATA = {
    "an expert that is not there": (
        {"rows": Dense(tile_to_expert=ints(0, 2), tile_tokens=3), "bias": ones(EXPERTS, 384)},
        "tile_to_expert: entry 1 is 2, expected one of the 2 experts of the parameters"),
    "a row's expert that is not there": (
        {"rows": RowToExpert(ints(0, 1, -1, 5, 0, 0)), "alpha": ones(EXPERTS)},
        "row_to_expert: entry 3 is 5, expected one of the 2 experts"),
    "a weight that is not there": (
        {"rows": TileLimits(ints(6), 6, permuted_to_expanded=ints(0, 1, 2, 3, 4, 9)), "weight": ones(6)},
        "permuted_to_expanded: entry 5 is 9, expected one of the 6 weights"),
    "a live row without a weight": (
        {"rows": ExpertOffsets(ints(0, 6), permuted_to_expanded=ints(0, 1, -1, 3, 4, 5)), "weight": ones(6)},
        "permuted_to_expanded: entry 2 is -1, expected one of the 6 weights"),
}  # fmt: skip

RIGHT_DATA: dict[str, Call] = {
    "experts of tiles behind the count": {
        "rows": TileLimits(ints(2, 6), 3, ints(1), tile_to_expert=ints(1, 99)), "bias": ones(EXPERTS, 384)},
    "experts of positions behind those in use": {
        "rows": SortedTokenIds(ints(0, 1, 2, 9, 9, 9), 6, ints(3), tile_to_expert=ints(1, 99), tile_tokens=3),
        "alpha": ones(EXPERTS)},
    "experts behind the prefix": {
        "rows": ValidPrefix(ints(3), tile_to_expert=ints(1, 99), tile_tokens=3), "limit": ones(EXPERTS)},
    "weights of dead rows": {
        "rows": ExpertOffsets(ints(0, 2, 4), permuted_to_expanded=ints(3, 2, 1, 0, -1, 99)), "weight": ones(4)},
}  # fmt: skip


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", WRONG_DATA)
def test_wrong_data_is_refused_under_validate(name: str, device: str) -> None:
    changes, says = WRONG_DATA[name]
    call = {key: on_device(value, device) for key, value in (good_call() | changes).items()}
    with pytest.raises(ValueError, match=f"^{re.escape(says)}"):
        moe_act.gated_act_quant(**call, validate=True)
    assert (get(call["out"]) == cases.POISON).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", RIGHT_DATA)
def test_data_of_rows_that_are_not_live_is_not_judged(name: str, device: str) -> None:
    call = {key: on_device(value, device) for key, value in (good_call() | RIGHT_DATA[name]).items()}
    moe_act.gated_act_quant(**call, padding="skip", validate=True)
    out = get(call["out"])
    assert (out[0] != cases.POISON).any() and (out[-1] == cases.POISON).all()

"""The special values of docs/contract.md, a test per line of its table, the same on CPU and GPU.

A gate of 128 and above has a sigmoid of exactly 1 in fp32, so that products with it are known to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cases
import ml_dtypes
import numpy as np
import pytest
from moe_act import oracle
from tensors import DEVICES, run

INF, NAN = np.inf, np.nan
FLT_MAX, FLT_MIN = float(np.finfo(np.float32).max), 2.0**-126
COLUMNS = 256  # the line's block, and an ordinary one
NAN_CODES = {"bf16": 0x7FFF, "fp16": 0x7FFF, "fp32": 0x7FFFFFFF}
PLAIN_CODES = {"bf16": np.uint16, "fp16": np.uint16, "fp32": np.uint32}

Allowed = Any  # one value, or a tuple of those that may be


@dataclass(frozen=True)
class Line:
    """The first elements of a block whose others are 0, and what becomes of them."""

    pairs: list[tuple[float, float]]  # (gate, up)
    scale: Allowed  # of the block
    block: list[Allowed]  # codes
    static_scale: float
    tensor: list[Allowed]  # codes
    products: list[Allowed]  # what plain formats round; None: what the oracle allows
    up_scale: float = 1.0  # e4m3 input: the scale of the ups in the block


def over_448(amax: float) -> float:
    return float(np.float32(amax) / np.float32(448))


LINES = {
    "NaN": Line(
        [(NAN, 1), (128, NAN), (NAN, NAN), (128, -NAN), (128, 7)],
        2.0, [0x7F, 0x7F, 0x7F, 0x7F, 0x7E],
        2.0, [0x7F, 0x7F, 0x7F, 0x7F, 0x7E],
        [NAN, NAN, NAN, NAN, 896],
    ),
    "block of NaN": Line([(NAN, 1)] * 128, FLT_MIN, [0x7F] * 128, 2.0, [0x7F] * 128, [NAN] * 128),
    "infinity": Line(
        [(INF, 1), (INF, -1), (128, -INF), (128, 7), (128, -7)],
        INF, [0x7F, 0x7F, 0x7F, 0x00, 0x80],
        2.0, [0x7E, 0xFE, 0xFE, 0x7E, 0xFE],
        [INF, -INF, -INF, 896, -896],
    ),
    "gate -Inf": Line(
        [(-INF, 1), (-INF, 0), (-INF, INF), (128, 7)],
        2.0, [0x7F, 0x7F, 0x7F, 0x7E],
        2.0, [0x7F, 0x7F, 0x7F, 0x7E],
        [NAN, NAN, NAN, 896],
    ),
    "infinity times zero": Line(
        [(INF, 0), (INF, -0.0), (0, INF), (-0.0, -INF), (128, 7)],
        2.0, [0x7F, 0x7F, 0x7F, 0x7F, 0x7E],
        2.0, [0x7F, 0x7F, 0x7F, 0x7F, 0x7E],
        [NAN, NAN, NAN, NAN, 896],
    ),
    "product overflow": Line(
        [(2.0**64, 2.0**64), (2.0**64, -(2.0**64)), (128, 7)],
        INF, [0x7F, 0x7F, 0x00],
        2.0, [0x7E, 0xFE, 0x7E],
        [INF, -INF, 896],
    ),
    "scaled input overflow": Line(
        [(128, 448), (128, -2), (128, 0)],
        INF, [0x7F, 0x7F, 0x00],
        2.0, [0x7E, 0xFE, 0x00],
        [INF, -INF, 0],
        up_scale=FLT_MAX,
    ),
    "largest number": Line(
        [(2.0**64, FLT_MAX / 2.0**64), (2.0**64, -FLT_MAX / 2.0**64)],
        over_448(FLT_MAX), [0x7E, 0xFE],
        2.0**126, [0x48, 0xC8],  # 4
        [FLT_MAX, -FLT_MAX],
    ),
    "zero block": Line([(0, 5), (128, 0), (0, 0)], FLT_MIN, [0, 0, 0], FLT_MIN, [0, 0, 0], [0.0, 0.0, 0.0]),
    "negative zero": Line(
        [(-0.0, 5), (128, -0.0), (0, -3), (128, 7)],
        2.0, [0x80, 0x80, 0x80, 0x7E],
        2.0, [0x80, 0x80, 0x80, 0x7E],
        [-0.0, -0.0, -0.0, 896],
    ),
    "denormal up": Line(
        [(2.0**64, 2.0**-130), (2.0**64, -(2.0**-131))],
        over_448(2.0**-66), [0x7E, 0xF6],  # 448 and -224
        2.0**-66, [0x38, 0xB0],  # 1 and -1/2
        [2.0**-66, -(2.0**-67)],
    ),
    "denormal gate": Line(
        [(2.0**-130, 2.0**20)],
        (over_448(2.0**-111), FLT_MIN), [(0x7E, 0x00)],
        2.0**-111, [(0x38, 0x00)],
        [(2.0**-111, 0.0)],
    ),
    "tiny amax": Line(
        [(128, 3 * 2.0**-133), (128, -(2.0**-133))],
        FLT_MIN, [0x44, 0xB8],  # 3 and -1
        FLT_MIN, [0x44, 0xB8],
        [3 * 2.0**-126, -(2.0**-126)],
    ),
    "tiny product": Line(
        [(2.0**-64, 2.0**-64), (2.0**-64, -(2.0**-64))],
        FLT_MIN, [(0x20, 0x00, 0x80), (0xA0, 0x00, 0x80)],  # 1/8
        FLT_MIN, [(0x20, 0x00, 0x80), (0xA0, 0x00, 0x80)],
        [(2.0**-129, 0.0, -0.0), (-(2.0**-129), 0.0, -0.0)],
    ),
    "vanishing sigmoid": Line(
        [(-208, 1), (-208, INF), (-88, 1), (128, 7)],
        2.0, [(0x00, 0x80), 0x7F, (0x00, 0x80), 0x7E],
        2.0, [(0x00, 0x80), 0x7F, (0x00, 0x80), 0x7E],
        [(0.0, -0.0), NAN, None, 896],
    ),
    "saturation": Line(
        [(128, 512), (128, -512), (128, 511.875), (128, 511.75)],  # 65520 is halfway to what would follow 65504
        over_448(65536), [0x7E, 0xFE, 0x7E, 0x7E],
        2.0, [0x7E, 0xFE, 0x7E, 0x7E],
        [65536, -65536, 65520, 65504],
    ),
}  # fmt: skip


def stored(name: str, input: str) -> np.ndarray | None:
    """x [1, 2H] as codes, gate in the second half; None if the input format cannot say the line."""
    line = LINES[name]
    values = np.zeros((1, 2 * COLUMNS), np.float32)
    values[0, 128:COLUMNS], values[0, COLUMNS + 128 :] = 7, 128  # the ordinary block: every product is 896
    gates, ups = np.array(line.pairs, np.float32).T
    values[0, : len(ups)], values[0, COLUMNS : COLUMNS + len(gates)] = ups, gates
    with np.errstate(all="ignore"):
        x = values.astype(cases.DTYPES[input])
    if not np.array_equal(x.astype(np.float32), values, equal_nan=True) or (line.up_scale != 1 and input != "e4m3"):
        return None
    return x.view(cases.CODES[input])


VARIANTS = [(name, input) for name in LINES for input in cases.INPUTS if stored(name, input) is not None]


def run_line(name: str, input: str, device: str, **options: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """out [H] and out_scale [2], which the oracle found to conform."""
    arguments: dict[str, Any] = {"x": stored(name, input)} | options
    if input in ("e4m3", "bf16"):
        arguments["x_format"] = input
    if input == "e4m3":
        arguments["x_scale"] = np.array([[LINES[name].up_scale], [1], [1], [1]], np.float32)
    result = run(device, **arguments)
    report = oracle.check(**arguments, out=result.out, out_scale=result.out_scale, exact_quotient=device == "cpu")
    assert report.ok, report.message
    return result.out[0], None if result.out_scale is None else result.out_scale[:, 0]


def choices_of(allowed: Allowed) -> tuple[Any, ...]:
    return allowed if isinstance(allowed, tuple) else (allowed,)


def assert_allowed(got: np.ndarray, allowed: list[Allowed]) -> None:
    for column, choices in enumerate(map(choices_of, allowed)):
        assert got[column] in choices, f"column {column}: {got[column]:#x} is none of {[hex(c) for c in choices]}"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("name", "input"), VARIANTS)
def test_block_scaled(name: str, input: str, device: str) -> None:
    line = LINES[name]
    out, out_scale = run_line(name, input, device)
    assert_allowed(out, line.block)
    assert out_scale is not None
    assert out_scale[0] in choices_of(line.scale)
    assert not out[len(line.pairs) : 128].any(), "zeros stay zeros"
    assert out_scale[1] == 2 and (out[128:] == 0x7E).all(), "the other block is as if alone"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("name", "input"), VARIANTS)
def test_tensor_scaled(name: str, input: str, device: str) -> None:
    line = LINES[name]
    out, _ = run_line(name, input, device, static_scale=np.array([line.static_scale], np.float32))
    assert_allowed(out, line.tensor)
    assert not out[len(line.pairs) : 128].any()


def plain_code(value: float, format: str) -> int:
    if np.isnan(value):
        return NAN_CODES[format]
    with np.errstate(over="ignore"):
        return int(np.float32(value).astype(cases.DTYPES[format]).view(PLAIN_CODES[format]))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("output", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize(("name", "input"), VARIANTS)
def test_plain(name: str, input: str, output: str, device: str) -> None:
    line = LINES[name]
    out, _ = run_line(name, input, device, out_format=output)
    codes = out.view(PLAIN_CODES[output])
    for column, allowed in enumerate(line.products):
        if allowed is not None:
            assert_allowed(codes[column:], [tuple(plain_code(value, output) for value in choices_of(allowed))])
    assert (codes[128:] == plain_code(896, output)).all()


def test_every_line_has_an_input() -> None:
    assert {name for name, _ in VARIANTS} == set(LINES)
    assert len(VARIANTS) > 2 * len(LINES), "most lines are tried with several input formats"


def documented_lines() -> list[str]:
    """The first column of the contract's table of special values."""
    contract = Path(__file__).parents[2] / "docs/contract.md"
    section = contract.read_text(encoding="utf-8").split("## Special values\n")[1].split("\n###")[0]
    rows = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("|")]
    assert rows[0] == "name" and set(rows[1]) == {"-"}
    return rows[2:]


def test_the_lines_are_those_of_the_contract() -> None:
    assert documented_lines() == list(LINES)


def test_the_roundings_of_this_file() -> None:
    """NumPy and ml_dtypes round as the lines suppose."""
    assert plain_code(65520, "fp16") == 0x7C00 and plain_code(65519.996, "fp16") == 0x7BFF
    assert plain_code(FLT_MAX, "bf16") == 0x7F80
    assert ml_dtypes.float8_e4m3fn(448).view(np.uint8) == 0x7E

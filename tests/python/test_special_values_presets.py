"""What presets make of special values, a test per line of the contract's table, the same on CPU and GPU.

A gate of 128 and above has a sigmoid of exactly 1 in fp32, so that products with it are known to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from moe_act import oracle
from moe_act.oracle.numerics import PRESETS
from moe_act.scales import decode_ue8m0
from tensors import DEVICES, run

BF16, F32 = ml_dtypes.bfloat16, np.float32
INF, NAN = np.inf, np.nan
COLUMNS = 256  # the line's block, and ordinary ones
Pairs = list[tuple[float, float]]  # (gate, up) of a block whose other elements are 0
Outcome = tuple[Pairs, float, list[int]]  # what becomes of them: the scale, the codes; the others' code is 0

SMALLEST = {"deepgemm": 1e-4, "lmdeploy": 1e-6, "sglang": 1e-10, "vllm_masked": 1e-10}
BEYOND = {  # products of numbers of the format that it rounds to infinity
    "bf16": [(1.4140625 * 2.0**64, 1.4140625 * 2.0**63), (1.4140625 * 2.0**64, -1.4140625 * 2.0**63)],
    "fp16": [(512.0, 512.0), (512.0, -512.0)],
}


def e4m3(value: float) -> int:
    return int(ml_dtypes.float8_e4m3fn(value).view(np.uint8))


def scaled(preset: str, y: float, scale: float) -> int:
    """The code of y, as the preset has it."""
    if preset == "vllm_masked":
        return e4m3(BF16(y) * (BF16(1) / BF16(scale)))
    return e4m3(F32(y) / F32(scale))


def below_the_smallest_amax(preset: str, input: str) -> Outcome:
    smallest = F32(SMALLEST[preset])
    scale = F32(BF16(smallest) * BF16(1 / 448)) if preset == "vllm_masked" else smallest / F32(448)
    y = 2.0 ** np.floor(np.log2(SMALLEST[preset]))
    ups = [y / 128, -y / 512, 0.0, -0.0]
    return [(128, up) for up in ups], float(scale), [scaled(preset, 128 * up, float(scale)) for up in ups]


def below_the_smallest_scale(preset: str, input: str) -> Outcome:
    ups = [2.0**-17, -(2.0**-19), 0.0]  # 2^-10 = 1 / 1024 times 448 * 512 is 224
    return [(128, up) for up in ups], float(F32(1 / (448 * 512))), [0x76, 0xE6, 0x00]


def infinity(preset: str, input: str) -> Outcome:
    return [(INF, 1), (INF, -1), (128, 7), (128, -7)], INF, [0x7F, 0x7F, 0x00, 0x80]


def rounding_overflow(preset: str, input: str) -> Outcome:
    pairs = [*BEYOND[input], (128, 7), (128, -7)]
    return pairs, *((2.0**127, [0x7E, 0xFE, 0x00, 0x80]) if PRESETS[preset].mx else (INF, [0x7F, 0x7F, 0x00, 0x80]))


def mx_nan(preset: str, input: str) -> Outcome:
    return [(128, NAN), (128, 7), (INF, 1)] + [(128, 0)] * 29, NAN, [0x7F] * 32


def mx_zero(preset: str, input: str) -> Outcome:
    return [(128, 0), (128, -0.0)], 2.0**-127, [0x00, 0x80]


def mx_tiny(preset: str, input: str) -> Outcome:
    """448 * 2^-127 is 7 * 2^-121."""
    return [(128, 7 * 2.0**-128), (128, -(2.0**-131))], 2.0**-127, [0x7E, e4m3(-8.0)]


def mx_infinity(preset: str, input: str) -> Outcome:
    return [(INF, 1), (128, -INF), (2.0**60, 2.0**60), (128, 7)], 2.0**127, [0x7E, 0xFE, e4m3(2.0**-7), 0x00]


LINES: dict[tuple[str, str], Callable[[str, str], Outcome]] = {
    ("deepgemm, lmdeploy, sglang, vllm_masked", "zero block, tiny amax"): below_the_smallest_amax,
    ("vllm_block", "zero block, tiny amax"): below_the_smallest_scale,
    ("deepgemm, lmdeploy", "infinity"): infinity,
    ("vllm_masked", "infinity"): infinity,
    ("sglang, lmdeploy, vllm_masked, te_mxfp8", "rounding overflow"): rounding_overflow,
    ("te_mxfp8", "NaN"): mx_nan,
    ("te_mxfp8", "zero block"): mx_zero,
    ("te_mxfp8", "tiny amax"): mx_tiny,
    ("te_mxfp8", "infinity"): mx_infinity,
}
VARIANTS = [
    (line, preset, input)
    for line in LINES
    for preset in line[0].split(", ")
    for input in ("bf16", "fp16")
    if input in PRESETS[preset].inputs and (input == "bf16" or line[1] == "rounding overflow")
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("line", "preset", "input"), VARIANTS, ids=lambda value: str(value))
def test_block_scaled(line: tuple[str, str], preset: str, input: str, device: str) -> None:
    pairs, scale, codes = LINES[line](preset, input)
    out, out_scale = run_pairs(pairs, preset, input, device)
    assert np.array_equal(out_scale[0], F32(scale), equal_nan=True)
    assert [hex(code) for code in out[: len(codes)]] == [hex(code) for code in codes]
    width = 32 if PRESETS[preset].mx else 128
    assert not out[len(codes) : width].any(), "zeros stay zeros"
    assert out_scale[-1] == 2 and (out[width:] == 0x7E).all(), "the other blocks are as if alone"


@pytest.mark.parametrize("device", DEVICES)
def test_the_largest_amax_of_the_smallest_scale(device: str) -> None:
    """A block of Transformer Engine's leaves 2^-127 with the first amax above 448 * 2^-127."""
    for up, scale in ((7.0 * 2**-128, 2.0**-127), (7.0625 * 2**-128, 2.0**-126), (14.0 * 2**-128, 2.0**-126)):
        _, out_scale = run_pairs([(128, up)], "te_mxfp8", "bf16", device)
        assert out_scale[0] == scale


def run_pairs(pairs: Pairs, preset: str, input: str, device: str) -> tuple[np.ndarray, np.ndarray]:
    """out [H] and out_scale [blocks], which the oracle found to conform."""
    width = 32 if PRESETS[preset].mx else 128
    values = np.zeros((1, 2 * COLUMNS), F32)
    values[0, width:COLUMNS], values[0, COLUMNS + width :] = 7, 128  # ordinary blocks: every product is 896
    gates, ups = np.array(pairs, F32).T
    values[0, : len(ups)], values[0, COLUMNS : COLUMNS + len(gates)] = ups, gates
    x = values.astype({"bf16": BF16, "fp16": np.float16}[input])
    assert np.array_equal(x.astype(F32), values, equal_nan=True), "the format has these values"
    arguments: dict[str, Any] = {"x": x.view(np.uint16) if input == "bf16" else x, "numerics": preset}
    arguments |= {"x_format": "bf16"} if input == "bf16" else {}
    arguments |= {"out_scale_format": "ue8m0", "out_block": 32} if PRESETS[preset].mx else {}
    result = run(device, **arguments)
    report = oracle.check(**arguments, out=result.out, out_scale=result.out_scale, exact_quotient=device == "cpu")
    assert report.ok, report.message
    scales = result.out_scale[:, 0]
    return result.out[0], decode_ue8m0(scales) if PRESETS[preset].mx else scales


def documented_lines() -> list[tuple[str, str]]:
    """The first two columns of the contract's table."""
    contract = Path(__file__).parents[2] / "docs/contract.md"
    section = contract.read_text(encoding="utf-8").split("### By preset\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in section.splitlines() if line.startswith("|")]
    assert rows[0] == ["preset", "name"] and set(rows[1][0]) == {"-"}
    return [(presets, name) for presets, name in rows[2:]]


def test_the_lines_are_those_of_the_contract() -> None:
    assert documented_lines() == list(LINES)

"""Every code in, and codes out for values near every rounding, against NumPy and ml_dtypes.

A gate of 128 has a sigmoid of exactly 1 in fp32: the product is 128 * up, exactly, and a static scale of 128 divides
the factor out again.
"""

from __future__ import annotations

from typing import Any

import cases
import ml_dtypes
import numpy as np
import pytest
from tensors import DEVICES, run

COLUMNS = 1024
CODE_OF_128 = {"e4m3": 0x70, "bf16": 0x4300, "fp16": 0x5800}
WORDS = {"e4m3": np.uint8, "bf16": np.uint16, "fp16": np.uint16, "fp32": np.uint32}
CANONICAL_NAN = {"bf16": 0x7FFF, "fp16": 0x7FFF, "fp32": 0x7FFFFFFF}


def product(device: str, ups: np.ndarray, gate: Any, **options: Any) -> np.ndarray:
    """What becomes of 128 * up, for every element of ups; their number is padded to whole rows."""
    columns = min(COLUMNS, ups.size)
    padded = np.resize(ups, (-(-ups.size // columns), columns))
    x = np.concatenate([padded, np.full_like(padded, gate)], axis=1)
    if options.get("x_format") == "e4m3":
        options["x_scale"] = np.ones((-(-2 * columns // 128), len(x)), np.float32)
    out = run(device, x=x, **options).out
    return np.asarray(out).reshape(-1)[: ups.size]


def fp32(patterns: Any) -> np.ndarray:
    return np.asarray(patterns).astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("input", ["e4m3", "bf16", "fp16"])
def test_every_code_is_decoded(input: str, device: str) -> None:
    codes = np.arange(2 ** (8 * WORDS[input]().itemsize)).astype(WORDS[input])
    ups, gate = codes.view(cases.CODES[input]), np.array([CODE_OF_128[input]], WORDS[input]).view(cases.CODES[input])[0]
    options = {"x_format": input} if input != "fp16" else {}
    got = product(device, ups, gate, out_format="fp32", **options).view(np.uint32)
    with np.errstate(all="ignore"):
        values = np.float32(128) * codes.view(cases.DTYPES[input]).astype(np.float32)
    expected = np.where(np.isnan(values), np.uint32(CANONICAL_NAN["fp32"]), values.view(np.uint32))
    np.testing.assert_array_equal(got, expected)


def near_roundings(format: str) -> np.ndarray:
    """fp32 patterns spread over all there are, and at and beside every number halfway between neighbours."""
    spread = fp32(np.arange(2**16, dtype=np.uint64) * 65537)
    special = fp32([0, 1 << 31, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7F800001, 0xFFFFFFFF])
    if format == "fp32":
        return np.concatenate([special, spread])
    largest = {"e4m3": 0x7E, "bf16": 0x7F7F, "fp16": 0x7BFF}[format]
    magnitudes = np.arange(largest + 1).astype(WORDS[format]).view(cases.DTYPES[format]).astype(np.float64)
    magnitudes = np.append(magnitudes, 2 * magnitudes[-1] - magnitudes[-2])  # what would follow the largest
    halfway = ((magnitudes[:-1] + magnitudes[1:]) / 2).astype(np.float32)
    beside = [np.nextafter(halfway, np.float32(towards)) for towards in (-np.inf, np.inf)]
    near = np.concatenate([halfway, *beside])
    return np.concatenate([special, spread, near, -near])


@pytest.mark.parametrize("device", DEVICES)
def test_e4m3(device: str) -> None:
    values = near_roundings("e4m3")
    got = product(device, values, np.float32(128), static_scale=np.array([128], np.float32))
    with np.errstate(all="ignore"):
        saturated = np.clip(values, -448, 448).astype(ml_dtypes.float8_e4m3fn)  # ml_dtypes itself does not saturate
    expected = np.where(np.isnan(values), np.uint8(0x7F), saturated.view(np.uint8))
    np.testing.assert_array_equal(got, expected)
    assert len(np.unique(got)) == 255, "all codes but the other NaN"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("output", ["bf16", "fp16", "fp32"])
def test_plain(output: str, device: str) -> None:
    with np.errstate(all="ignore"):
        ups = near_roundings(output) / np.float32(128)
        values = np.float32(128) * ups
        rounded = values.astype(cases.DTYPES[output]).view(WORDS[output])
    got = product(device, ups, np.float32(128), out_format=output).view(WORDS[output])
    expected = np.where(np.isnan(values), WORDS[output](CANONICAL_NAN[output]), rounded)
    # What is below 2^-126 may have become 0.
    tiny = (np.abs(values) < 2.0**-126) & (got << 1 == 0)
    np.testing.assert_array_equal(got[~tiny], expected[~tiny])

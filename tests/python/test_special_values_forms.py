"""The special values of docs/contract.md under e5m2, row scales, ue8m0, and groups of 32 and 64 columns."""

from __future__ import annotations

import itertools
from typing import Any

import ml_dtypes
import moe_act
import numpy as np
import pytest
from moe_act import oracle
from tensors import DEVICES, run
from test_special_values import COLUMNS, FLT_MIN, LINES, VARIANTS, choices_of, stored

LARGEST = {"e4m3": 448.0, "e5m2": 57344.0}
DTYPES = {"e4m3": ml_dtypes.float8_e4m3fn, "e5m2": ml_dtypes.float8_e5m2}
FORMS: dict[str, dict[str, Any]] = {
    "e5m2": {"out_format": "e5m2"},
    "ue8m0": {"out_scale_format": "ue8m0"},
    "by 64": {"out_block": 64},
    "by 32, row major": {"out_block": 32, "out_scale_layout": "row_major"},
    "by 32, packed": {"out_block": 32, "out_scale_layout": "packed_ue8m0"},
    "e5m2 by 64, swizzled": {"out_format": "e5m2", "out_block": 64, "out_scale_layout": "swizzled_128x4"},
    "powers of two": {"scale_rounding": "power_of_two"},
    "row": {"out_scaling": "row"},
    "e5m2 row": {"out_format": "e5m2", "out_scaling": "row"},
    "row, powers of two": {"out_scaling": "row", "scale_rounding": "power_of_two"},
}
PLAIN_LAYOUTS = ("column_major", "row_major")


def exponents(options: dict[str, Any]) -> bool:
    """Are scales ue8m0?"""
    layout = options.get("out_scale_layout", "column_major")
    return options.get("out_scale_format") == "ue8m0" or layout not in PLAIN_LAYOUTS


def scale_of(values: Any, format: str, options: dict[str, Any]) -> float:
    """Of a block of y's."""
    magnitudes = np.abs(np.array(values, np.float64))
    scale = np.float32(max(np.nanmax(magnitudes, initial=0) / LARGEST[format], FLT_MIN))
    if exponents(options) or "scale_rounding" in options:
        bits = (scale.view(np.uint32) + np.uint32(0x7FFFFF)) & np.uint32(0x7F800000)
        scale = bits.view(np.float32)
    return float(scale)


def code_of(value: float, scale: float, format: str) -> int:
    with np.errstate(all="ignore"):
        quotient = np.float32(np.float64(value) / np.float64(scale))
    if np.isnan(quotient):
        return 0x7F
    return int(np.clip(quotient, -LARGEST[format], LARGEST[format]).astype(DTYPES[format]).view(np.uint8))


def run_form(name: str, input: str, device: str, options: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """out [H] and the row's scales as float32, which the oracle found to conform."""
    arguments: dict[str, Any] = {"x": stored(name, input)} | options
    if input in ("e4m3", "bf16"):
        arguments["x_format"] = input
    if input == "e4m3":
        arguments["x_scale"] = np.array([[LINES[name].up_scale], [1], [1], [1]], np.float32)
    result = run(device, **arguments)
    report = oracle.check(**arguments, out=result.out, out_scale=result.out_scale)
    assert report.ok, report.message
    if options.get("out_scaling") == "row":
        return result.out[0], result.out_scale
    layout, block = options.get("out_scale_layout", "column_major"), options.get("out_block", 128)
    return result.out[0], moe_act.scales.to_rows(result.out_scale, layout, rows=1, columns=COLUMNS, block=block)[0]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("name", "input"), VARIANTS)
def test_line(name: str, input: str, form: str, device: str) -> None:
    options = FORMS[form]
    format, per_row = options.get("out_format", "e4m3"), options.get("out_scaling") == "row"
    width = COLUMNS if per_row else options.get("out_block", 128)
    out, scales = run_form(name, input, device, options)
    line = LINES[name].products[: min(width, 128)]
    known = [choices_of(allowed) for allowed in line if allowed is not None]
    ordinary = [896.0] * 128 if per_row else [0.0] * (width - len(line))
    possible = {scale_of([*values, *ordinary], format, options) for values in set(itertools.product(*known))}
    if exponents(options) and np.isinf(max(possible)):
        assert possible == {np.inf} and np.isnan(scales[0]), "infinity is 255"
    else:
        assert scales[0] in possible
        possible = {float(scales[0])}
    for column, allowed in enumerate(line):
        if allowed is not None:
            codes = {code_of(value, scale, format) for value in choices_of(allowed) for scale in possible}
            assert out[column] in codes, f"column {column}: {out[column]:#x} is none of {codes}"
    assert not out[len(LINES[name].pairs) : 128].any(), "zeros stay zeros"
    other = max(possible) if per_row else scale_of([896.0], format, options)
    assert (out[128:] == code_of(896.0, other, format)).all(), "the other blocks are as if alone"
    assert per_row or (scales[128 // width :] == other).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("name", "input"), VARIANTS)
def test_line_by_a_static_scale_in_e5m2(name: str, input: str, device: str) -> None:
    line = LINES[name]
    arguments: dict[str, Any] = {"x": stored(name, input), "static_scale": np.array([line.static_scale], np.float32)}
    arguments |= {"out_format": "e5m2"} | ({"x_format": input} if input in ("e4m3", "bf16") else {})
    if input == "e4m3":
        arguments["x_scale"] = np.array([[line.up_scale], [1], [1], [1]], np.float32)
    out = run(device, **arguments).out[0]
    for column, allowed in enumerate(line.products):
        if allowed is not None:
            assert out[column] in {code_of(value, line.static_scale, "e5m2") for value in choices_of(allowed)}
    assert not out[len(line.pairs) : 128].any()

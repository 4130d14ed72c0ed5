"""Inputs for the operation over every axis, as plain NumPy arrays and the options that belong to them.

The same cases run on every device; `devices.py` says how.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np

INPUTS = ("e4m3", "bf16", "fp16", "fp32")
OUTPUTS = ("block", "tensor", "bf16", "fp16", "fp32")
LAYOUTS = ("column_major", "row_major", "padded_total")
ROW_KINDS = ("dense", "map")
GATES = ("second_half", "first_half")

DTYPES = {"e4m3": ml_dtypes.float8_e4m3fn, "bf16": ml_dtypes.bfloat16, "fp16": np.float16, "fp32": np.float32}
CODES = {"e4m3": np.uint8, "bf16": np.uint16, "fp16": np.float16, "fp32": np.float32}
POISON = 0xA5


@dataclass(frozen=True)
class Case:
    """One combination of the axes, and sizes. `misaligned` shifts x and out by one element."""

    input: str = "e4m3"
    output: str = "block"
    x_layout: str = "column_major"
    out_layout: str = "column_major"
    row_kind: str = "dense"
    gate: str = "second_half"
    rows: int = 9
    columns: int = 256
    misaligned: bool = False
    row_gap: int = 0  # elements between the rows of x and of out, beyond their own
    pdl: str = "off"

    def __str__(self) -> str:
        default = Case()
        named = {"input", "output", "row_kind"}
        others = [f"{k}={v}" for k, v in vars(self).items() if k not in named and v != getattr(default, k)]
        return "-".join([self.input, self.output, self.row_kind, *others])


def every_combination(**fixed: Any) -> list[Case]:
    """Every input x output x layout x row kind x gate order that makes sense."""
    cases = []
    for input, output, row_kind, gate in itertools.product(INPUTS, OUTPUTS, ROW_KINDS, GATES):
        x_layouts = LAYOUTS if input == "e4m3" else ("column_major",)
        out_layouts = LAYOUTS if output == "block" else ("column_major",)
        for x_layout, out_layout in itertools.product(x_layouts, out_layouts):
            # The padded total is one argument: column-major scales either all use it or none does.
            if {x_layout, out_layout} == {"column_major", "padded_total"} and input == "e4m3" and output == "block":
                continue
            case = Case(input, output, x_layout, out_layout, row_kind, gate)
            cases.append(replace(case, **fixed))
    return cases


@dataclass(frozen=True)
class Problem:
    """The tensors of a case: `arguments` for library and oracle alike, `out` and `out_scale` poisoned."""

    arguments: dict[str, Any]
    out: np.ndarray
    out_scale: np.ndarray | None
    live: np.ndarray  # rows that must be done, ascending


def _strided(values: np.ndarray, gap: int, misaligned: bool) -> np.ndarray:
    """The same values with a gap between rows, and one element off any alignment."""
    rows, columns = values.shape
    backing = np.zeros(rows * (columns + gap) + 64, values.dtype)
    address = backing.__array_interface__["data"][0]
    start = (-address % 64) // values.itemsize + (1 if misaligned else 0)
    view = np.lib.stride_tricks.as_strided(
        backing[start:], shape=(rows, columns), strides=((columns + gap) * values.itemsize, values.itemsize)
    )
    view[...] = values
    return view


def poisoned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    array = np.empty(shape, dtype)
    array.view(np.uint8).fill(POISON)
    return array


def values_of(rng: np.random.Generator, shape: tuple[int, ...], input: str) -> np.ndarray:
    """Codes of normal values with a heavy tail, and of a few special ones."""
    values = rng.standard_normal(shape) * np.exp(rng.standard_normal((shape[0], 1)))
    return values.astype(np.float32).astype(DTYPES[input]).view(CODES[input])


def build(case: Case, seed: int = 0, values: np.ndarray | None = None) -> Problem:
    rng = np.random.default_rng(seed)
    rows, columns = case.rows, case.columns
    x = values_of(rng, (rows, 2 * columns), case.input) if values is None else values
    arguments: dict[str, Any] = {"gate": case.gate, "pdl": case.pdl}
    if case.input in ("e4m3", "bf16"):
        arguments["x_format"] = case.input

    x_blocks, out_blocks = -(-2 * columns // 128), -(-columns // 128)
    total = rows - 1 if case.row_kind == "map" and rows > 1 else rows  # a total below the capacity
    if case.input == "e4m3":
        scales = np.exp2(rng.uniform(-6, 2, (x_blocks, rows))).astype(np.float32)
        if case.x_layout == "row_major":
            arguments |= {"x_scale": np.ascontiguousarray(scales.T), "x_scale_layout": "row_major"}
        else:
            arguments["x_scale"] = scales.reshape(-1) if case.x_layout == "padded_total" else scales
    x_on_device = case.input == "e4m3" and case.x_layout == "padded_total"
    if x_on_device or (case.output == "block" and case.out_layout == "padded_total"):
        arguments["total_num_padded_tokens"] = np.array([total], np.int32)
    if case.row_kind == "map":
        # Two thirds of the rows, shuffled, among -1 entries; the last row is padding.
        count = -(-2 * (rows - 1) // 3) if rows > 1 else rows
        chosen = rng.permutation(max(rows - 1, 1))[:count]
        entries = np.full(2 * rows, -1, np.int32)
        entries[rng.permutation(2 * rows)[:count]] = chosen
        arguments["expanded_idx_to_permuted_idx"] = entries.reshape(rows, 2)
        live = np.sort(chosen)
    else:
        live = np.arange(rows)

    out_scale = None
    if case.output == "block":
        shape = (rows, out_blocks) if case.out_layout == "row_major" else (out_blocks, rows)
        out_scale = poisoned((out_blocks * rows,) if case.out_layout == "padded_total" else shape, np.float32)
        if case.out_layout == "row_major":
            arguments["out_scale_layout"] = "row_major"
    elif case.output == "tensor":
        arguments["static_scale"] = np.array([0.037], np.float32)
    else:
        arguments["out_format"] = case.output
    out_format = "e4m3" if case.output in ("block", "tensor") else case.output
    arguments["x"] = _strided(x, case.row_gap, case.misaligned)
    out = _strided(poisoned((rows, columns), CODES[out_format]), case.row_gap, case.misaligned)
    return Problem(arguments, out, out_scale, live)

"""The verdict on a delivered result, and the midpoint's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..scales import from_rows
from .case import Case
from .expectation import span
from .formats import FORMATS, Array, decode, encode, rn32


@dataclass(frozen=True)
class Report:
    """The verdict on a result; true as a condition exactly if the result conforms."""

    ok: bool
    rows: int  # that were looked at
    elements: int  # that were looked at
    # How many elements have another value than the midpoint's, encode(rn32(middle / delivered scale)). They
    # are no errors; a share that grows tells of arithmetic that got worse. +0 and -0 are one value.
    differing: int
    message: str  # the first offence with all values, '' if there is none

    def __bool__(self) -> bool:
        return self.ok


@np.errstate(all="ignore")
def check(
    x: Array, x_scale: Array | None = None, *, out: Array, out_scale: Array | None = None,
    only: ArrayLike | None = None, **options: Any,
) -> Report:  # fmt: skip
    """Does a delivered result conform to the contract?

    x, x_scale, options: as the library got them, see `Case`. out: [rows, H], of the format's dtype or codes.
    out_scale: with block or row scaling. only: which rows to look at, by default all that have a result.
    Raises ValueError where the arguments do not fit together.
    """
    case = Case(x, x_scale, **options)
    name, format = case.out_format, FORMATS[case.out_format]
    if out.shape != (*x.shape[:-1], case.columns):
        raise ValueError(f"out: expected shape {[*x.shape[:-1], case.columns]}, got {list(out.shape)}")
    if (out_scale is not None) != (case.scaling in ("block", "row")):
        raise ValueError(f"out_scale: goes with out_scaling 'block' or 'row', which is {case.scaling!r}")
    codes, chunks = format.codes_of(out.reshape(-1, case.columns) if case.masked else out, "out"), case.chunks(only)
    differing, offences, message = 0, 0, ""
    for chunk in chunks:
        expected, code = case.expect(chunk), codes[chunk]
        delivered: Array | None = None
        wrong_scale: Array = np.zeros((len(chunk), 1), bool)
        if out_scale is not None:
            delivered = case.scales("out_scale", out_scale, chunk)
            wrong_scale = ~((delivered >= expected.scale_low) & (delivered <= expected.scale_high))
        divisor, value = case.divisor(delivered), decode(code, name)
        low, high, may_be_nan = expected.bounds(divisor, name)
        # e4m3 and e5m2 have several NaNs and the contract names one of them; of wider formats any will do.
        is_nan = np.isnan(value) & ((code == format.nan) | (not format.saturates))
        wrong = ~(((value >= low) & (value <= high)) | (is_nan & may_be_nan))
        middle = decode(encode(rn32(expected.middle / divisor), name), name)
        differing += int(np.count_nonzero((value != middle) & ~(np.isnan(value) & np.isnan(middle))))
        offences += int(np.count_nonzero(wrong) + np.count_nonzero(wrong_scale))
        if offences and not message:
            row = int(np.argmax(wrong.any(axis=1) | wrong_scale.any(axis=1)))
            if delivered is not None and wrong_scale[row].any():
                block = int(np.argmax(wrong_scale[row]))
                magnitudes = np.nan_to_num(np.abs(expected.high[row, block * case.block :][: case.block]), nan=0.0)
                column = block * case.block + int(np.argmax(magnitudes))
                allowed = span(expected.scale_low[row, block], expected.scale_high[row, block])
                what = f"block {block}: scale {delivered[row, block]:.9g}, expected {allowed};"
                what += f" column {column}:"
            else:
                column = int(np.argmax(wrong[row]))
                got = f"{name} 0x{code[row, column]:0{2 * code.itemsize}X} ({value[row, column]:.9g})"
                allowed = span(low[row, column], high[row, column], bool(may_be_nan[row, column]))
                what = f"column {column} (block {column // case.block}): {got}, expected {allowed};"
                what += f" scale {np.broadcast_to(divisor, value.shape)[row, column]:.9g},"
            message = f"row {chunk[row]}, {what} {expected.describe(row, column)}"
    if offences > 1:
        message += f" ({offences} offences in all)"
    looked_at = sum(map(len, chunks))
    return Report(not offences, looked_at, looked_at * case.columns, differing, message)


@np.errstate(all="ignore")
def reference(x: Array, x_scale: Array | None = None, **options: Any) -> tuple[Array, Array | None]:
    """The midpoint's result, a plain numpy answer: out [rows, H] and out_scale (None unless by block).

    Options as in `Case`. fp16 and fp32 come as such, e4m3 and bf16 as uint8 and uint16 codes. Rows that the
    map or convention does not name hold 0 and scale 1. With `total_num_padded_tokens` a column-major out_scale is flat.
    """
    case = Case(x, x_scale, **options)
    format = FORMATS[case.out_format]
    codes = np.zeros((case.row_count, case.columns), format.code_dtype)
    scales: Array | None = None
    if case.scaling in ("block", "row"):
        scales = np.ones((case.row_count, -(-case.columns // case.block)), np.float32)
    for chunk in case.chunks():
        expected = case.expect(chunk)
        if scales is not None:
            scales[chunk] = expected.scale_middle
        divisor = case.divisor(None if scales is None else expected.scale_middle)
        codes[chunk] = encode(rn32(expected.middle / divisor), case.out_format)
    codes = codes.reshape(*x.shape[:-1], case.columns)
    out = codes.view(format.dtype_name) if case.out_format in ("fp16", "fp32") else codes
    return out, None if scales is None else _in_layout(case, scales)


def _in_layout(case: Case, scales: Array) -> Array:
    """[rows, blocks] of all rows, as the case wants its out_scale."""
    dense = scales.reshape(*case.x.shape[:-1], -1)
    if case.scaling == "row":
        return dense[..., 0]
    if case.out_scale_layout == "column_major" and case.total_num_padded_tokens is not None:
        total = int(np.asarray(case.total_num_padded_tokens).item())
        flat = np.ones(scales.size, np.float32)
        for block in range(scales.shape[1]):
            flat[total * block : total * block + total] = scales[:total, block]
        return flat
    if case.out_scale_layout == "swizzled_128x4" and not case.masked:
        live, scale_rows = case.live
        height = max(len(scales), int(scale_rows.max(initial=-1)) + 1)
        dense = np.ones((height, scales.shape[1]), np.float32)
        dense[scale_rows] = scales[live]
    return from_rows(dense, case.out_scale_layout, format=case.out_scale_format)

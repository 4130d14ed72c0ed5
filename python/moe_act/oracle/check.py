"""The verdict on a delivered result, and the midpoint's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .case import Case
from .expectation import BLOCK, span
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
    rows: ArrayLike | None = None, **options: Any,
) -> Report:  # fmt: skip
    """Does a delivered result conform to the contract?

    x, x_scale, options: as the library got them, see `Case`. out: [rows, H], of the format's dtype or codes.
    out_scale: with block scaling. rows: which ones to look at, by default all that have a result.
    Raises ValueError where the arguments do not fit together.
    """
    case = Case(x, x_scale, **options)
    name, format = case.out_format, FORMATS[case.out_format]
    if out.shape != (len(x), case.columns):
        raise ValueError(f"out: expected shape {[len(x), case.columns]}, got {list(out.shape)}")
    if (out_scale is not None) != (case.scaling == "block"):
        raise ValueError(f"out_scale: goes with out_scaling 'block', which is {case.scaling!r}")
    codes, chunks = format.codes_of(out, "out"), case.chunks(rows)
    differing, offences, message = 0, 0, ""
    for chunk in chunks:
        expected, code = case.expect(chunk), codes[chunk]
        delivered: Array | None = None
        wrong_scale: Array = np.zeros((len(chunk), 1), bool)
        if out_scale is not None:
            scales, index = case.scales("out_scale", out_scale, chunk)
            delivered = scales[index]
            wrong_scale = ~((delivered >= expected.scale_low) & (delivered <= expected.scale_high))
        divisor, value = case.divisor(delivered), decode(code, name)
        low, high, may_be_nan = expected.bounds(divisor, name)
        # e4m3 has two NaNs and the contract names one of them; of wider formats any will do.
        is_nan = np.isnan(value) & ((code == format.nan) | (name != "e4m3"))
        wrong = ~(((value >= low) & (value <= high)) | (is_nan & may_be_nan))
        middle = decode(encode(rn32(expected.middle / divisor), name), name)
        differing += int(np.count_nonzero((value != middle) & ~(np.isnan(value) & np.isnan(middle))))
        offences += int(np.count_nonzero(wrong) + np.count_nonzero(wrong_scale))
        if offences and not message:
            row = int(np.argmax(wrong.any(axis=1) | wrong_scale.any(axis=1)))
            if delivered is not None and wrong_scale[row].any():
                block = int(np.argmax(wrong_scale[row]))
                magnitudes = np.nan_to_num(np.abs(expected.high[row, block * BLOCK :][:BLOCK]), nan=0.0)
                column = block * BLOCK + int(np.argmax(magnitudes))
                allowed = span(expected.scale_low[row, block], expected.scale_high[row, block])
                what = f"block {block}: scale {delivered[row, block]:.9g}, expected {allowed};"
                what += f" column {column}:"
            else:
                column = int(np.argmax(wrong[row]))
                got = f"{name} 0x{code[row, column]:0{2 * code.itemsize}X} ({value[row, column]:.9g})"
                allowed = span(low[row, column], high[row, column], bool(may_be_nan[row, column]))
                what = f"column {column} (block {column // BLOCK}): {got}, expected {allowed};"
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
    map does not name hold 0 and scale 1. With `total_num_padded_tokens` a column-major out_scale is flat.
    """
    case = Case(x, x_scale, **options)
    format = FORMATS[case.out_format]
    codes = np.zeros((len(x), case.columns), format.code_dtype)
    out_scale: Array | None = None
    if case.scaling == "block":
        column_major = case.out_scale_layout == "column_major"
        out_scale = np.ones((-(-case.columns // BLOCK), len(x)), np.float32)
        flat = column_major and case.total_num_padded_tokens is not None
        out_scale = out_scale.reshape(-1) if flat else out_scale if column_major else out_scale.T.copy()
    for chunk in case.chunks():
        expected = case.expect(chunk)
        if out_scale is not None:
            scales, index = case.scales("out_scale", out_scale, chunk)
            scales[index] = expected.scale_middle
        divisor = case.divisor(None if out_scale is None else expected.scale_middle)
        codes[chunk] = encode(rn32(expected.middle / divisor), case.out_format)
    return codes.view(format.dtype_name) if case.out_format in ("fp16", "fp32") else codes, out_scale

"""The verdict on a delivered result, and the midpoint's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..scales import from_rows
from .case import Case
from .expectation import Bounds, Expectation, span
from .formats import FORMATS, Array, decode, encode, known
from .scale_tensors import scales_of


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


@dataclass(frozen=True, eq=False)
class _Judged:
    """Some rows of one tensor: which elements offend, and what to say of one."""

    wrong: Array
    describe: Callable[[int, int], str]


@np.errstate(all="ignore")
def check(
    x: Array, x_scale: Array | None = None, *, out: Array, out_scale: Array | None = None,
    out_unquantized: Array | None = None, only: ArrayLike | None = None, exact_quotient: bool = False, **options: Any,
) -> Report:  # fmt: skip
    """Does a delivered result conform to the contract?

    x, x_scale, options: as the library got them, see `Case`. out: [rows, H], of the format's dtype or codes.
    out_scale: with block or row scaling. out_unquantized: [rows, H], bf16, fp16 or fp32.
    only: which rows to look at, by default all that have a result.
    exact_quotient: y was divided as on the CPU, not as on a GPU, where a product with the reciprocal will do.
    Raises ValueError where the arguments do not fit together.
    """
    case = Case(x, x_scale, **options)
    if (out_scale is not None) != (case.scaling in ("block", "row")):
        raise ValueError(f"out_scale: goes with out_scaling 'block' or 'row', which is {case.scaling!r}")
    codes, chunks = _codes(case, "out", out, case.out_format), case.chunks(only)
    copy_format = "" if out_unquantized is None else _format_of_copy(case, out_unquantized)
    copies = None if out_unquantized is None else _codes(case, "out_unquantized", out_unquantized, copy_format)
    differing, offences, message = 0, 0, ""
    for chunk in chunks:
        expected = case.expect(chunk)
        delivered = None if out_scale is None else scales_of(case, "out_scale", out_scale, chunk)
        bounds = expected.codes(delivered, exact_quotient)
        judged = [] if delivered is None else [_judge_scales(expected, delivered)]
        judged.append(_judge_codes(expected, codes[chunk], case.out_format, bounds, delivered))
        if copies is not None:
            judged.append(_judge_copies(expected, copies[chunk], copy_format))
        value = decode(codes[chunk], case.out_format)
        differing += int(np.count_nonzero((value != bounds.middle) & ~(np.isnan(value) & np.isnan(bounds.middle))))
        offences += sum(int(np.count_nonzero(tensor.wrong)) for tensor in judged)
        if offences and not message:
            row = int(np.argmax(np.any([tensor.wrong.any(axis=1) for tensor in judged], axis=0)))
            first = next(tensor for tensor in judged if tensor.wrong[row].any())
            message = f"row {chunk[row]}, {first.describe(row, int(np.argmax(first.wrong[row])))}"
    if offences > 1:
        message += f" ({offences} offences in all)"
    looked_at = sum(map(len, chunks))
    return Report(not offences, looked_at, looked_at * case.columns, differing, message)


def _codes(case: Case, argument: str, array: Array, format: str) -> Array:
    """[rows, H], of all rows."""
    if array.shape != (*case.x.shape[:-1], case.columns):
        raise ValueError(f"{argument}: expected shape {[*case.x.shape[:-1], case.columns]}, got {list(array.shape)}")
    return FORMATS[format].codes_of(array.reshape(-1, case.columns) if case.masked else array, argument)


def _format_of_copy(case: Case, array: Array) -> str:
    named = {"uint16": "bf16", "bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
    format = case.unquantized_format or named.get(array.dtype.name, array.dtype.name)
    return known("unquantized_format", format, "bf16", "fp16", "fp32")


def _judge_scales(expected: Expectation, delivered: Array) -> _Judged:
    scales, width = expected.scales, expected.scaling.block or 1
    may_be_nan = scales.may_be_nan & expected.rule.mx
    wrong = ~(((delivered >= scales.low) & (delivered <= scales.high)) | (np.isnan(delivered) & may_be_nan))

    def describe(row: int, block: int) -> str:
        magnitudes = np.nan_to_num(np.abs(expected.y.high[row, block * width :][:width]), nan=0.0)
        column = block * width + int(np.argmax(magnitudes))
        allowed = span(scales.low[row, block], scales.high[row, block], bool(may_be_nan[row, block]))
        got = f"block {block}: scale {delivered[row, block]:.9g}, expected {allowed};"
        return f"{got} column {column}: {expected.describe(row, column)}"

    return _Judged(wrong, describe)


def _judge_codes(expected: Expectation, codes: Array, format: str, bounds: Bounds, scales: Array | None) -> _Judged:
    width = expected.scaling.block or 128

    def describe(row: int, column: int) -> str:
        scale = expected.scaling.divisor if scales is None else scales[row, column // width]
        got = _got(codes, format, bounds, row, column)
        return f"column {column} (block {column // width}): {got}; scale {scale:.9g}, {expected.describe(row, column)}"

    return _Judged(_wrong(codes, format, bounds), describe)


def _judge_copies(expected: Expectation, codes: Array, format: str) -> _Judged:
    bounds = Bounds.of(expected.y, format)

    def describe(row: int, column: int) -> str:
        got = _got(codes, format, bounds, row, column)
        return f"column {column} of out_unquantized: {got}; {expected.describe(row, column)}"

    return _Judged(_wrong(codes, format, bounds), describe)


def _wrong(codes: Array, format: str, bounds: Bounds) -> Array:
    value = decode(codes, format)
    # e4m3 and e5m2 have several NaNs and the contract names one of them; of wider formats any will do.
    is_nan = np.isnan(value) & ((codes == FORMATS[format].nan) | (not FORMATS[format].saturates))
    wrong: Array = ~(((value >= bounds.low) & (value <= bounds.high)) | (is_nan & bounds.may_be_nan))
    return wrong


def _got(codes: Array, format: str, bounds: Bounds, row: int, column: int) -> str:
    code, digits = codes[row, column], 2 * codes.itemsize
    allowed = span(bounds.low[row, column], bounds.high[row, column], bool(bounds.may_be_nan[row, column]))
    return f"{format} 0x{code:0{digits}X} ({decode(codes, format)[row, column]:.9g}), expected {allowed}"


@np.errstate(all="ignore")
def reference(x: Array, x_scale: Array | None = None, **options: Any) -> tuple[Array, Array | None]:
    """The midpoint's result, a plain numpy answer: out [rows, H], and out_scale, None unless by block or row.

    Options as in `Case`. fp16 and fp32 come as such, fp8 and bf16 as uint8 and uint16 codes. Rows that the
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
        of_chunk = None if scales is None else expected.scales.middle
        codes[chunk] = encode(expected.codes(of_chunk, exact_quotient=True).middle, case.out_format)
        if scales is not None:
            scales[chunk] = of_chunk
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
        live, scale_rows = case.live.rows, case.live.scale_rows
        height = max(len(scales), int(scale_rows.max(initial=-1)) + 1)
        dense = np.ones((height, scales.shape[1]), np.float32)
        dense[scale_rows] = scales[live]
    return from_rows(dense, case.out_scale_layout, format=case.out_scale_format)

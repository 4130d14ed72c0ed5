"""Scale tensors: memory for each layout, and NumPy converters between any two of them, for tests and debugging.

A layout says where the scale of a row and of a block of columns lies (docs/layouts.md has them all):

    column_major      [blocks, rows], fp32 or ue8m0
    row_major         [rows, blocks], fp32 or ue8m0
    tma_column_major  [rows, blocks], fp32, rows adjacent, blocks align(rows, 4) elements apart
    packed_ue8m0      [rows, ceil(blocks / 4)], int32, strides alike; each word holds the exponents of four blocks
    swizzled_128x4    [align(rows, 128), align(blocks, 4)], ue8m0, in tiles of 128 rows x 4 blocks

Where rows are masked, every tensor has a leading ``[experts]``. ue8m0 is a power of two in one byte,
``2 ** (code - 127)``; 255 is NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _frameworks

Array = np.ndarray[tuple[Any, ...], np.dtype[Any]]  # NDArray[Any], without numpy.typing, which nothing else loads
LAYOUTS = ("column_major", "row_major", "tma_column_major", "packed_ue8m0", "swizzled_128x4")

__all__ = ["LAYOUTS", "convert", "decode_ue8m0", "empty", "encode_ue8m0", "from_rows", "padded_rows", "to_rows"]


def empty(
    layout: str,
    *,
    rows: int,
    columns: int,
    block: int = 128,
    format: str | None = None,
    experts: int | None = None,
    segments: int | None = None,
    like: Any = None,
) -> Any:
    """Uninitialized memory for the scales of ``[rows, columns]`` values, shaped and strided as the layout wants it.

    Args:
        layout: one of ``LAYOUTS``.
        rows: of each expert where there are ``experts``.
        columns: of the scaled tensor: ``2H`` for ``x_scale``, ``H`` for ``out_scale``.
        block: columns that share a scale: 32, 64 or 128.
        format: "fp32" or "ue8m0"; by default what the layout holds, fp32 if it holds both.
        experts: masked rows: how many experts have a part of their own.
        segments: expert offsets or ends: how many experts' rows the swizzled layout pads, each to 128.
        like: a tensor whose framework and device to use; NumPy without it.

    Raises:
        ValueError: an unknown layout, a format that it does not hold, or so many columns cannot share a scale.
    """
    format, blocks = _format_of(layout, format), _blocks_of(columns, block)
    like = np.empty(0, np.float32) if like is None else like
    count = padded_rows(rows, segments) if layout == "swizzled_128x4" else rows
    return _frameworks.empty_scale_like(like, layout, format, count, blocks, experts)


def padded_rows(rows: int, segments: int | None = None) -> int:
    """Rows of a swizzled scale tensor, enough for any distribution of ``rows`` over ``segments`` experts."""
    return -(-rows // 128) * 128 if segments is None else (rows + 127 * min(segments, rows)) // 128 * 128


def to_rows(scales: Array, layout: str, *, rows: int, columns: int, block: int = 128) -> Array:
    """The scales as float32 ``[rows, blocks]``, with whatever axes lead ``scales``.

    ``rows`` of a swizzled tensor count its own rows: those of an expert begin at a multiple of 128.
    """
    _format_of(layout, None)
    blocks = _blocks_of(columns, block)
    if layout == "row_major":
        values = scales
    elif layout == "column_major":
        values = scales.swapaxes(-1, -2)
    elif layout == "tma_column_major":
        values = _rows_first(scales, rows, blocks)
    elif layout == "packed_ue8m0":
        values = _rows_first(scales, rows, -(-blocks // 4))
        values = np.ascontiguousarray(values).astype("<i4").view(np.uint8)
    else:
        quads = -(-blocks // 4)
        # [tile of rows, quad of blocks, row % 32, row / 32, block % 4]
        tiles = scales.view(np.uint8).reshape(*scales.shape[:-2], -1, quads, 32, 4, 4)
        values = np.moveaxis(tiles, (-2, -3, -4), (-4, -3, -2)).reshape(*scales.shape[:-2], -1, 4 * quads)
    values = values[..., :rows, :blocks]
    return np.asarray(values, np.float32) if values.dtype == np.float32 else decode_ue8m0(values)


def from_rows(values: Array, layout: str, *, format: str | None = None) -> Array:
    """float32 ``[rows, blocks]``, with whatever axes lead it, in a layout. Unused bytes are 0.

    What becomes ue8m0 is rounded up to a power of two.
    """
    format = _format_of(layout, format)
    *leading, rows, blocks = values.shape
    quads = -(-blocks // 4)
    if layout in ("packed_ue8m0", "swizzled_128x4"):
        height = -(-rows // 4) * 4 if layout == "packed_ue8m0" else padded_rows(rows)
        codes = np.zeros((*leading, height, 4 * quads), np.uint8)
        codes[..., :rows, :blocks] = encode_ue8m0(values)
        if layout == "packed_ue8m0":
            words = np.ascontiguousarray(codes.view("<i4").astype(np.int32).swapaxes(-1, -2))
            packed: Array = words[..., :rows].swapaxes(-1, -2)
            return packed
        tiles = codes.reshape(*leading, height // 128, 4, 32, quads, 4)
        swizzled: Array = np.moveaxis(tiles, (-4, -3, -2), (-2, -3, -4)).reshape(*leading, height, 4 * quads)
        return swizzled
    encoded = np.asarray(values, np.float32) if format == "fp32" else encode_ue8m0(values)
    if layout == "row_major":
        return np.ascontiguousarray(encoded)
    columns: Array = np.ascontiguousarray(encoded.swapaxes(-1, -2))
    if layout == "column_major":
        return columns
    padded = np.zeros((*columns.shape[:-1], -(-rows // 4) * 4), np.float32)
    padded[..., :rows] = columns
    transposed: Array = padded[..., :rows].swapaxes(-1, -2)
    return transposed


def convert(
    scales: Array,
    source: str,
    target: str,
    *,
    rows: int,
    columns: int,
    block: int = 128,
    format: str | None = None,
) -> Array:
    """Scales in another layout: ``from_rows(to_rows(...))``."""
    return from_rows(to_rows(scales, source, rows=rows, columns=columns, block=block), target, format=format)


def decode_ue8m0(codes: Array) -> Array:
    """float32 of codes."""
    codes = codes.view(np.uint8)
    values = np.ldexp(np.float64(1), codes.astype(np.int64) - 127)
    return np.where(codes == 255, np.nan, values).astype(np.float32)


def encode_ue8m0(values: Array) -> Array:
    """The codes of the least powers of two that are not below the values; infinity and NaN become 255."""
    finite = np.isfinite(values)
    fraction, exponent = np.frexp(np.where(finite, values, 1).astype(np.float64))
    codes = np.clip(exponent - (fraction == 0.5) + 127, 0, 255)
    return np.where(finite, np.where(fraction > 0, codes, 0), 255).astype(np.uint8)


def _rows_first(scales: Array, rows: int, columns: int) -> Array:
    """A tensor for TMA, which may be transposed. Where both shapes fit, the rows are the axis of adjacent elements."""
    transposed: Array = scales.swapaxes(-1, -2)
    if scales.shape[-2:] != (rows, columns):
        return transposed
    fits_both = rows == columns and rows > 1
    return transposed if fits_both and scales.strides[-2] != scales.itemsize else scales


def _blocks_of(columns: int, block: int) -> int:
    if block not in (32, 64, 128):
        raise ValueError(f"block: expected 32, 64 or 128 columns that share a scale, got {block}")
    return -(-columns // block)


def _format_of(layout: str, format: str | None) -> str:
    held = {"tma_column_major": ("fp32",), "packed_ue8m0": ("ue8m0",), "swizzled_128x4": ("ue8m0",)}
    if layout not in LAYOUTS:
        raise ValueError(f"layout: expected one of {LAYOUTS}, got {layout!r}")
    known = held.get(layout, ("fp32", "ue8m0"))
    if format is not None and format not in known:
        raise ValueError(f"format: {layout} scales are {' or '.join(known)}, got {format!r}")
    return known[0] if format is None else format

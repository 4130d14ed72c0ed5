"""The scales of some rows, out of a tensor in any layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..scales import LAYOUTS, to_rows
from .formats import Array, known, to_float64

if TYPE_CHECKING:
    from .case import Case

SWIZZLE_ROWS = 128


def scales_of(case: Case, argument: str, array: Array, rows: Array) -> Array:
    """The scales [rows, blocks] of these rows, as float64. Of ue8m0, 255 stands for infinity, in MXFP8 for NaN."""
    inputs = argument == "x_scale"
    columns = int(case.x.shape[-1]) if inputs else case.columns
    block = (case.x_block or 128) if inputs else case.block
    layout = known(f"{argument}_layout", case.x_scale_layout if inputs else case.out_scale_layout, *LAYOUTS)
    blocks, capacity = -(-columns // block), int(case.x.shape[-2])
    if layout == "column_major" and case.total_num_padded_tokens is not None:
        return _flat(case, argument, array, rows, blocks)
    if not inputs and case.scaling == "row":
        _require(argument, array, "one for each row", array.shape == case.x.shape[:-1], np.float32)
        return to_float64(array.reshape(-1)[rows][:, None])
    swizzled, leading = layout == "swizzled_128x4", case.x.shape[:-2]
    words = -(-blocks // 4)
    height = array.size // (4 * words * int(np.prod(leading))) if swizzled else capacity
    shapes: dict[str, list[Any]] = {
        "column_major": [blocks, f"at least {capacity}"],
        "row_major": [capacity, blocks],
        "tma_column_major": [capacity, blocks],
        "packed_ue8m0": [capacity, words],
        "swizzled_128x4": [height, 4 * words],
    }
    expected = shapes[layout]
    fits = array.shape[:-2] == leading and array.ndim == len(leading) + 2
    if layout == "column_major":
        fits = fits and array.shape[-2] == blocks and array.shape[-1] >= capacity
    else:
        fits = fits and list(array.shape[-2:]) == expected and height >= capacity
    exponents = case.exponents(argument)
    dtype = np.int32 if layout == "packed_ue8m0" else np.uint8 if exponents else np.float32
    _require(argument, array, f"[{expected[0]}, {expected[1]}] ({layout})", fits, dtype)
    dense = to_rows(array, layout, rows=height, columns=columns, block=block).reshape(-1, blocks)
    if exponents and (inputs or not case.rule.mx):
        dense = np.where(np.isnan(dense), np.float32(np.inf), dense)
    if swizzled:
        part = rows // capacity * (height - -(-capacity // SWIZZLE_ROWS) * SWIZZLE_ROWS) if case.masked else 0
        rows = case.live.at(rows).scale_rows + part
    return to_float64(dense[rows])


def _flat(case: Case, argument: str, array: Array, rows: Array, blocks: int) -> Array:
    total = int(np.asarray(case.total_num_padded_tokens).item())
    index = rows[:, None] + total * np.arange(blocks)
    fits = bool(rows.max(initial=-1) < total and index.max(initial=-1) < array.size)
    expected = f"{blocks} blocks of {total} rows, with row {rows.max(initial=-1)} (column_major)"
    _require(argument, array, expected, fits, np.float32)
    return to_float64(array.reshape(-1)[index])


def _require(argument: str, array: Array, expected: str, fits: bool, dtype: Any) -> None:
    if not fits or array.dtype != dtype:
        got = f"{array.dtype} {list(array.shape)}"
        raise ValueError(f"{argument}: expected {np.dtype(dtype).name} {expected}, got {got}")

"""One call of the operation, as the oracle sees it: which rows have a result, and what they may hold."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..scales import LAYOUTS, to_rows
from .conventions import live_rows
from .expectation import Expectation, expectation
from .formats import FORMATS, Array, decode, known, rn32, to_float64

CHUNK_ELEMENTS = 1 << 17  # output elements examined at once: temporaries stay within a few MiB
LARGEST = {"e4m3": 448.0, "e5m2": 57344.0}
SWIZZLE_ROWS = 128


def _spread(scales: Array, columns: int, block: int) -> Array:
    """[rows, blocks] to [rows, columns]."""
    return np.repeat(to_float64(scales), block, axis=1)[:, :columns]


@dataclass(frozen=True, eq=False)
class Case:
    """One call of ``gated_act_quant``: its arrays and options under the same names.

    x: [rows, 2H], an array of its own dtype (ml_dtypes included), or uint8 / uint16 codes with `x_format`. Masked:
    [experts, rows, 2H]; rows are then counted through all experts, here and in what the methods return.
    x_scale (and out_scale): as `moe_act.scales` says of their layouts; column major with `total_num_padded_tokens`:
    of any shape, scale(row, block) = flat[row + total * block].
    `padding`, `pdl` and `expected_rows` change no live row: one set of options serves library and oracle.
    """

    x: Array
    x_scale: Array | None = None
    _: KW_ONLY
    static_scale: ArrayLike | None = None
    expanded_idx_to_permuted_idx: ArrayLike | None = None
    total_num_padded_tokens: ArrayLike | None = None
    rows: Any = None
    x_format: str | None = None
    x_scale_layout: str = "column_major"
    x_scale_format: str | None = None
    x_block: int | None = None
    out_format: str = "e4m3"
    out_scaling: str | None = None
    out_scale_layout: str = "column_major"
    out_scale_format: str | None = None
    out_block: int | None = None
    scale_rounding: str | None = None
    activation: str = "swiglu"
    gate: str = "second_half"
    padding: str | None = None
    pdl: str = "off"
    expected_rows: int | None = None

    def __post_init__(self) -> None:
        known("activation", self.activation, "swiglu")
        known("gate", self.gate, "first_half", "second_half")
        known("out_format", self.out_format, *FORMATS)
        scalings = ["block", "tensor", "row"] if self.out_format in LARGEST else ["none"]
        known("out_scaling", self.scaling, *scalings)
        axes = 3 if self.masked else 2
        if self.x.ndim != axes or self.x.shape[-1] % 2 or not self.x.shape[-1]:
            shape = "[experts, rows, 2H]" if self.masked else "[rows, 2H]"
            raise ValueError(f"x: expected shape {shape}, got {list(self.x.shape)}")
        if (self.static_scale is not None) != (self.scaling == "tensor"):
            raise ValueError(f"static_scale: goes with out_scaling 'tensor', which is {self.scaling!r}")
        if (self.x_scale is not None) != (self.input_format == "e4m3"):
            raise ValueError(f"x_scale: goes with e4m3 input, which is {self.input_format}")

    @property
    def columns(self) -> int:
        """H"""
        return int(self.x.shape[-1]) // 2

    @property
    def masked(self) -> bool:
        return type(self.rows).__name__ == "Masked"

    @property
    def row_count(self) -> int:
        """Rows of x, of all experts."""
        return int(np.prod(self.x.shape[:-1]))

    @cached_property
    def live(self) -> tuple[Array, Array]:
        """The rows that have a result, ascending, and the row of each in a swizzled scale tensor."""
        every: Array = np.arange(self.row_count)
        if self.rows is not None:
            return live_rows(self.rows, int(self.x.shape[-2]), len(self.x) if self.masked else None)
        if self.expanded_idx_to_permuted_idx is None:
            return every, every
        named = np.unique(np.asarray(self.expanded_idx_to_permuted_idx, np.int64))
        named = named[named != -1]
        if np.any((named < 0) | (named >= len(self.x))):
            raise ValueError(f"expanded_idx_to_permuted_idx: expected -1 or rows below {len(self.x)}")
        return named, named

    @property
    def input_format(self) -> str:
        names = {format.dtype_name: name for name, format in FORMATS.items()}
        name = names.get(self.x.dtype.name, str(self.x.dtype)) if self.x_format is None else self.x_format
        return known("x_format", name, *FORMATS)

    @property
    def scaling(self) -> str:
        if self.out_scaling is not None:
            return self.out_scaling
        scaled = "block" if self.static_scale is None else "tensor"
        return scaled if self.out_format in LARGEST else "none"

    @property
    def block(self) -> int:
        """Columns of a result that share a scale."""
        return self.columns if self.scaling == "row" else self.out_block or 128

    def chunks(self, only: ArrayLike | None = None) -> list[Array]:
        """The rows that have a result, or `only` some of them: ascending, each once, a few at a time."""
        live = self.live[0]
        chosen = live if only is None else np.unique(np.asarray(only, np.int64))
        if not np.isin(chosen, live).all():
            raise ValueError(f"only: row {chosen[~np.isin(chosen, live)][0]} has no result")
        step = max(1, CHUNK_ELEMENTS // self.columns)
        return [chosen[start : start + step] for start in range(0, len(chosen), step)]

    def scales(self, argument: str, array: Array, rows: Array) -> Array:
        """The scales [rows, blocks] of these rows, as float32. Of ue8m0, 255 stands for infinity."""
        inputs = argument == "x_scale"
        columns = 2 * self.columns if inputs else self.columns
        block = (self.x_block or 128) if inputs else self.block
        layout = known(f"{argument}_layout", self.x_scale_layout if inputs else self.out_scale_layout, *LAYOUTS)
        blocks, capacity = -(-columns // block), int(self.x.shape[-2])
        if layout == "column_major" and self.total_num_padded_tokens is not None:
            return self._flat_scales(argument, array, rows, blocks)
        if not inputs and self.scaling == "row":
            self._require(argument, array, "one for each row", array.shape == self.x.shape[:-1], np.float32)
            return array.reshape(-1)[rows][:, None]
        swizzled, leading = layout == "swizzled_128x4", self.x.shape[:-2]
        exponents = (self.x_scale_format if inputs else self.out_scale_format) == "ue8m0"
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
        dtype = np.int32 if layout == "packed_ue8m0" else np.uint8 if exponents or swizzled else np.float32
        self._require(argument, array, f"[{expected[0]}, {expected[1]}] ({layout})", fits, dtype)
        dense = to_rows(array, layout, rows=height, columns=columns, block=block).reshape(-1, blocks)
        if exponents or layout in ("packed_ue8m0", "swizzled_128x4"):
            dense = np.where(np.isnan(dense), np.float32(np.inf), dense)
        if swizzled:
            live, scale_rows = self.live
            part = rows // capacity * (height - -(-capacity // SWIZZLE_ROWS) * SWIZZLE_ROWS) if self.masked else 0
            rows = scale_rows[np.searchsorted(live, rows)] + part
        chosen: Array = dense[rows]
        return chosen

    def _flat_scales(self, argument: str, array: Array, rows: Array, blocks: int) -> Array:
        total = int(np.asarray(self.total_num_padded_tokens).item())
        index = rows[:, None] + total * np.arange(blocks)
        fits = bool(rows.max(initial=-1) < total and index.max(initial=-1) < array.size)
        expected = f"{blocks} blocks of {total} rows, with row {rows.max(initial=-1)} (column_major)"
        self._require(argument, array, expected, fits, np.float32)
        flat: Array = array.reshape(-1)[index]
        return flat

    @staticmethod
    def _require(argument: str, array: Array, expected: str, fits: bool, dtype: Any) -> None:
        if not fits or array.dtype != dtype:
            got = f"{array.dtype} {list(array.shape)}"
            raise ValueError(f"{argument}: expected {np.dtype(dtype).name} {expected}, got {got}")

    def expect(self, rows: Array) -> Expectation:
        """What the contract allows for these rows, all at once: for many rows see `chunks`."""
        stored = self.x.reshape(-1, 2 * self.columns) if self.masked else self.x
        values = decode(FORMATS[self.input_format].codes_of(stored[rows], "x"), self.input_format)
        if self.x_scale is not None:
            scales = self.scales("x_scale", self.x_scale, rows)
            with np.errstate(invalid="ignore"):  # float64 holds the product of two fp32 numbers: rounded once
                values = rn32(values * _spread(scales, values.shape[1], self.x_block or 128))
        first, second = values[:, : self.columns], values[:, self.columns :]
        gate, up = (first, second) if self.gate == "first_half" else (second, first)
        exponents = self.out_scale_layout in ("packed_ue8m0", "swizzled_128x4") or self.out_scale_format == "ue8m0"
        power_of_two = self.scale_rounding == "power_of_two" or (self.scaling == "block" and exponents)
        return expectation(gate, up, self.block, LARGEST.get(self.out_format, 448.0), power_of_two)

    def divisor(self, scales: Array | None) -> Array | float:
        """What y is divided by before it is encoded."""
        if scales is not None:
            return _spread(scales, self.columns, self.block)
        scale = 1.0 if self.static_scale is None else self.static_scale
        return float(np.asarray(scale, np.float32).item())

"""One call of the operation, as the oracle sees it: which rows have a result, and what they may hold."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np
from numpy.typing import ArrayLike

from .expectation import BLOCK, Expectation, expectation
from .formats import FORMATS, Array, decode, known, rn32, to_float64

CHUNK_ELEMENTS = 1 << 17  # output elements examined at once: temporaries stay within a few MiB


def _spread(scales: Array, columns: int) -> Array:
    """[rows, blocks] to [rows, columns]."""
    return np.repeat(to_float64(scales), BLOCK, axis=1)[:, :columns]


@dataclass(frozen=True, eq=False)
class Case:
    """One call of ``gated_act_quant``: its arrays and options under the same names.

    x: [rows, 2H], an array of its own dtype (ml_dtypes included), or uint8 / uint16 codes with `x_format`.
    x_scale (and out_scale): float32, column major [blocks, >= rows] or row major [rows, blocks]; column
    major with `total_num_padded_tokens`: of any shape, scale(row, block) = flat[row + total * block].
    `padding`, `pdl` and `expected_rows` change no live row: one set of options serves library and oracle.
    """

    x: Array
    x_scale: Array | None = None
    _: KW_ONLY
    static_scale: ArrayLike | None = None
    expanded_idx_to_permuted_idx: ArrayLike | None = None
    total_num_padded_tokens: ArrayLike | None = None
    x_format: str | None = None
    x_scale_layout: str = "column_major"
    out_format: str = "e4m3"
    out_scaling: str | None = None
    out_scale_layout: str = "column_major"
    activation: str = "swiglu"
    gate: str = "second_half"
    padding: str | None = None
    pdl: str = "off"
    expected_rows: int | None = None

    def __post_init__(self) -> None:
        known("activation", self.activation, "swiglu")
        known("gate", self.gate, "first_half", "second_half")
        known("out_format", self.out_format, *FORMATS)
        scalings = ["block", "tensor"] if self.out_format == "e4m3" else ["none"]
        known("out_scaling", self.scaling, *scalings)
        if self.x.ndim != 2 or self.x.shape[1] % 2 or not self.x.shape[1]:
            raise ValueError(f"x: expected shape [rows, 2H], got {list(self.x.shape)}")
        if (self.static_scale is not None) != (self.scaling == "tensor"):
            raise ValueError(f"static_scale: goes with out_scaling 'tensor', which is {self.scaling!r}")
        if (self.x_scale is not None) != (self.input_format == "e4m3"):
            raise ValueError(f"x_scale: goes with e4m3 input, which is {self.input_format}")

    @property
    def columns(self) -> int:
        """H"""
        return int(self.x.shape[1]) // 2

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
        return scaled if self.out_format == "e4m3" else "none"

    def chunks(self, rows: ArrayLike | None = None) -> list[Array]:
        """The rows that have a result, or `rows` of them: ascending, each once, a few at a time."""
        live: Array = np.arange(len(self.x))
        if self.expanded_idx_to_permuted_idx is not None:
            live = np.unique(np.asarray(self.expanded_idx_to_permuted_idx, np.int64))
            live = live[live != -1]
            if np.any((live < 0) | (live >= len(self.x))):
                raise ValueError(f"expanded_idx_to_permuted_idx: expected -1 or rows below {len(self.x)}")
        chosen = live if rows is None else np.unique(np.asarray(rows, np.int64))
        if not np.isin(chosen, live).all():
            raise ValueError(f"rows: row {chosen[~np.isin(chosen, live)][0]} has no result")
        step = max(1, CHUNK_ELEMENTS // self.columns)
        return [chosen[start : start + step] for start in range(0, len(chosen), step)]

    def scales(self, argument: str, array: Array, rows: Array) -> tuple[Array, tuple[Array, ...]]:
        """The array (flat if its stride is the padded total), and the index of [rows, blocks] in it."""
        inputs = argument == "x_scale"
        columns, layout = (2, self.x_scale_layout) if inputs else (1, self.out_scale_layout)
        row, block = rows[:, None], np.arange(-(-columns * self.columns // BLOCK))
        index: tuple[Array, ...]
        if known(f"{argument}_layout", layout, "column_major", "row_major") == "row_major":
            index, expected = (row, block), f"[{len(self.x)}, {block.size}]"
            fits = array.shape == (len(self.x), block.size)
        elif self.total_num_padded_tokens is None:
            index, expected = (block, row), f"[{block.size}, at least {len(self.x)}]"
            fits = array.ndim == 2 and len(array) == block.size and array.shape[1] >= len(self.x)
        else:
            total = int(np.asarray(self.total_num_padded_tokens).item())
            array, index = array.reshape(-1), (row + total * block,)
            expected = f"{block.size} blocks of {total} rows, with row {row.max()}"
            fits = bool(row.max() < total and index[0].max() < array.size)
        if not fits or array.dtype != np.float32:
            got = f"{array.dtype} {list(array.shape)}"
            raise ValueError(f"{argument}: expected float32 {expected} ({layout}), got {got}")
        return array, index

    def expect(self, rows: Array) -> Expectation:
        """What the contract allows for these rows, all at once: for many rows see `chunks`."""
        values = decode(FORMATS[self.input_format].codes_of(self.x[rows], "x"), self.input_format)
        if self.x_scale is not None:
            scales, index = self.scales("x_scale", self.x_scale, rows)
            with np.errstate(invalid="ignore"):  # float64 holds the product of two fp32 numbers: rounded once
                values = rn32(values * _spread(scales[index], values.shape[1]))
        first, second = values[:, : self.columns], values[:, self.columns :]
        return expectation(first, second) if self.gate == "first_half" else expectation(second, first)

    def divisor(self, scales: Array | None) -> Array | float:
        """What y is divided by before it is encoded."""
        if scales is not None:
            return _spread(scales, self.columns)
        scale = 1.0 if self.static_scale is None else self.static_scale
        return float(np.asarray(scale, np.float32).item())

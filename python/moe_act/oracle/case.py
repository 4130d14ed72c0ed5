"""One call of the operation, as the oracle sees it: which rows have a result, and what they may hold."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..rows import Dense, ExpandedToPermuted
from .activations import ACTIVATIONS, RELATIVE_ERROR, UNGATED, Parameters, activate
from .conventions import UNKNOWN, LiveRows, live_rows
from .expectation import Expectation, Scaling, largest_magnitudes
from .formats import FORMATS, LARGEST, Array, decode, known, rn32, to_float64
from .interval import Interval
from .numerics import Rule, rule_of
from .scale_tensors import scales_of

CHUNK_ELEMENTS = 1 << 17  # output elements examined at once: temporaries stay within a few MiB
GATES = ("first_half", "second_half", "interleaved")


@dataclass(frozen=True, eq=False)
class Case:
    """One call of ``gated_act_quant``: its arrays and options under the same names.

    x: [rows, 2H], or [rows, H] without a gate: an array of its own dtype (ml_dtypes included), or uint8 / uint16 codes
    with `x_format`. Masked: [experts, rows, 2H]; rows are then counted through all experts, here and in what the
    methods return.
    x_scale (and out_scale): as `moe_act.scales` says of their layouts; column major with `total_num_padded_tokens`:
    of any shape, scale(row, block) = flat[row + total * block].
    bias: [experts, columns of x], float32, float16 or bfloat16; uint16 holds codes of bfloat16.
    `padding`, `pdl` and `expected_rows` change no live row: one set of options serves library and oracle.
    """

    x: Array
    x_scale: Array | None = None
    _: KW_ONLY
    bias: Array | None = None
    alpha: ArrayLike | None = None
    beta: ArrayLike | None = None
    limit: ArrayLike | None = None
    weight: ArrayLike | None = None
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
    unquantized_format: str | None = None
    activation: str = "swiglu"
    gate_bound: float | None = None
    up_bound: float | None = None
    gate: str = "second_half"
    interleave: int | None = None
    numerics: Any = "flashinfer"
    padding: str | None = None
    pdl: str = "off"
    expected_rows: int | None = None

    def __post_init__(self) -> None:
        known("activation", self.activation, *ACTIVATIONS)
        known("gate", self.gate, *GATES)
        known("out_format", self.out_format, *FORMATS)
        scalings = ["block", "tensor", "row"] if self.out_format in LARGEST else ["none"]
        known("out_scaling", self.scaling, *scalings)
        axes, halves = 3 if self.masked else 2, 2 if self.gated else 1
        if self.x.ndim != axes or self.x.shape[-1] % halves or not self.x.shape[-1]:
            shape = "[experts, rows, 2H]" if self.masked else "[rows, 2H]"
            raise ValueError(
                f"x: expected shape {shape if self.gated else shape.replace('2', '')}, got {list(self.x.shape)}"
            )
        if self.interleave is not None and (self.gate != "interleaved" or self.columns % self.interleave):
            raise ValueError(
                f"interleave: goes with gate 'interleaved' and divides {self.columns}, got {self.interleave}"
            )
        if (self.static_scale is not None) != (self.scaling == "tensor"):
            raise ValueError(f"static_scale: goes with out_scaling 'tensor', which is {self.scaling!r}")
        if (self.x_scale is not None) != (self.input_format == "e4m3"):
            raise ValueError(f"x_scale: goes with e4m3 input, which is {self.input_format}")
        if self.input_format not in self.rule.inputs:
            raise ValueError(f"numerics: expected input of {' or '.join(self.rule.inputs)}, got {self.input_format}")
        if self.rule.mx and not (self.scaling == "block" and self.block == 32 and self.exponents("out_scale")):
            raise ValueError("numerics: te_mxfp8 is for ue8m0 scales of 32 columns")

    @property
    def gated(self) -> bool:
        return self.activation not in UNGATED

    @property
    def columns(self) -> int:
        """H"""
        return int(self.x.shape[-1]) // (2 if self.gated else 1)

    @property
    def masked(self) -> bool:
        return type(self.rows).__name__ == "Masked"

    @property
    def row_count(self) -> int:
        """Rows of x, of all experts."""
        return int(np.prod(self.x.shape[:-1]))

    @cached_property
    def rule(self) -> Rule:
        return rule_of(self.numerics)

    @cached_property
    def live(self) -> LiveRows:
        convention = self.rows
        if self.expanded_idx_to_permuted_idx is not None:
            named = np.asarray(self.expanded_idx_to_permuted_idx, np.int64)
            if np.any((named < -1) | (named >= len(self.x))):
                raise ValueError(f"expanded_idx_to_permuted_idx: expected -1 or rows below {len(self.x)}")
            convention = ExpandedToPermuted(named)
        elif convention is None:
            convention = Dense()
        return live_rows(convention, int(self.x.shape[-2]), len(self.x) if self.masked else None)

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
        return self.columns if self.scaling == "row" else self.out_block or (32 if self.rule.mx else 128)

    def exponents(self, argument: str) -> bool:
        """Are the scales ue8m0?"""
        inputs = argument == "x_scale"
        layout, format = (
            (self.x_scale_layout, self.x_scale_format) if inputs else (self.out_scale_layout, self.out_scale_format)
        )
        if format is None:
            return layout in ("packed_ue8m0", "swizzled_128x4") or (self.rule.mx and not inputs)
        return format == "ue8m0"

    def chunks(self, only: ArrayLike | None = None) -> list[Array]:
        """The rows that have a result, or `only` some of them: ascending, each once, a few at a time."""
        live = self.live.rows
        chosen = live if only is None else np.unique(np.asarray(only, np.int64))
        if not np.isin(chosen, live).all():
            raise ValueError(f"only: row {chosen[~np.isin(chosen, live)][0]} has no result")
        step = max(1, CHUNK_ELEMENTS // self.columns)
        return [chosen[start : start + step] for start in range(0, len(chosen), step)]

    def expect(self, rows: Array) -> Expectation:
        """What the contract allows for these rows, all at once: for many rows see `chunks`."""
        gate, up = self._gate_and_up(rows)
        rule, format = self.rule, self.input_format
        clamp_format = format if rule.clamp_rounding == "input" else "fp32"
        a, factor = activate(self.activation, gate, up, self._parameters(rows), clamp_format)
        if rule.product_rounding == "activation_and_product":
            a = a.rounded(format)
            if self.activation == "situ" and factor is not None:  # the rounding of a hides no error of up any more
                factor = factor.within(RELATIVE_ERROR)
        y = a if factor is None else a.times(factor)
        if self.weight is not None:
            y = y.times(Interval.exact(self._weights(rows)))
        if rule.product_rounding != "none":
            y = y.rounded(format)
        by_block = self.scaling in ("block", "row")
        scaling = Scaling(
            self.out_format,
            self.block if by_block else None,
            self.scale_rounding == "power_of_two" or (self.scaling == "block" and self.exponents("out_scale")),
            1.0 if self.static_scale is None else float(np.asarray(self.static_scale, np.float32).item()),
        )
        amax = largest_magnitudes(y, self.block, rule.smallest_amax) if by_block else None
        return Expectation(gate, up, y, rule, scaling, amax)

    def _gate_and_up(self, rows: Array) -> tuple[Array, Array | None]:
        """After the bias, [rows, H]."""
        stored = self.x.reshape(-1, self.x.shape[-1])[rows]
        values = decode(FORMATS[self.input_format].codes_of(stored, "x"), self.input_format)
        with np.errstate(invalid="ignore"):  # float64 holds the product of two fp32 numbers: rounded once
            if self.x_scale is not None:
                scales = scales_of(self, "x_scale", self.x_scale, rows)
                values = rn32(values * np.repeat(scales, self.x_block or 128, axis=1)[:, : values.shape[1]])
            if self.bias is not None:
                values = rn32(values + self._of_experts("bias", _values_of(self.bias), rows))
        if not self.gated:
            return values, None
        if self.gate == "interleaved":
            pairs = values.reshape(len(rows), -1, 2, self.interleave or 1)
            return pairs[:, :, 0].reshape(len(rows), -1), pairs[:, :, 1].reshape(len(rows), -1)
        first, second = values[:, : self.columns], values[:, self.columns :]
        return (first, second) if self.gate == "first_half" else (second, first)

    def _parameters(self, rows: Array) -> Parameters:
        given: dict[str, Any] = {}
        for name in ("alpha", "beta", "limit", "gate_bound", "up_bound"):
            value = getattr(self, name)
            if value is not None:
                numbers = to_float64(np.asarray(value).astype(np.float32))
                given[name] = self._of_experts(name, numbers, rows)[:, None] if numbers.ndim else float(numbers)
        parameters = Parameters(**given)
        parameters.require(self.activation)
        return parameters

    def _of_experts(self, argument: str, table: Array, rows: Array) -> Array:
        """The row of the table for the expert of each of these rows; the last one stands for those after it."""
        experts = self.live.at(rows).experts
        if np.any(experts == UNKNOWN):
            raise ValueError(f"{argument}: needs the expert of every row, which rows do not say")
        chosen: Array = table[np.minimum(experts, len(table) - 1)]
        return chosen

    def _weights(self, rows: Array) -> Array:
        """[rows, 1]; NaN where there is none."""
        weights = np.asarray(self.weight).astype(np.float32).reshape(-1)
        index = self.live.at(rows).weights
        there = (index >= 0) & (index < len(weights))
        chosen = np.where(there, weights[np.where(there, index, 0)] if len(weights) else np.nan, np.nan)
        return to_float64(chosen)[:, None]


def _values_of(bias: Array) -> Array:
    names = {format.dtype_name: name for name, format in FORMATS.items()} | {"uint16": "bf16"}
    return decode(bias, names[bias.dtype.name])

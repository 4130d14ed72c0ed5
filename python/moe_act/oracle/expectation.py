"""The interval that the contract allows for some rows, and for their scales and codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .formats import LARGEST, Array, decode, encode, rn32
from .interval import Interval, round_to
from .numerics import QUOTIENT_ERROR, Rule


@dataclass(frozen=True)
class Scaling:
    """How y becomes a code of the format."""

    format: str
    block: int | None = None  # columns that share a scale; None: no scale is delivered
    power_of_two: bool = False
    divisor: float = 1.0  # of tensor scaling

    @property
    def largest(self) -> float:
        """What the largest magnitude of a block becomes."""
        return LARGEST.get(self.format, 448.0)


@dataclass(frozen=True, eq=False)
class Bounds:
    """The values that codes may have, [rows, H]; low and high are NaN where they must be NaN."""

    low: Array
    high: Array
    middle: Array
    may_be_nan: Array

    @staticmethod
    def of(values: Interval, format: str) -> Bounds:
        """Encoding keeps order: what lies between two numbers ends up between their images."""
        low, high, middle = (decode(encode(v, format), format) for v in (values.low, values.high, values.middle))
        return Bounds(low, high, middle, values.may_be_nan)


@dataclass(frozen=True, eq=False)
class Expectation:
    """What some rows may hold: gate, up and y [rows, H], and of each block its largest magnitude [rows, blocks]."""

    gate: Array  # after the bias
    up: Array | None
    y: Interval
    rule: Rule
    scaling: Scaling
    amax: Interval | None  # no less than the rule's smallest; what is NaN does not count. None: no scale is delivered

    @property
    def scales(self) -> Interval:
        """Of the blocks. Only Transformer Engine's may be NaN, which nothing else is between."""
        assert self.amax is not None
        ends = (self.amax.low, self.amax.high, self.amax.middle)
        low, high, middle = (self.rule.scale(amax, self.scaling.largest, self.scaling.power_of_two) for amax in ends)
        if self.rule.mx:
            low, high = (np.where(self._any(np.isnan(self.y.low)), np.nan, end) for end in (low, high))
            middle = np.where(self._any(np.isnan(self.y.middle)), np.nan, middle)
        return Interval(low, high, middle, self.amax.may_be_nan)

    def codes(self, scales: Array | None, exact_quotient: bool) -> Bounds:
        """Of y, scaled by the delivered scales [rows, blocks], or by the static one."""
        if scales is None or self.rule.quantization == "divide":
            divisor = self.scaling.divisor if scales is None else self._spread(scales)
            low, high, middle = (rn32(y / divisor) for y in (self.y.low, self.y.high, self.y.middle))
            quotients = Interval(low, high, middle, self.y.may_be_nan)
        else:
            quotients = self._products(scales)
        may_be_nan = quotients.may_be_nan | np.isnan(quotients.low) | np.isnan(quotients.high)
        low, high = np.fmin(quotients.low, quotients.high), np.fmax(quotients.low, quotients.high)
        if not exact_quotient and self.scaling.format in LARGEST and self.rule.quantization != "multiply_bf16":
            low, high = low * (1 - np.sign(low) * QUOTIENT_ERROR), high * (1 + np.sign(high) * QUOTIENT_ERROR)
        bounds = Bounds.of(Interval(low, high, quotients.middle, may_be_nan), self.scaling.format)
        if scales is None or not self.rule.mx:
            return bounds
        poisoned = self._spread(np.isnan(scales))
        low, high, middle = (np.where(poisoned, np.nan, v) for v in (bounds.low, bounds.high, bounds.middle))
        return Bounds(low, high, middle, poisoned)

    def _products(self, scales: Array) -> Interval:
        """y * r by its ends, where y is not divided."""
        assert self.amax is not None
        largest, power_of_two = self.scaling.largest, self.scaling.power_of_two
        of_middle, _ = self.rule.reciprocal(scales, self.amax.middle, self.amax.middle, largest, power_of_two)
        reciprocals = self.rule.reciprocal(scales, self.amax.low, self.amax.high, largest, power_of_two)
        format = "bf16" if self.rule.quantization == "multiply_bf16" else "fp32"

        def times(y: Array, reciprocal: Array) -> Array:
            return round_to(rn32(y * self._spread(reciprocal)), format)

        products = [times(y, r) for y in (self.y.low, self.y.high) for r in reciprocals]
        low, high = np.fmin.reduce(products), np.fmax.reduce(products)
        may_be_nan = self.y.may_be_nan | np.isnan(products).any(axis=0)
        return Interval(low, high, times(self.y.middle, of_middle), may_be_nan)

    def _spread(self, blocks: Array) -> Array:
        """[rows, blocks] to [rows, columns]."""
        return np.repeat(blocks, self.scaling.block or 1, axis=1)[:, : self.gate.shape[1]]

    def _any(self, where: Array) -> Array:
        """[rows, columns] to [rows, blocks]."""
        starts = np.arange(0, where.shape[1], self.scaling.block or 1)
        return np.logical_or.reduceat(where, starts, axis=1)

    def describe(self, row: int, column: int) -> str:
        low, high, may_be_nan = (array[row, column] for array in (self.y.low, self.y.high, self.y.may_be_nan))
        up = "" if self.up is None else f" up {self.up[row, column]:.9g},"
        return f"gate {self.gate[row, column]:.9g},{up} product {span(low, high, may_be_nan)}"


def largest_magnitudes(y: Interval, block: int, smallest: float) -> Interval:
    """Of each block, [rows, blocks]; what may be NaN may be missing, and what must be NaN always is."""
    starts = np.arange(0, y.low.shape[1], block)

    def largest(magnitudes: Array, left_out: Array) -> Array:
        amax = np.maximum.reduceat(np.where(left_out, 0.0, magnitudes), starts, axis=1)
        return np.maximum(amax, smallest)

    return Interval(
        low=largest(y.least, y.may_be_nan),
        high=largest(y.greatest, np.isnan(y.low)),
        middle=largest(np.abs(y.middle), np.isnan(y.middle)),
        may_be_nan=np.logical_or.reduceat(y.may_be_nan, starts, axis=1),
    )


def span(low: float, high: float, may_be_nan: bool = False) -> str:
    span = "nan" if np.isnan(low) else f"{low:.9g}" if low == high else f"[{low:.9g}, {high:.9g}]"
    return f"{span} or nan" if may_be_nan and not np.isnan(low) else span

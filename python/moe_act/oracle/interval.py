"""Arithmetic by end points: which fp32 numbers a step may have delivered, however it was computed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np

from .formats import Array, decode, encode, rn32

SMALLEST_NORMAL = 2.0**-126  # FLT_MIN: what is below may be flushed to zero


@dataclass(frozen=True, eq=False)
class Interval:
    """fp32 numbers kept as float64. low and high are NaN where the value is NaN in any arithmetic."""

    low: Array
    high: Array
    middle: Array  # every step rounded once
    may_be_nan: Array

    @staticmethod
    def exact(values: Array) -> Interval:
        return Interval(values, values, values, np.isnan(values))

    @staticmethod
    def around(middle: Array, first: Array, second: Array) -> Interval:
        """Rounding the ends excludes no fp32 number between them, and admits what a denormal one rounds to."""
        first, second = rn32(first), rn32(second)
        return Interval(np.fmin(first, second), np.fmax(first, second), rn32(middle), np.isnan(middle))

    @property
    def least(self) -> Array:
        """The least magnitude."""
        one_sign = (self.low > 0) | (self.high < 0)
        return np.where(one_sign, np.minimum(np.abs(self.low), np.abs(self.high)), 0.0)

    @property
    def greatest(self) -> Array:
        """The greatest magnitude."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    def or_zero(self, where: Array) -> Interval:
        low, high = (
            np.where(where, np.minimum(self.low, 0), self.low),
            np.where(where, np.maximum(self.high, 0), self.high),
        )
        return Interval(low, high, self.middle, self.may_be_nan)

    def or_flushed(self) -> Interval:
        return self.or_zero(self.least < SMALLEST_NORMAL)

    def at_most(self, limit: Array | float) -> Interval:
        low, high, middle = (np.minimum(array, limit) for array in (self.low, self.high, self.middle))
        return Interval(low, high, middle, self.may_be_nan)

    def within(self, relative_error: float) -> Interval:
        ends = (
            self.low * (1 - relative_error),
            self.low * (1 + relative_error),
            self.high * (1 - relative_error),
            self.high * (1 + relative_error),
        )
        low, high = np.fmin.reduce(ends), np.fmax.reduce(ends)
        return Interval(rn32(low), rn32(high), self.middle, self.may_be_nan)

    def times(self, other: Interval) -> Interval:
        """The product, rounded to fp32."""
        others = (other.low,) if other.low is other.high else (other.low, other.high)
        products = [rn32(mine * its) for mine in (self.low, self.high) for its in others]
        may_be_nan = (
            self.may_be_nan | other.may_be_nan | _zero_times_infinity(self, other) | _zero_times_infinity(other, self)
        )
        for product in products:
            may_be_nan = may_be_nan | np.isnan(product)
        low, high = reduce(np.fmin, products), reduce(np.fmax, products)
        return Interval(low, high, rn32(self.middle * other.middle), may_be_nan).or_flushed()

    def rounded(self, format: str) -> Interval:
        """Rounded to the format, in which large numbers may be infinite."""
        low, high, middle = (round_to(array, format) for array in (self.low, self.high, self.middle))
        return Interval(low, high, middle, self.may_be_nan)


def _zero_times_infinity(one: Interval, other: Interval) -> Array:
    finite = np.isfinite(other.low) & np.isfinite(other.high)
    return (one.low <= 0) & (one.high >= 0) & ~finite


def round_to(values: Array, format: str) -> Array:
    """The values of the format that are nearest, as float64."""
    return values if format == "fp32" else decode(encode(values, format), format)

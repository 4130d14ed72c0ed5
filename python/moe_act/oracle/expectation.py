"""The interval that the contract allows for some rows, and for their scales."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .formats import Array, decode, encode, rn32

SMALLEST_NORMAL = 2.0**-126  # FLT_MIN: the smallest scale; what is below may be flushed to zero
RELATIVE_ERROR = 2.0**-20
LARGEST_ARGUMENT = 104.0  # beyond it exp is 0 or infinite in fp32: an error of its argument no longer shows


@dataclass(frozen=True, eq=False)
class Expectation:
    """What some rows may hold: fp32 numbers kept as float64, [rows, H]; scales [rows, blocks]."""

    gate: Array
    up: Array
    middle: Array  # silu(gate) * up, each rounded once
    low: Array  # low and high are NaN where the product is NaN in any arithmetic
    high: Array
    may_be_nan: Array
    scale_low: Array  # "row" scaling: of one block
    scale_middle: Array
    scale_high: Array

    def bounds(self, divisor: Array | float, format: str) -> tuple[Array, Array, Array]:
        """The least and the greatest value that a code for y / divisor may have, and whether it may be NaN.

        encode(rn32(y / divisor)) keeps order: a conforming y ends up between the images of the end points.
        So does y times the reciprocal: the few 2^-24 by which that quotient is off are lost in the 2^-20 of
        the interval, which has no width only at 0 and at infinity, where both ways agree.
        """
        first, second = rn32(self.low / divisor), rn32(self.high / divisor)
        low, high = np.fmin(first, second), np.fmax(first, second)
        may_be_nan = self.may_be_nan | np.isnan(first) | np.isnan(second)
        return decode(encode(low, format), format), decode(encode(high, format), format), may_be_nan

    def describe(self, row: int, column: int) -> str:
        low, high, may_be_nan = (array[row, column] for array in (self.low, self.high, self.may_be_nan))
        gate, up, product = self.gate[row, column], self.up[row, column], span(low, high, may_be_nan)
        return f"gate {gate:.9g}, up {up:.9g}, product {product}"


@np.errstate(all="ignore")
def expectation(
    gate: Array, up: Array, block: int = 128, largest: float = 448.0, power_of_two: bool = False
) -> Expectation:
    """block: columns that share a scale; largest: what a block's amax becomes; power_of_two: scales are rounded up."""
    decay = np.exp(-np.abs(gate))  # of -|gate| rather than -gate: never overflows
    sigmoid = np.where(gate < 0, decay, 1.0) / (1 + decay)
    activation = gate * sigmoid  # -inf * 0 = NaN, as the contract has it
    error = RELATIVE_ERROR * (1 + np.minimum(np.abs(gate), LARGEST_ARGUMENT) / 16)
    # Rounding the ends excludes no fp32 number between them, and admits what a denormal activation rounds to.
    nearer, farther = rn32(activation * (1 - error)), rn32(activation * (1 + error))
    flushed = (sigmoid * (1 - error) < SMALLEST_NORMAL) | (np.abs(nearer) < SMALLEST_NORMAL)

    first, second = rn32(nearer * up), rn32(farther * up)
    may_be_nan = np.isnan(first) | np.isnan(second) | (flushed & ~np.isfinite(up))  # 0 * inf
    low, high = np.fmin(first, second), np.fmax(first, second)
    least = np.minimum(np.abs(low), np.abs(high))  # both of one sign
    zero = (flushed & np.isfinite(up)) | (least < SMALLEST_NORMAL)
    low, high = np.where(zero, np.minimum(low, 0), low), np.where(zero, np.maximum(high, 0), high)
    middle = rn32(rn32(activation) * up)

    def block_scale(magnitude: Array, masked: Array) -> Array:
        starts = np.arange(0, magnitude.shape[1], block)
        amax = np.maximum.reduceat(np.where(masked, 0.0, magnitude), starts, axis=1)
        scale = np.maximum(rn32(amax / largest), SMALLEST_NORMAL)
        return _power_of_two_above(scale) if power_of_two else scale

    return Expectation(
        gate, up, middle, low, high, may_be_nan,
        # What may be NaN may be missing from the amax; what must be NaN always is.
        scale_low=block_scale(least, zero | may_be_nan),
        scale_middle=block_scale(np.abs(middle), np.isnan(middle)),
        scale_high=block_scale(np.maximum(np.abs(low), np.abs(high)), np.isnan(low)),
    )  # fmt: skip


def _power_of_two_above(scale: Array) -> Array:
    """Beyond 2^127 there is only infinity in fp32."""
    fraction, exponent = np.frexp(scale)
    power = rn32(np.ldexp(1.0, np.where(fraction == 0.5, exponent - 1, exponent)))
    return np.where(np.isfinite(scale), power, scale)


def span(low: float, high: float, may_be_nan: bool = False) -> str:
    span = "nan" if np.isnan(low) else f"{low:.9g}" if low == high else f"[{low:.9g}, {high:.9g}]"
    return f"{span} or nan" if may_be_nan and not np.isnan(low) else span

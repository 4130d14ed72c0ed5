"""Number formats as tables of values; rounding is a search between their midpoints."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Format:
    """A floating-point format; codes are its bit patterns, the sign in the highest bit."""

    dtype_name: str  # as numpy and ml_dtypes call it
    code_dtype: type[np.unsignedinteger[Any]]
    mantissa_bits: int
    bias: int
    infinity: int | None  # None: there is none
    nan: int  # the NaN that results carry

    @property
    def saturates(self) -> bool:
        """Does what is beyond the largest value become the largest value?"""
        return self.code_dtype is np.uint8

    @cached_property
    def magnitudes(self) -> NDArray[np.float64]:
        """The non-negative finite values, ascending: the index of a value is its code."""
        codes = np.arange(self.nan if self.infinity is None else self.infinity)
        exponent, fraction = np.divmod(codes, 2**self.mantissa_bits)
        significand = np.where(exponent == 0, fraction, fraction + 2**self.mantissa_bits)
        magnitudes: NDArray[np.float64] = significand * 2.0 ** (
            np.maximum(exponent, 1) - self.bias - self.mantissa_bits
        )
        return magnitudes

    @cached_property
    def values(self) -> Array:
        """The value of every code."""
        half = np.full(2 ** (8 * self.code_dtype().itemsize - 1), np.nan)
        half[: len(self.magnitudes)] = self.magnitudes
        if self.infinity is not None:
            half[self.infinity] = np.inf
        return np.concatenate([half, -half])

    @cached_property
    def thresholds(self) -> Array:
        """thresholds[i] is the smallest float64 that rounds to the magnitude of code i + 1 or above."""
        values = self.magnitudes
        if self.infinity is not None and not self.saturates:  # which begins halfway to the value that would come next
            values = np.append(values, 2 * values[-1] - values[-2])
        midpoints = (values[:-1] + values[1:]) / 2
        midpoints[::2] = np.nextafter(midpoints[::2], np.inf)  # where i is even, a tie stays with it
        return midpoints

    def codes_of(self, array: Array, argument: str) -> Array:
        if array.dtype.name not in (self.dtype_name, self.code_dtype.__name__):
            raise ValueError(f"{argument}: expected {self.dtype_name} or its codes, got {array.dtype}")
        return array.view(self.code_dtype)


FORMATS = {
    "e4m3": Format("float8_e4m3fn", np.uint8, mantissa_bits=3, bias=7, infinity=None, nan=0x7F),
    "e5m2": Format("float8_e5m2", np.uint8, mantissa_bits=2, bias=15, infinity=0x7C, nan=0x7F),
    "bf16": Format("bfloat16", np.uint16, mantissa_bits=7, bias=127, infinity=0x7F80, nan=0x7FC0),
    "fp16": Format("float16", np.uint16, mantissa_bits=10, bias=15, infinity=0x7C00, nan=0x7E00),
    "fp32": Format("float32", np.uint32, mantissa_bits=23, bias=127, infinity=0x7F800000, nan=0x7FC00000),
}

LARGEST = {"e4m3": 448.0, "e5m2": 57344.0}  # of the formats that are scaled


def decode(codes: Array, format: str) -> Array:
    """The values, float64, of codes (unsigned integers, or an array of the format's own dtype), any shape."""
    chosen = FORMATS[known("format", format, *FORMATS)]
    codes = chosen.codes_of(codes, "codes")
    return to_float64(codes.view(np.float32)) if format == "fp32" else chosen.values[codes]


def encode(values: ArrayLike, format: str) -> Array:
    """The codes (uint8, uint16 or uint32) of values, any shape: to nearest even, once, from float64.

    e4m3 saturates at +-448 and e5m2 at +-57344, infinities included; other formats overflow to infinity. NaN has one
    code.
    """
    chosen = FORMATS[known("format", format, *FORMATS)]
    values = to_float64(np.asarray(values))
    if format == "fp32":  # a table would have 2^31 entries; numpy's conversion rounds once, to nearest even
        with np.errstate(all="ignore"):
            codes = values.astype(np.float32).view(np.uint32)
    else:
        codes = np.searchsorted(chosen.thresholds, np.abs(values), side="right").astype(chosen.code_dtype)
        codes += np.signbit(values) * chosen.code_dtype(len(chosen.values) // 2)
    return np.where(np.isnan(values), chosen.code_dtype(chosen.nan), codes)


@np.errstate(invalid="ignore")  # signalling NaNs
def to_float64(values: Array) -> Array:
    return values.astype(np.float64)


@np.errstate(all="ignore")
def rn32(values: Array) -> Array:
    """Rounded to fp32, kept as float64."""
    return to_float64(values.astype(np.float32))


def known(argument: str, value: str, *names: str) -> str:
    if value not in names:
        raise ValueError(f"{argument}: expected {' or '.join(names)}, got {value!r}")
    return value

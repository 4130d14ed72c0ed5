"""What gate and up become before they are multiplied, with the error that the contract allows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .formats import Array, known, rn32
from .interval import SMALLEST_NORMAL, Interval, round_to

ACTIVATIONS = (
    "swiglu", "swiglu_step", "geglu", "geglu_tanh", "reglu", "situ", "silu", "gelu", "gelu_tanh", "relu", "relu2",
)  # fmt: skip
UNGATED = ("silu", "gelu", "gelu_tanh", "relu", "relu2")
RELATIVE_ERROR = 2.0**-20
LARGEST_ARGUMENT = 104.0  # beyond it exp is 0 or infinite in fp32: an error of its argument no longer shows
STEP_LIMIT = 7.0  # of swiglu_step, where none is given

_erfc = np.vectorize(math.erfc, otypes=[np.float64])


@dataclass(frozen=True, eq=False)
class Parameters:
    """Of one call: fp32 numbers, or columns [rows, 1] of them where each expert has its own."""

    alpha: Array | float | None = None
    beta: Array | float | None = None
    limit: Array | float | None = None
    gate_bound: float | None = None
    up_bound: float | None = None

    def require(self, activation: str) -> None:
        """No parameter that the activation does not have, and all that it needs."""
        taken = {"swiglu": ("alpha", "beta", "limit"), "swiglu_step": ("limit",), "situ": ("gate_bound", "up_bound")}
        for name, value in vars(self).items():
            if value is not None and name not in taken.get(activation, ()):
                raise ValueError(f"{name}: {activation} has none")
            if value is None and activation == "situ" and name in taken["situ"]:
                raise ValueError(f"{name}: situ needs it")


def activate(
    name: str, gate: Array, up: Array | None, given: Parameters, clamp_format: str
) -> tuple[Interval, Interval | None]:
    """`a` and `up` as the product takes them; up is None where the activation has none.

    gate, up: after the bias. clamp_format: what they are rounded to when they are clamped, "fp32" for no such step.
    """
    known("activation", name, *ACTIVATIONS)
    limit = given.limit
    if name == "swiglu_step" and limit is None:
        limit = STEP_LIMIT
    if limit is not None:  # NumPy's minimum and maximum pass NaN on
        gate = np.minimum(gate, limit) if name == "swiglu" else gate
        up = None if up is None else np.minimum(np.maximum(up, -limit), limit)
    gate, up = round_to(gate, clamp_format), None if up is None else round_to(up, clamp_format)
    if given.beta is not None and up is not None:
        up = rn32(up + given.beta)
    a = _activated(name, gate, given, limit)
    if up is None:
        return a.or_flushed(), None
    if name == "situ":
        assert given.up_bound is not None
        up = rn32(given.up_bound * np.tanh(up / given.up_bound))
    return a.or_flushed(), Interval.exact(up)


def _activated(name: str, gate: Array, given: Parameters, limit: Array | float | None) -> Interval:
    if name in ("swiglu", "silu"):
        return _silu(gate, gate if given.alpha is None else rn32(given.alpha * gate))
    if name == "swiglu_step":
        assert limit is not None
        return _silu(gate, gate).at_most(limit)
    if name in ("geglu", "gelu"):
        # erfc rather than 1 + erf: nothing cancels
        return _within(gate * _erfc(gate / -math.sqrt(2)) / 2, _gelu_magnitude(gate))
    if name in ("geglu_tanh", "gelu_tanh"):
        argument = math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3)
        # (1 + tanh t) / 2 is the sigmoid of 2 t
        return _within(gate * _sigmoid(2 * argument), _gelu_magnitude(gate))
    if name == "situ":
        assert given.gate_bound is not None
        bounded = given.gate_bound * np.tanh(gate / given.gate_bound)
        return _within(bounded * _sigmoid(gate), np.minimum(np.abs(gate), given.gate_bound))
    relu = Interval.exact(np.maximum(gate, 0))
    return relu.times(relu) if name == "relu2" else relu


def _gelu_magnitude(gate: Array) -> Array:
    """What gelu's error is relative to: of gates that make it vanish no more than of -16."""
    magnitude: Array = np.where(gate < 0, np.minimum(-gate, 16.0), gate)
    return magnitude


def _silu(gate: Array, argument: Array) -> Interval:
    """gate * sigmoid(argument)"""
    sigmoid = _sigmoid(argument)
    value = gate * sigmoid  # -inf * 0 = NaN, as the contract has it
    error = RELATIVE_ERROR * (1 + np.minimum(np.abs(argument), LARGEST_ARGUMENT) / 16)
    return Interval.around(value, value * (1 - error), value * (1 + error)).or_zero(
        sigmoid * (1 - error) < SMALLEST_NORMAL
    )


def _within(value: Array, magnitude: Array) -> Interval:
    error = np.where(np.isfinite(value), RELATIVE_ERROR * magnitude, 0)
    return Interval.around(value, value - error, value + error)


def _sigmoid(argument: Array) -> Array:
    decay = np.exp(-np.abs(argument))  # of -|t| rather than -t: never overflows
    sigmoid: Array = np.where(argument < 0, decay, 1.0) / (1 + decay)
    return sigmoid

"""The activations in plain fp32 arithmetic, as a library might do it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

F32 = np.float32
_erf = np.vectorize(math.erf, otypes=[np.float64])


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def halves(values: np.ndarray, gate: str, interleave: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """gate and up of [rows, 2H]"""
    if gate == "interleaved":
        width = 2 * interleave
        chosen = np.arange(values.shape[1]) % width < interleave
        return values[:, chosen], values[:, ~chosen]
    first, second = np.hsplit(values, 2)
    return (first, second) if gate == "first_half" else (second, first)


@np.errstate(all="ignore")
def product(activation: str, gate: np.ndarray, up: np.ndarray | None, **given: Any) -> np.ndarray:
    """a * up, fp32 [rows, H]; parameters are numbers or columns [rows, 1] of fp32."""
    alpha, beta, limit = given.get("alpha", 1), given.get("beta", F32(-0.0)), given.get("limit", np.inf)
    alpha, beta, limit = (np.asarray(value, F32) for value in (alpha, beta, limit))
    if activation == "swiglu":
        gate, up = np.minimum(gate, limit), np.clip(up, -limit, limit)
        return gate * sigmoid(alpha * gate) * (up + beta)
    if activation == "swiglu_step":
        limit = np.asarray(given.get("limit", 7), F32)
        return np.minimum(gate * sigmoid(gate), limit) * np.clip(up, -limit, limit)
    if activation == "situ":
        gate_bound, up_bound = F32(given["gate_bound"]), F32(given["up_bound"])
        return gate_bound * np.tanh(gate / gate_bound) * sigmoid(gate) * (up_bound * np.tanh(up / up_bound))
    if activation == "relu2":
        return np.maximum(gate, F32(0)) ** 2
    a = {
        "silu": lambda: gate * sigmoid(gate),
        "gelu": lambda: (gate * ((1 + _erf(gate / math.sqrt(2))) / 2)).astype(F32),
        "gelu_tanh": lambda: (
            gate * (F32(0.5) * (1 + np.tanh(F32(math.sqrt(2 / math.pi)) * (gate + F32(0.044715) * gate**3))))
        ),
        "relu": lambda: np.maximum(gate, F32(0)),
    }[{"geglu": "gelu", "geglu_tanh": "gelu_tanh", "reglu": "relu"}.get(activation, activation)]()
    return a if up is None else a * up

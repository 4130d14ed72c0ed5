"""What a combination asks of the activation: parameters, bias, weight and numerics, and what rows are told for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
from axes import Combination
from moe_act import Numerics
from moe_act.oracle.numerics import PRESETS
from placed import Placed

SEGMENTS = {"offsets": 5, "ends": 5, "masked": 3}
EXPERTS = 4  # of bias and parameters where rows have no segments: some rows are of experts after them
TILE_TOKENS = 8
MEASURED = {"alpha": (0.5, 2.0), "beta": (-1.0, 1.0), "limit": (0.5, 4.0)}  # where parameters lie
TAKEN = {"swiglu": ("alpha", "beta", "limit"), "swiglu_step": ("limit",)}


@dataclass(frozen=True)
class Model:
    options: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)  # alpha, beta, limit, weight
    bias: Placed | None = None


def experts_of(case: Combination) -> int:
    return SEGMENTS.get(case.rows, EXPERTS)


def make(case: Combination, rng: np.random.Generator, weights: tuple[int, ...]) -> Model:
    """weights: the shape of the weight tensor."""
    options: dict[str, Any] = {"activation": case.activation, "numerics": _numerics(case, rng)}
    arrays: dict[str, np.ndarray] = {}
    if case.gated:
        gate, _, interleave = case.gate.partition(" ")
        options |= {"gate": gate} | ({"interleave": int(interleave)} if interleave else {})
    if case.activation == "situ":
        options |= {"gate_bound": float(rng.uniform(1, 5)), "up_bound": float(rng.uniform(1, 30))}
    if case.parameters != "none":
        names = TAKEN[case.activation]
        per_expert = {str(rng.choice(names))} if case.parameters == "per expert" else set()
        for name in names:
            kind = "per expert" if name in per_expert else str(rng.choice(["none", "number", case.parameters]))
            if kind == "per expert":
                arrays[name] = rng.uniform(*MEASURED[name], experts_of(case)).astype(np.float32)
            elif kind != "none" or len(names) == 1:
                options[name] = float(rng.uniform(*MEASURED[name]))
    if case.weight:
        arrays["weight"] = rng.standard_normal(weights).astype(np.float32)
    return Model(options, arrays, _bias(case, rng))


def _numerics(case: Combination, rng: np.random.Generator) -> str | Numerics:
    """ "custom": any parts, as far as the input has them."""
    if case.numerics != "custom":
        return case.numerics
    roundings = ["none"] if case.input == "e4m3" else ["none", "product", "activation_and_product"]
    quantizations = ["divide", "multiply"] + (["multiply_bf16"] if case.input == "bf16" else [])
    presets = [name for name, rule in PRESETS.items() if case.input in rule.inputs and not rule.mx]
    return Numerics(
        preset=str(rng.choice(presets)),  # type: ignore[arg-type]
        product_rounding=str(rng.choice(roundings)),  # type: ignore[arg-type]
        smallest_amax=[None, 1e-3, 2.0][rng.integers(3)],
        smallest_scale=[None, 2.0**-100, 0.01][rng.integers(3)],
        quantization=str(rng.choice(quantizations)),  # type: ignore[arg-type]
        clamp_rounding="none" if case.input == "e4m3" else str(rng.choice(["none", "input"])),  # type: ignore[arg-type]
    )


def _bias(case: Combination, rng: np.random.Generator) -> Placed | None:
    if case.bias == "none":
        return None
    dtype, width = np.float32 if case.bias == "fp32" else np.uint16, case.stored_columns
    stride, item = width + (3 if case.odd else 0), np.dtype(dtype).itemsize
    placed = Placed(dtype, (experts_of(case), width), (stride, 1), 16 + (item if case.odd else 0))
    values = rng.standard_normal(placed.shape).astype(np.float32)
    placed.array[:] = values if case.bias == "fp32" else values.astype(ml_dtypes.bfloat16).view(np.uint16)
    return placed


def tiles(rng: np.random.Generator, positions: int, integer: Any) -> np.ndarray:
    """The expert of each tile of so many positions, the last of which may not be there.

    Some are of experts that have no parameters, some of none.
    """
    count = -(-positions // TILE_TOKENS)
    return rng.integers(-1, EXPERTS + 2, count - (count > 1 and rng.random() < 0.3)).astype(integer)


def permuted_to_expanded(rng: np.random.Generator, rows: int, integer: Any) -> np.ndarray:
    """Of every row its element among twice as many weights and one; of a few one that is not there."""
    index = rng.permutation(2 * rows)[:rows].astype(integer)
    index[rng.random(rows) < 0.05] = rng.choice([-1, 2 * rows + 1])
    return index

"""Column-major scales whose stride is a total on the device, for every row convention, padding included."""

from __future__ import annotations

from typing import Any

import cases
import moe_act
import numpy as np
import pytest
import random_rows
from placed import NAN_BYTE
from tensors import DEVICES, get, on_device, put

CAPACITY, COLUMNS = 64, 192


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("padding", ["skip", "zero"])
@pytest.mark.parametrize("input", ["e4m3", "fp32"])
@pytest.mark.parametrize("kind", [kind for kind in random_rows.KINDS if kind != "masked"])
def test_scales_lie_at_the_totals_stride(kind: str, input: str, padding: Any, device: str) -> None:
    """The same scales as with a stride that the host knows, those of padding up to the total, and no byte more."""
    convention, fields, live = random_rows.make(kind, CAPACITY, seed=5)
    rng = np.random.default_rng(0)
    assert live.any()
    total = max(int(np.flatnonzero(live)[-1]) + 1, CAPACITY // 2)
    if kind == "map":
        padding = "skip"
    x = cases.values_of(rng, (CAPACITY, 2 * COLUMNS), input)
    call: dict[str, Any] = {"x": x, "rows": convention(**fields), "padding": padding}
    flat = {"out_scale": np.full(2 * CAPACITY, NAN_BYTE, np.uint8).repeat(4).view(np.float32)}
    dense = {"out_scale": flat["out_scale"].reshape(2, CAPACITY).copy()}
    if input == "e4m3":
        call["x_format"] = "e4m3"
        dense["x_scale"] = np.exp2(rng.uniform(-6, 2, (3, CAPACITY))).astype(np.float32)
        flat["x_scale"] = np.zeros(3 * CAPACITY, np.float32)
        flat["x_scale"][: 3 * total] = dense["x_scale"][:, :total].ravel()
    flat["total_num_padded_tokens"] = np.array([total], np.int32)

    def run(scales: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        out = np.full((CAPACITY, COLUMNS), NAN_BYTE, np.uint8)
        placed = {name: on_device(value, device) for name, value in (call | scales | {"out": out}).items()}
        placed["out_scale"] = put(scales["out_scale"].copy(), device)
        moe_act.gated_act_quant(**placed, validate=True)
        return get(placed["out"]), get(placed["out_scale"])

    (out, scale), (expected, expected_scale) = run(flat), run(dense)
    assert (out == expected).all()
    if padding == "skip":
        assert ((out == NAN_BYTE).all(axis=1) == ~live).all()
    in_use = scale[: 2 * total].reshape(2, total)
    assert in_use.tobytes() == np.ascontiguousarray(expected_scale[:, :total]).tobytes()
    assert (scale[2 * total :].view(np.uint8) == NAN_BYTE).all()
    if padding == "zero":
        assert (in_use[:, ~live[:total]] == 1).all()

"""Every activation of the library: special values, and ways to say the same that give the same bytes."""

from __future__ import annotations

from typing import Any

import moe_act
import numpy as np
import pytest
from moe_act import oracle, rows
from moe_act.oracle.activations import ACTIVATIONS, UNGATED
from tensors import DEVICES, get, put, run, same_bytes
from test_oracle_activations import PARAMETERS, SPECIAL

F32 = np.float32
ROWS, COLUMNS, EXPERTS, TILE = 24, 192, 3, 8
TILES = np.int32([2, 0, 1])
WAYS = {
    "first_half": lambda gate, up: np.hstack([gate, up]),
    **{
        f"interleaved {width}": lambda gate, up, width=width: np.stack(
            [half.reshape(len(half), -1, width) for half in (gate, up)], axis=2
        ).reshape(len(gate), -1)
        for width in (1, 8, 32)
    },
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("activation", "gate", "up", "options"), [line[:4] for line in SPECIAL])
def test_special_values(activation: str, gate: float, up: float | None, options: dict[str, Any], device: str) -> None:
    """Judged by the oracle, whose own tests say what each of them may be."""
    x = F32([[gate]] if up is None else [[up, gate]])
    value = run(device, x=x, out_format="fp32", activation=activation, **options).out
    report = oracle.check(x, out=value, out_format="fp32", activation=activation, **options)
    assert report.ok, report.message


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bounds", [(2.0**-126, 25.0), (4.0, 1e20), (1e30, 25.0), (2.0**125, 2.0**125)])
def test_situ_at_every_distance_from_its_bounds(bounds: tuple[float, float], device: str) -> None:
    """Where gate / bound is below the smallest normal number, too."""
    x = np.random.default_rng(0).standard_normal((120, 2 * COLUMNS)).astype(F32)
    x *= np.exp2(np.arange(-60, 60, dtype=F32))[:, None]
    options = {"activation": "situ", "gate_bound": bounds[0], "up_bound": bounds[1], "out_format": "fp32"}
    report = oracle.check(x, out=run(device, x=x, **options).out, **options)
    assert report.ok, report.message


def halves(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal((2, ROWS, COLUMNS)).astype(F32) * 3)


def same(device: str, one: dict[str, Any], other: dict[str, Any]) -> bool:
    results = [run(device, **arguments) for arguments in (one, other)]
    return same_bytes(results[0].out, results[1].out) and same_bytes(results[0].out_scale, results[1].out_scale)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name not in UNGATED])
def test_the_order_of_gate_and_up_changes_no_byte(activation: str, way: str, device: str) -> None:
    gate, up = halves()
    order, _, interleave = way.partition(" ")
    options = {"activation": activation} | (PARAMETERS[activation] if activation == "situ" else {})
    other = {"x": WAYS[way](gate, up), "gate": order} | ({"interleave": int(interleave)} if interleave else {})
    assert same(device, {"x": np.hstack([up, gate])} | options, other | options)
    if interleave == "1":
        assert same(device, other | options, {name: v for name, v in other.items() if name != "interleave"} | options)


def told(device: str) -> dict[str, Any]:
    return {"rows": rows.Dense(tile_to_expert=put(TILES, device), tile_tokens=TILE)}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("activation", ["swiglu", "swiglu_step"])
def test_a_number_for_all_is_that_number_for_each(activation: str, device: str) -> None:
    x, given = np.hstack(halves()), PARAMETERS[activation]
    for name, value in given.items():
        each = given | {name: np.full(EXPERTS, value, F32)}
        one = {"x": x, "activation": activation} | given
        assert same(device, one, one | each | told(device)), name
        wrong = np.full(EXPERTS, value, F32)
        wrong[1] += 0.5
        changed = [run(device, **one | options) for options in ({}, each | {name: wrong} | told(device))]
        differing = (changed[0].out != changed[1].out).any(axis=1)
        assert differing[16:].any() and not differing[:16].any(), "only the rows of that expert"


@pytest.mark.parametrize("device", DEVICES)
def test_steps_that_change_no_value_change_no_byte(device: str) -> None:
    x = {"x": np.hstack(halves())}
    nothing = np.full((EXPERTS, 2 * COLUMNS), -0.0, F32)
    assert same(device, x | {"limit": 1e30}, x | {"limit": 1e30, "bias": nothing} | told(device))
    assert same(device, x | {"limit": 1e30}, x | {"limit": 1e30, "weight": np.ones(ROWS, F32)})
    assert same(device, x | {"limit": 1e30}, x | {"limit": 1e31})
    assert same(device, x | {"alpha": 1.0}, x | {"beta": -0.0})


@pytest.mark.parametrize("device", DEVICES)
def test_a_plan_serves_a_model(device: str) -> None:
    """Everything at once, planned and not."""
    rng = np.random.default_rng(4)
    arguments: dict[str, Any] = {
        "x": np.hstack(halves()),
        "bias": rng.standard_normal((EXPERTS, 2 * COLUMNS)).astype(F32),
        "alpha": rng.uniform(1, 2, EXPERTS).astype(F32),
        "limit": rng.uniform(1, 5, EXPERTS).astype(F32),
        "weight": rng.standard_normal(ROWS).astype(F32),
    }
    tensors = {name: put(array, device) for name, array in arguments.items()} | told(device)
    options: dict[str, Any] = {"beta": 1.0, "gate": "interleaved", "numerics": "deepgemm"}
    copies = [put(np.zeros((ROWS, COLUMNS), F32), device) for _ in range(2)]
    direct = moe_act.gated_act_quant(**tensors, **options, out_unquantized=copies[0])
    plan = moe_act.plan(**tensors, **options, out_unquantized=copies[0])
    planned = plan.run(**tensors, out_unquantized=copies[1])
    assert same_bytes(get(direct.out), get(planned.out)) and same_bytes(get(direct.out_scale), get(planned.out_scale))
    assert same_bytes(get(copies[0]), get(copies[1]))
    report = oracle.check(
        **arguments, **options, rows=told("cpu")["rows"], exact_quotient=device == "cpu",
        out=get(planned.out), out_scale=get(planned.out_scale), out_unquantized=get(copies[1]),
    )  # fmt: skip
    assert report.ok, report.message

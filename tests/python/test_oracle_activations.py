"""The oracle's activations, parameters, bias and weight, judged by plain fp32 arithmetic and by planted errors."""

from __future__ import annotations

from typing import Any

import fp32_model
import ml_dtypes
import numpy as np
import pytest
from moe_act import oracle, rows
from moe_act.oracle.activations import ACTIVATIONS, UNGATED

F32 = np.float32
INF, NAN = np.inf, np.nan
ROWS, COLUMNS, EXPERTS, TILE = 40, 96, 5, 4
EXPERT_OF_ROW = np.random.default_rng(5).integers(0, EXPERTS, ROWS)

PARAMETERS: dict[str, dict[str, Any]] = {
    "swiglu": {"alpha": 1.702, "beta": 1.0, "limit": 2.5},
    "swiglu_step": {"limit": 1.5},
    "situ": {"gate_bound": 4.0, "up_bound": 2.5},
}
GATED = [name for name in ACTIVATIONS if name not in UNGATED]
EXACT = ("reglu", "relu", "relu2")


def inputs(activation: str, seed: int = 0) -> np.ndarray:
    width = COLUMNS if activation in UNGATED else 2 * COLUMNS
    return np.random.default_rng(seed).standard_normal((ROWS, width)).astype(F32) * 3


def per_expert(activation: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(6)
    return {name: rng.uniform(0.5, 3, EXPERTS).astype(F32) for name in PARAMETERS[activation]}


def model(activation: str, x: np.ndarray, gate: str = "second_half", interleave: int = 1, **given: Any) -> np.ndarray:
    halves = (x, None) if activation in UNGATED else fp32_model.halves(x, gate, interleave)
    return fp32_model.product(activation, *halves, **given)


def conforms(x: np.ndarray, y: np.ndarray, **options: Any) -> bool:
    return oracle.check(x, out=y.astype(F32), out_format="fp32", **options).ok


@pytest.mark.parametrize(
    "gate", [{"gate": "second_half"}, {"gate": "first_half"}, {"gate": "interleaved", "interleave": 8}]
)
@pytest.mark.parametrize("with_parameters", [False, True])
@pytest.mark.parametrize("activation", GATED)
def test_fp32_arithmetic_conforms(activation: str, with_parameters: bool, gate: dict[str, Any]) -> None:
    given = PARAMETERS.get(activation, {}) if with_parameters or activation == "situ" else {}
    x = inputs(activation)
    y = model(activation, x, **gate, **given)
    report = oracle.check(x, out=y, out_format="fp32", activation=activation, **gate, **given)
    assert report.ok, report.message
    other = {"gate": "first_half" if gate["gate"] == "second_half" else "second_half"}
    assert not conforms(x, y, activation=activation, **other, **given)
    for name in GATED:
        if name != activation:
            assert not conforms(x, y, activation=name, **gate, **PARAMETERS.get(name, {})), name


@pytest.mark.parametrize("activation", UNGATED)
def test_fp32_arithmetic_without_a_gate_conforms(activation: str) -> None:
    x = inputs(activation)
    y = model(activation, x)
    report = oracle.check(x, out=y, out_format="fp32", activation=activation)
    assert report.ok, report.message
    assert report.elements == ROWS * COLUMNS
    for name in UNGATED:
        assert conforms(x, y, activation=name) is (name == activation)


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name not in EXACT])
@pytest.mark.parametrize("gate", [-30.0, -3.0, -0.7, 1e-3, 0.4, 2.0, 6.0])
def test_width_of_the_interval(activation: str, gate: float) -> None:
    """Relative for the sigmoid forms, of the magnitude of gate and up for the others."""
    up = 1.25
    given = {"swiglu": {"alpha": 1.702}, "situ": {"gate_bound": 64.0, "up_bound": 64.0}}.get(activation, {})
    x = F32([[gate]] if activation in UNGATED else [[up, gate]])
    halves = np.float64([[F32(gate)]]), None if activation in UNGATED else np.float64([[up]])
    exact = fp32_model.product(activation, *halves, **given)
    argument = abs(float(F32(1.702) * F32(gate))) if activation == "swiglu" else abs(gate)
    if activation in ("swiglu", "swiglu_step", "silu"):
        width = 2.0**-20 * (1 + argument / 16) * np.abs(exact)
    else:
        # A gelu that vanishes errs no more for the gate's sake than at -16.
        vanishes = gate < -16 and activation.startswith(("gelu", "geglu"))
        magnitude = 16.0 if vanishes else abs(gate)
        width = np.abs(2.0**-20 * F32(magnitude) * (1 if activation in UNGATED else up))
    for error, expected in [(-1.3, False), (-0.7, True), (0.0, True), (0.7, True), (1.3, False)]:
        assert conforms(x, exact + error * width, activation=activation, **given) is expected, error


def test_the_step_has_no_width() -> None:
    x = F32([[1.25, 9]])
    for value in (7 * 1.25 - 2e-6, 7 * 1.25, 7 * 1.25 + 2e-6):
        assert conforms(x, F32([[value]]), activation="swiglu_step") is (value == 7 * 1.25)


@pytest.mark.parametrize("activation", EXACT)
def test_relu_forms_are_exact(activation: str) -> None:
    x = inputs(activation)
    y = model(activation, x)
    assert conforms(x, y, activation=activation)
    for row, column in np.argwhere(y != 0)[:5]:
        planted = y.copy()
        planted[row, column] = np.nextafter(y[row, column], F32(INF))
        assert not conforms(x, planted, activation=activation)


def told(**more: Any) -> rows.RowToExpert:
    return rows.RowToExpert(EXPERT_OF_ROW.astype(np.int32), **more)


@pytest.mark.parametrize("activation", ["swiglu", "swiglu_step"])
def test_parameters_of_each_expert(activation: str) -> None:
    x, table = inputs(activation), per_expert(activation)
    given = {name: values[EXPERT_OF_ROW][:, None] for name, values in table.items()}
    y = model(activation, x, **given)
    assert conforms(x, y, activation=activation, rows=told(), **table)
    for name, values in table.items():
        wrong = {**given, name: np.roll(values, 1)[EXPERT_OF_ROW][:, None]}
        assert not conforms(x, model(activation, x, **wrong), activation=activation, rows=told(), **table), name
        without = {other: value for other, value in given.items() if other != name}
        assert not conforms(x, model(activation, x, **without), activation=activation, rows=told(), **table), name
        assert conforms(x, model(activation, x, **without | {name: values[2]}), activation=activation, rows=told(),
                        **table | {name: values[2]}), "one of them a number"  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.float16])
@pytest.mark.parametrize("gate", [{}, {"gate": "first_half"}, {"gate": "interleaved"}])
def test_bias(gate: dict[str, Any], dtype: Any) -> None:
    """Added to the stored columns, each rounded once to fp32, before anything is clamped."""
    x = inputs("swiglu")
    bias = np.random.default_rng(7).standard_normal((EXPERTS, 2 * COLUMNS)).astype(dtype)
    options = {"rows": told(), "bias": bias, "limit": 2.5, **gate}
    values = x + bias.astype(F32)[EXPERT_OF_ROW]
    y = model("swiglu", values, **{"gate": "second_half"} | gate, limit=2.5)
    assert conforms(x, y, **options)
    if dtype is ml_dtypes.bfloat16:
        assert conforms(x, y, **options | {"bias": bias.view(np.uint16)})
    elsewhere = x + np.roll(bias, COLUMNS, axis=1).astype(F32)[EXPERT_OF_ROW]
    another = x + np.roll(bias, 1, axis=0).astype(F32)[EXPERT_OF_ROW]
    for wrong in (x, elsewhere, another):
        assert not conforms(x, model("swiglu", wrong, **{"gate": "second_half"} | gate, limit=2.5), **options)


def test_scaled_input_is_rounded_before_the_bias() -> None:
    """448 * (1 + 2^-23) needs 24 bits more than fp32 has; one unit of the last place shows beside -448."""
    scale = F32(1 + 2.0**-23)
    x = np.zeros((1, 256), np.uint8)
    x[0, [0, 128]] = oracle.encode([416, 448], "e4m3")
    bias = np.zeros((1, 256), F32)
    bias[0, 0] = -416
    y = np.zeros((1, 128), F32)
    y[0, 0] = (F32(416) * scale - F32(416)) * F32(448) * scale
    options: dict[str, Any] = {"x_scale": np.full((2, 1), scale), "x_format": "e4m3", "bias": bias}
    options |= {"rows": rows.RowToExpert(np.int32([0])), "activation": "reglu", "out_format": "fp32"}
    assert y[0, 0] != F32(416 * (float(scale) - 1) * 448 * float(scale))
    assert oracle.check(x, out=y, **options)
    y[0, 0] = 416 * (float(scale) - 1) * 448 * float(scale)
    assert not oracle.check(x, out=y, **options)


def test_weight() -> None:
    x, weight = inputs("swiglu"), np.random.default_rng(8).uniform(0.1, 2, ROWS).astype(F32)
    y = model("swiglu", x)
    assert conforms(x, y * weight[:, None], weight=weight)
    for wrong in (y, y * weight[:, None] ** 2, y * np.roll(weight, 1)[:, None]):
        assert not conforms(x, wrong, weight=weight)
    short = y * weight[:, None]
    short[30:] = NAN
    assert conforms(x, short, weight=weight[:30]), "a weight that is not there is NaN"
    assert not conforms(x, y * weight[:, None], weight=weight[:30])


MAP = np.int32([[3, -1], [0, 5], [99, 1]])
TOLD = {"tile_to_expert": np.int32([7, 2, -1]), "tile_tokens": 2}
EXPANDED = np.int64([4, 3, 2, 1, 0, 9])
CONVENTIONS = [  # of 6 rows: which are live, their experts, their weights
    ("nothing said", None, [0, 1, 2, 3, 4, 5], [-1] * 6, [0, 1, 2, 3, 4, 5]),
    ("dense", rows.Dense(**TOLD), [0, 1, 2, 3], [7, 7, 2, 2], [0, 1, 2, 3]),
    ("too few tiles", rows.Dense(tile_to_expert=np.int32([3]), tile_tokens=4), [0, 1, 2, 3], [3] * 4, [0, 1, 2, 3]),
    ("prefix", rows.ValidPrefix(np.int32([3]), **TOLD), [0, 1, 2], [7, 7, 2], [0, 1, 2]),
    ("map", rows.ExpandedToPermuted(MAP, **TOLD), [0, 1, 3], [7, 7, 2], [2, 5, 0]),
    ("tile limits", rows.TileLimits(np.int32([2, 3, 6]), 2, tile_to_expert=np.int32([7, 2, -1]),
     permuted_to_expanded=EXPANDED), [0, 1, 2], [7, 7, 2], [4, 3, 2]),
    ("row to expert", rows.RowToExpert(np.int32([-1, 3, 3, -1, 0, 8]), permuted_to_expanded=EXPANDED),
     [1, 2, 4, 5], [3, 3, 0, 8], [3, 2, 0, 9]),
    ("sorted ids", rows.SortedTokenIds(np.int32([5, 9, 0, 2, 3, 4]), 6, np.int32([5]), **TOLD),
     [0, 2, 3], [7, 2, 2], [5, 0, 2]),
    ("sorted ids, by id", rows.SortedTokenIds(np.int32([5, 9, 0, 2, 3, 4]), 6, np.int32([5]), "id", **TOLD),
     [0, 2, 5], [2, 2, 7], [0, 2, 5]),
    ("offsets", rows.ExpertOffsets(np.int32([0, 2, 2, 5]), permuted_to_expanded=EXPANDED[:4]),
     [0, 1, 2, 3, 4], [0, 0, 2, 2, 2], [4, 3, 2, 1, -1]),
    ("ends", rows.ExpertEnds(np.int32([1, 4, 5]), 2), [0, 2, 3, 4], [0, 1, 1, 2], [-1] * 4),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "convention", "live", "experts", "weights"), CONVENTIONS, ids=[c[0] for c in CONVENTIONS]
)
def test_expert_and_weight_of_every_row(name: str, convention: Any, live: list, experts: list, weights: list) -> None:
    found = oracle.Case(np.ones((6, 4), F32), rows=convention).live
    assert found.rows.tolist() == live
    assert found.experts.tolist() == experts
    assert found.weights.tolist() == weights


def test_expert_and_weight_of_masked_rows() -> None:
    case = oracle.Case(np.ones((3, 4, 4), F32), rows=rows.Masked(np.int32([1, 0, 2])))
    assert (case.live.rows.tolist(), case.live.experts.tolist()) == ([0, 8, 9], [0, 2, 2])
    assert case.live.weights.tolist() == [0, 8, 9]


def test_the_last_expert_stands_for_those_after_it() -> None:
    x = F32([[2, 1], [2, 1]])
    table = F32([0.5, 3])
    y = model("swiglu", x, alpha=F32([[0.5], [3]]))
    assert conforms(x, y, alpha=table, rows=rows.RowToExpert(np.int32([0, 7])))


SPECIAL = [  # activation, gate, up, options, what fp32 results may be
    ("swiglu", INF, 3, {"limit": 2.0}, [2 * fp32_model.sigmoid(2.0) * 2]),
    ("swiglu", NAN, 3, {"limit": 2.0}, [NAN]),
    ("swiglu", 1, NAN, {"limit": 2.0}, [NAN]),
    ("swiglu", -INF, 1, {"limit": 2.0}, [NAN]),
    ("swiglu", -INF, 1, {"alpha": -1.0}, [-INF]),
    ("swiglu", INF, 1, {"alpha": -1.0}, [NAN]),
    ("swiglu", 2, 1, {"beta": -1.0}, [0.0]),
    ("swiglu_step", INF, 1, {}, [7.0]),
    ("swiglu_step", 100, -INF, {}, [-49.0]),
    ("swiglu_step", -INF, 1, {}, [NAN]),
    ("geglu", INF, 2, {}, [INF]),
    ("geglu", INF, 0, {}, [NAN]),
    ("geglu", -INF, 1, {}, [NAN]),
    ("geglu", -40, INF, {}, [NAN, INF, -INF, 0.0, 1.0]),  # the error alone is infinite
    ("geglu", -40, 1, {}, [0.0, -1e-6, 1e-6]),
    ("geglu_tanh", -INF, 1, {}, [NAN]),
    ("geglu_tanh", 1e30, 2, {}, [2e30]),
    ("reglu", -INF, 3, {}, [0.0]),
    ("reglu", -INF, INF, {}, [NAN]),
    ("reglu", INF, -2, {}, [-INF]),
    ("reglu", NAN, 1, {}, [NAN]),
    ("situ", INF, INF, {"gate_bound": 4.0, "up_bound": 25.0}, [100.0]),
    ("situ", -INF, 3, {"gate_bound": 4.0, "up_bound": 25.0}, [0.0]),
    ("situ", NAN, 3, {"gate_bound": 4.0, "up_bound": 25.0}, [NAN]),
    ("silu", -INF, None, {}, [NAN]),
    ("relu", NAN, None, {}, [NAN]),
    ("relu2", 2.0**70, None, {}, [INF]),
    ("relu2", -INF, None, {}, [0.0]),
    ("relu2", 2.0**-70, None, {}, [2.0**-140, 0.0]),
]  # fmt: skip


@pytest.mark.parametrize(("activation", "gate", "up", "options", "allowed"), SPECIAL)
def test_special_values(activation: str, gate: float, up: float | None, options: dict, allowed: list) -> None:
    x = F32([[gate]] if up is None else [[up, gate]])
    for value in allowed:
        assert conforms(x, F32([[value]]), activation=activation, **options), value
    for value in (0.0, 1.0, INF, -INF, NAN):
        if not any(value == one or (np.isnan(value) and np.isnan(one)) for one in allowed):
            assert not conforms(x, F32([[value]]), activation=activation, **options), value


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "silu", "x": np.ones((2, 3, 1), F32)}, r"x: expected shape \[rows, H\]"),
        ({"activation": "geglu", "alpha": 1.0}, "alpha: geglu has none"),
        ({"activation": "situ", "gate_bound": 1.0}, "up_bound: situ needs it"),
        ({"limit": F32([1, 2])}, "limit: needs the expert of every row"),
        ({"bias": np.ones((2, 8), F32)}, "bias: needs the expert of every row"),
        ({"gate": "interleaved", "interleave": 8}, "interleave: goes with gate 'interleaved' and divides 4"),
        ({"interleave": 8}, "interleave: goes with gate 'interleaved'"),
    ],
)
def test_arguments_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"x": np.ones((2, 8), F32), "out": np.ones((2, 4), F32), "out_format": "fp32"}
    with pytest.raises(ValueError, match=message):
        oracle.check(**arguments | options)

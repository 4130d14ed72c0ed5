"""Anything that a call can be, drawn at random and judged by the oracle; nothing but live rows is written."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import cases
import devices
import moe_act
import numpy as np
import pytest
from cases import Case
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tensors import DEVICES, get, put, same_bytes

SETTINGS = settings(
    max_examples=150,
    derandomize=True,
    deadline=timedelta(seconds=5),
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
NAN, INF = np.nan, np.inf
FLT_MAX = float(np.finfo(np.float32).max)
SPECIAL = (0.0, -0.0, NAN, -NAN, INF, -INF, 2.0**-149, -(2.0**-130), 2.0**-126, FLT_MAX, -448, 1e4, -88, -200, 65520)


@st.composite
def some_cases(draw: st.DrawFn) -> tuple[Case, int, float]:
    """A case, the seed of its values, and the share of special ones."""
    chosen = draw(st.sampled_from(cases.every_combination()))
    sizes = {
        "rows": draw(st.integers(0, 20)),
        "columns": draw(st.integers(1, 400)),
        "row_gap": draw(st.sampled_from([0, 0, 1, 8, 37])),
        "misaligned": draw(st.booleans()),
    }
    return replace(chosen, **sizes), draw(st.integers(0, 999)), draw(st.sampled_from([0, 0, 0.003, 0.05, 1]))


def with_special_values(case: Case, seed: int, share: float) -> cases.Problem:
    """Some values replaced by special ones, as far as the format has them; e4m3 input gets some scales as well."""
    rng = np.random.default_rng(seed)
    values = cases.values_of(rng, (case.rows, 2 * case.columns), case.input)
    with np.errstate(all="ignore"):
        special = np.array(SPECIAL, np.float32).astype(cases.DTYPES[case.input]).view(cases.CODES[case.input])
    chosen = rng.random(values.shape) < share
    values[chosen] = rng.choice(special, np.count_nonzero(chosen))
    problem = cases.build(case, seed, values)
    if "x_scale" in problem.arguments:
        scales = problem.arguments["x_scale"]
        chosen = rng.random(scales.shape) < share / 4
        scales[chosen] = rng.choice(np.array(SPECIAL, np.float32), np.count_nonzero(chosen))
    return problem


@pytest.mark.parametrize("device", DEVICES)
@given(some_cases())
@example((Case("e4m3", "block", "padded_total", "padded_total", "map", rows=1, columns=1), 0, 1.0))
@example((Case("fp32", "block", rows=20, columns=400), 0, 1.0))
@SETTINGS
def test_any_call_conforms(device: str, drawn: tuple[Case, int, float]) -> None:
    case, seed, share = drawn
    problem = with_special_values(case, seed, share)
    devices.conforms(problem, *devices.run(problem, device))


@pytest.mark.parametrize("device", DEVICES)
@given(some_cases(), st.integers(0, 30), st.booleans())
@SETTINGS
def test_a_plan_and_a_hint_change_no_byte(
    device: str, drawn: tuple[Case, int, float], expected_rows: int, validate: bool
) -> None:
    case, seed, share = drawn
    expected = devices.run(with_special_values(case, seed, share), device)
    problem = with_special_values(case, seed, share)
    tensors, options = devices.split(problem)
    tensors |= {"out": problem.out, "out_scale": problem.out_scale}
    call: dict[str, Any] = {name: put(array, device) for name, array in tensors.items()}
    plan = moe_act.plan(**call, **options, expected_rows=expected_rows)
    out, out_scale = plan.run(**call, validate=validate)
    for got, want in ((out, expected[0]), (out_scale, expected[1])):
        assert same_bytes(*(None if array is None else np.ascontiguousarray(array) for array in (get(got), want)))


@given(some_cases(), st.integers(0, 2**32 - 1))
@SETTINGS
def test_rows_are_independent(drawn: tuple[Case, int, float], scramble: int) -> None:
    """Whatever bits the other rows hold, a row's bytes stay."""
    case, seed, share = drawn
    case = replace(case, rows=max(case.rows, 1), misaligned=False, row_gap=0)
    before, after = with_special_values(case, seed, share), with_special_values(case, seed, share)
    rng = np.random.default_rng(scramble)
    kept, x = int(rng.integers(case.rows)), after.arguments["x"]
    kept_row = x[kept].copy()
    x[...] = np.frombuffer(rng.bytes(x.nbytes), x.dtype).reshape(x.shape)
    x[kept] = kept_row
    (out, out_scale), (other_out, other_scale) = (devices.run(problem, "cpu") for problem in (before, after))
    assert same_bytes(out[kept], other_out[kept])
    if out_scale is not None and other_scale is not None and case.out_layout != "padded_total":
        of_row = kept if case.out_layout == "row_major" else (slice(None), kept)
        assert same_bytes(np.ascontiguousarray(out_scale[of_row]), np.ascontiguousarray(other_scale[of_row]))

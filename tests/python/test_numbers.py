"""Numbers of any kind that Python's own protocol converts, wherever a call takes a number."""

from __future__ import annotations

import decimal
import fractions
import re
from typing import Any

import ml_dtypes
import moe_act
import numpy as np
import pytest
from tensors import same_bytes

X = np.random.default_rng(0).standard_normal((4, 256), dtype=np.float32)


class Half:
    def __repr__(self) -> str:
        return "Half()"

    def __float__(self) -> float:
        return 0.5


class Three:
    def __repr__(self) -> str:
        return "Three()"

    def __index__(self) -> int:
        return 3


class Broken:
    def __float__(self) -> float:
        raise LookupError("lost\nfor good")


class Interrupted:
    def __float__(self) -> float:
        raise KeyboardInterrupt


NUMBERS: list[tuple[Any, float]] = [
    (3, 3.0),
    (True, 1.0),
    (np.float32(0.3), 0.3),
    (np.float16(0.5), 0.5),
    (np.float64(0.1), 0.1),
    (np.longdouble(2.5), 2.5),
    (np.int64(3), 3.0),
    (np.uint8(200), 200.0),
    (np.array(7.0), 7.0),
    (np.array(7, np.int32), 7.0),
    (ml_dtypes.bfloat16(1.5), 1.5),
    (decimal.Decimal("0.25"), 0.25),
    (fractions.Fraction(1, 4), 0.25),
    (Half(), 0.5),
    (Three(), 3.0),
]


@pytest.mark.parametrize(("number", "value"), NUMBERS, ids=repr)
def test_numbers_are_taken(number: Any, value: float) -> None:
    for options in ({"alpha": value}, {"beta": value}, {"limit": value}):
        (name,) = options
        expected = moe_act.gated_act_quant(X, **options)  # type: ignore[arg-type]
        assert same_bytes(moe_act.gated_act_quant(X, **{name: number}).out, expected.out)
        plan = moe_act.plan(X, **{name: number})
        assert same_bytes(plan.run(X, **{name: number}).out, expected.out)
    bounds = {"activation": "situ", "gate_bound": value, "up_bound": value}
    expected = moe_act.gated_act_quant(X, **bounds)  # type: ignore[arg-type]
    given = bounds | {"gate_bound": number, "up_bound": number}
    assert same_bytes(moe_act.gated_act_quant(X, **given).out, expected.out)  # type: ignore[arg-type]
    moe_act.gated_act_quant(X, numerics=moe_act.Numerics(smallest_amax=number, smallest_scale=number))


@pytest.mark.parametrize("number", [np.int64(32), np.uint8(32), np.array(32)], ids=repr)
def test_integers_are_taken(number: Any) -> None:
    plan = moe_act.plan(X, gate="interleaved", interleave=number, out_block=number, expected_rows=number)
    assert [plan.problem[name] for name in ("interleave", "out_block", "expected_rows")] == [32, 32, 32]


NO_NUMBERS = [
    "7",
    b"7",
    np.str_("7"),
    np.array("7"),
    np.bytes_(b"7"),
    np.True_,
    np.complex64(7),
    7j,
    np.timedelta64(7, "s"),
    np.ones(1, np.float32),
    np.ones((1, 1), np.float32),
    np.array(7.0, object),
    [7.0],
]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_what_is_no_number_is_refused(value: Any) -> None:
    says = re.escape(f"gate_bound: expected a number, got {type(value).__name__}")
    with pytest.raises(TypeError, match=f"^{says}$"):
        moe_act.gated_act_quant(X, activation="situ", gate_bound=value, up_bound=1.0)
    with pytest.raises((TypeError, ValueError), match=r"^limit: [^\n]*$"):
        moe_act.gated_act_quant(X, limit=value)


def test_a_tensor_without_axes_stays_a_tensor() -> None:
    """Its value may lie on a GPU, or have a gradient."""
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match=r"^limit: expected float32 \[experts\], got float32 \[\]$"):
        moe_act.gated_act_quant(X, limit=torch.tensor(7.0))
    with pytest.raises(TypeError, match=r"^gate_bound: expected a number, got Tensor$"):
        moe_act.gated_act_quant(X, activation="situ", gate_bound=torch.tensor(7.0), up_bound=1.0)


def test_numbers_that_fail_to_be_one() -> None:
    for value, says, cause in (
        (Broken(), "lost", LookupError),
        (10**400, "int too large to convert to float", OverflowError),
    ):
        with pytest.raises(ValueError, match=f"^limit: its conversion to a float failed: {says}$") as raised:
            moe_act.gated_act_quant(X, limit=value)
        assert isinstance(raised.value.__cause__, cause)
    with pytest.raises(KeyboardInterrupt):
        moe_act.gated_act_quant(X, limit=Interrupted())

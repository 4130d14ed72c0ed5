"""What every test of bad input needs: small arrays, and what a refusal has to be like."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol

import cases
import moe_act
import numpy as np
import pytest
from tensors import get, put


class Refusal(Protocol):
    @property
    def error(self) -> type[Exception]: ...
    @property
    def argument(self) -> str: ...
    @property
    def says(self) -> tuple[str, ...]: ...


def ints(*values: int, dtype: Any = np.int32) -> np.ndarray:
    return np.array(values, dtype)


def ones(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.ones(shape, dtype)


def good_call(device: str) -> dict[str, Any]:
    """Every tensor argument that one call can have: a padded total, a map, block scales."""
    call = {
        "x": np.full((6, 384), 0x38, np.uint8),
        "x_scale": np.ones(18, np.float32),
        "out": cases.poisoned((6, 192), np.uint8),
        "out_scale": cases.poisoned((12,), np.float32),
        "expanded_idx_to_permuted_idx": np.array([3, -1, 0], np.int32),
        "total_num_padded_tokens": np.array([6], np.int32),
    }
    return {name: put(array, device) for name, array in call.items()}


def check_refused(bad: Refusal, call: dict[str, Any]) -> None:
    """In one line that begins with the argument's name, of exactly that type, and nothing is written."""
    results = [call[name] for name in ("out", "out_scale", "out_unquantized") if hasattr(call.get(name), "shape")]
    before = [get(result).tobytes() for result in results]
    with pytest.raises(bad.error, match=f"^{re.escape(bad.argument)}: ") as raised:
        moe_act.gated_act_quant(**call)
    assert type(raised.value) is bad.error
    message = str(raised.value)
    assert "\n" not in message
    for words in bad.says:
        assert words in message
    assert [get(result).tobytes() for result in results] == before, "something was written"


def assert_refused(error: type[Exception], argument: str, says: str, call: Callable[[], Any]) -> None:
    with pytest.raises(error, match=f"^{re.escape(argument)}: ") as raised:
        call()
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)

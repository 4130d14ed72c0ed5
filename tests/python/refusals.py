"""What every test of bad input needs: small arrays, and what a refusal has to be like."""

from __future__ import annotations

import re
from typing import Any, Protocol

import moe_act
import numpy as np
import pytest
from tensors import get


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

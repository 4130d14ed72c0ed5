"""Each preset against an independent statement of its peer's steps, which receives the library's own activation.

The activation comes out of the library itself: with up = 1 a result in fp32 is `a`. From there on every bit is fixed on
the CPU. On a GPU, where quotients may be products, the oracle judges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import moe_act
import numpy as np
import pytest
from moe_act import oracle
from moe_act.oracle.numerics import PRESETS
from moe_act.scales import to_rows
from peer_contracts import PEERS
from tensors import get, put

F32 = np.float32
DTYPES = {"bf16": ml_dtypes.bfloat16, "fp16": np.float16, "fp32": np.float32}
SPECIAL = [np.inf, -np.inf, np.nan, 0, -0.0, 3e38, -1e30, 1e-30, 60000, -65504, 1e-41, -88, -104, 448]
ROWS, COLUMNS = 96, 480  # the last block of 128 is partial


@dataclass(frozen=True)
class Call:
    preset: str
    input: str = "bf16"
    power_of_two: bool = False
    block: int = 128
    activation: str = "swiglu"

    def __str__(self) -> str:
        rounding = " power of two" if self.power_of_two else ""
        return f"{self.preset}, {self.input}, {self.activation}, {self.block}{rounding}"

    @property
    def mx(self) -> bool:
        return PRESETS[self.preset].mx

    def options(self) -> dict[str, Any]:
        chosen: dict[str, Any] = {"numerics": self.preset, "activation": self.activation, "out_block": self.block}
        chosen |= {"out_scale_layout": "row_major"} | ({"x_format": "bf16"} if self.input == "bf16" else {})
        if self.mx:
            return chosen | {"out_scale_format": "ue8m0"}
        return chosen | ({"scale_rounding": "power_of_two"} if self.power_of_two else {})


CALLS = [
    Call(preset, input, power_of_two, block, activation)
    for preset, rule in PRESETS.items()
    for input in DTYPES
    if input in rule.inputs
    for power_of_two in ((True,) if rule.mx else (False, True))
    for block, activation in (
        [(32, "swiglu"), (32, "geglu")] if rule.mx else [(128, "swiglu"), (64, "reglu"), (128, "geglu_tanh")]
    )
]


def inputs(call: Call, special: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """gate, up and weight: rows of every magnitude, zero blocks, the smallest amax and scales among them."""
    rng = np.random.default_rng(2)
    dtype = DTYPES[call.input]
    with np.errstate(all="ignore"):
        x = (rng.standard_normal((2, ROWS, COLUMNS)) * np.exp(4 * rng.standard_normal((2, ROWS, 1)))).astype(dtype)
        chosen = rng.random(x.shape) < special
        x[chosen] = rng.choice(np.array(SPECIAL), np.count_nonzero(chosen)).astype(dtype)
        # The range in which the presets' smallest amax and scale lie, densely; blocks of nothing but zeros.
        x[0, :48], x[1, :48] = (
            16,
            (np.exp2(rng.uniform(-40, 2, (48, 1))) * rng.standard_normal((48, COLUMNS))).astype(dtype),
        )
        x[:, 48:52] = 0
    return x[0], x[1], rng.standard_normal(ROWS).astype(F32)


def run(call: Call, gate: np.ndarray, up: np.ndarray, device: str, **more: Any) -> moe_act.Result:
    x = np.hstack([up, gate])
    x = x.view(np.uint16) if call.input == "bf16" else x
    result = moe_act.gated_act_quant(
        put(x, device), **call.options() | {name: put(value, device) for name, value in more.items()}
    )
    return moe_act.Result(get(result.out), get(result.out_scale))


def activated(call: Call, gate: np.ndarray) -> np.ndarray:
    """The library's own, fp32 [rows, H]."""
    x = np.hstack([np.ones_like(gate), gate])
    x = x.view(np.uint16) if call.input == "bf16" else x
    options = {"x_format": "bf16"} if call.input == "bf16" else {}
    return moe_act.gated_act_quant(x, out_format="fp32", activation=call.activation, **options).out


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("special", [0.0, 0.01])
@pytest.mark.parametrize("call", CALLS, ids=str)
def test_bit_for_bit(call: Call, special: float, weighed: bool) -> None:
    gate, up, weight = inputs(call, special)
    out, out_scale = run(call, gate, up, "cpu", **{"weight": weight} if weighed else {})
    delivered = to_rows(out_scale, "row_major", rows=ROWS, columns=COLUMNS, block=call.block)
    with np.errstate(all="ignore"):
        a, weights = activated(call, gate), weight[:, None] if weighed else np.ones((ROWS, 1), F32)
        codes, scale = PEERS[call.preset](
            a, up.astype(F32), weights, DTYPES[call.input], call.power_of_two, call.block
        )  # fmt: skip
    wrong = np.argwhere((delivered != scale) & ~(np.isnan(delivered) & np.isnan(scale)))
    assert not len(wrong), f"scale {wrong[0]}: {delivered[tuple(wrong[0])]!r}, the peer's {scale[tuple(wrong[0])]!r}"
    wrong = np.argwhere(out != codes)
    assert not len(wrong), f"code {wrong[0]}: {out[tuple(wrong[0])]:#x}, the peer's {codes[tuple(wrong[0])]:#x}"


@pytest.mark.parametrize("preset", [name for name in PRESETS if not PRESETS[name].mx])
def test_peers_are_told_apart(preset: str) -> None:
    """No other peer's steps give this preset's codes and scales."""
    call = Call(preset)
    gate, up, weight = inputs(call, 0.0)
    out, out_scale = run(call, gate, up, "cpu", weight=weight)
    for other in PEERS:
        if not PRESETS[other].mx:
            codes, scale = PEERS[other](
                activated(call, gate), up.astype(F32), weight[:, None], DTYPES[call.input], False, call.block
            )
            same = np.array_equal(codes, out) and np.array_equal(scale, out_scale)
            assert same is (PEERS[other] is PEERS[preset]), other


@pytest.mark.gpu
@pytest.mark.parametrize("special", [0.0, 0.01])
@pytest.mark.parametrize("call", CALLS, ids=str)
def test_a_gpu_conforms(call: Call, special: float) -> None:
    gate, up, weight = inputs(call, special)
    out, out_scale = run(call, gate, up, "cuda", weight=weight)
    x = np.hstack([up, gate])
    x = x.view(np.uint16) if call.input == "bf16" else x
    report = oracle.check(x, out=out, out_scale=out_scale, weight=weight, **call.options())
    assert report.ok, report.message
    assert report.differing <= out.size // 100


COPIES = {"bf16": (ml_dtypes.bfloat16, 0x7FFF), "fp16": (np.float16, 0x7FFF), "fp32": (F32, 0x7FFFFFFF)}  # and its NaN


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("preset", PRESETS)
def test_the_unquantized_copy_is_what_was_quantized(preset: str, copy: str) -> None:
    """To the bit, and it changes none of the result."""
    call, (dtype, nan) = Call(preset, "bf16", True, 32), COPIES[copy]
    gate, up, weight = inputs(call, 0.01)
    copied = np.empty((ROWS, COLUMNS), np.uint32 if copy == "fp32" else np.uint16)
    view = copied if copy == "bf16" else copied.view(dtype)
    named = {"unquantized_format": "bf16"} if copy == "bf16" else {}
    out, out_scale = run(call, gate, up, "cpu", weight=weight, out_unquantized=view, **named)
    plain = run(call, gate, up, "cpu", weight=weight)
    assert out.tobytes() == plain.out.tobytes() and out_scale.tobytes() == plain.out_scale.tobytes()
    with np.errstate(all="ignore"):
        a, rounding = activated(call, gate), PRESETS[preset].product_rounding
        a = a.astype(ml_dtypes.bfloat16).astype(F32) if rounding == "activation_and_product" else a
        y = a * up.astype(F32) * weight[:, None]
        y = y if rounding == "none" else y.astype(ml_dtypes.bfloat16).astype(F32)
        expected = np.where(np.isnan(y), nan, y.astype(dtype).view(copied.dtype))
    assert np.array_equal(copied, expected)

"""The oracle's presets, judged by the peers' own steps, by each other and by errors planted in good results."""

from __future__ import annotations

from typing import Any

import fp32_model
import ml_dtypes
import moe_act
import numpy as np
import pytest
from moe_act import Numerics, oracle
from moe_act.oracle.numerics import PRESETS, rule_of
from moe_act.scales import from_rows
from peer_contracts import PEERS

F32 = np.float32
DTYPES = {"bf16": ml_dtypes.bfloat16, "fp16": np.float16, "fp32": np.float32}
ROWS, COLUMNS = 60, 160  # the last block is partial
SPECIAL = [np.inf, -np.inf, np.nan, 0, -0.0, 3e38, -1e30, 1e-30, 60000, 1e-41, -88, -104]
CASES = [
    (preset, input, power_of_two)
    for preset, rule in PRESETS.items() for input in DTYPES if input in rule.inputs
    for power_of_two in ((True,) if rule.mx else (False, True))
]  # fmt: skip


def inputs(input: str, special: bool, seed: int = 0) -> np.ndarray:
    """Rows of every magnitude, the smallest amax and scales among them."""
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        x = (rng.standard_normal((ROWS, 2 * COLUMNS)) * np.exp(4 * rng.standard_normal((ROWS, 1)))).astype(
            DTYPES[input]
        )
        x[:2], x[2] = 0, x[2] * DTYPES[input](1e-6)
        if special:
            chosen = rng.random(x.shape) < 0.01
            x[chosen] = rng.choice(np.array(SPECIAL), np.count_nonzero(chosen)).astype(DTYPES[input])
    return x


def options_of(preset: str, power_of_two: bool, block: int = 64) -> dict[str, Any]:
    mx = PRESETS[preset].mx
    chosen: dict[str, Any] = {"numerics": preset, "out_block": 32 if mx else block, "out_scale_layout": "row_major"}
    return chosen | (
        {"out_scale_format": "ue8m0"} if mx else {"scale_rounding": "power_of_two" if power_of_two else "none"}
    )


@np.errstate(all="ignore")
def by_peer(
    preset: str, x: np.ndarray, weight: np.ndarray, activation: str = "swiglu", **options: Any
) -> dict[str, np.ndarray]:
    gate, up = fp32_model.halves(x.astype(F32), "second_half")
    power_of_two = options.get("scale_rounding") == "power_of_two" or PRESETS[preset].mx
    a = fp32_model.product({"swiglu": "silu", "reglu": "relu"}[activation], gate, None)
    codes, scale = PEERS[preset](a, up, weight[:, None], x.dtype, power_of_two, options["out_block"])
    return {"out": codes, "out_scale": from_rows(scale, "row_major", format=options.get("out_scale_format"))}


def weights(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(ROWS).astype(F32)


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize(("preset", "input", "power_of_two"), CASES)
def test_a_peers_steps_conform(preset: str, input: str, power_of_two: bool, special: bool) -> None:
    x, weight, options = inputs(input, special), weights(), options_of(preset, power_of_two)
    result = by_peer(preset, x, weight, **options)
    report = oracle.check(x, weight=weight, **result, **options, exact_quotient=True)
    assert report.ok, report.message
    assert report.differing <= 5, "neither is far from the middle"


@pytest.mark.parametrize("activation", ["swiglu", "reglu"])
@pytest.mark.parametrize(("preset", "input", "power_of_two"), CASES)
def test_the_midpoint_conforms(preset: str, input: str, power_of_two: bool, activation: str) -> None:
    """With an activation that is exact it is the peer's result to the bit."""
    x, options = inputs(input, True), options_of(preset, power_of_two) | {"activation": activation}
    out, out_scale = oracle.reference(x, **options)
    report = oracle.check(x, out=out, out_scale=out_scale, **options, exact_quotient=True)
    assert (report.ok, report.differing, report.message) == (True, 0, "")
    if activation == "reglu":
        expected = by_peer(preset, x, np.ones(ROWS, F32), **options)
        assert np.array_equal(out_scale, expected["out_scale"], equal_nan=True)
        assert np.array_equal(oracle.decode(out, "e4m3"), oracle.decode(expected["out"], "e4m3"), equal_nan=True)


ALIKE = {"tilekernels": "deepgemm"}  # one contract, two names


@pytest.mark.parametrize("preset", [name for name in PRESETS if not PRESETS[name].mx])
def test_presets_are_told_apart(preset: str) -> None:
    """A result by another preset's steps does not conform to this one."""
    x, options = inputs("bf16", False), options_of(preset, False) | {"activation": "reglu"}
    for other in PEERS:
        if not PRESETS[other].mx:
            result = by_peer(other, x, np.ones(ROWS, F32), **options)
            alike = ALIKE.get(other, other) == ALIKE.get(preset, preset)
            assert oracle.check(x, **result, **options, exact_quotient=True).ok is alike, other


@pytest.mark.parametrize(("preset", "input", "power_of_two"), CASES)
def test_one_bit_of_an_exact_result_is_caught(preset: str, input: str, power_of_two: bool) -> None:
    x, options = inputs(input, False, seed=3), options_of(preset, power_of_two) | {"activation": "reglu"}
    out, out_scale = oracle.reference(x, **options)
    for row, column in [(5, 0), (20, 130), (59, 159)]:
        block = column // options["out_block"]
        planted_scale = out_scale.copy()
        planted_scale.view(np.uint8 if planted_scale.dtype == np.uint8 else np.uint32)[row, block] += 1
        assert not oracle.check(x, out=out, out_scale=planted_scale, **options)
        column += int(np.argmax(out[row, column:] != 0))
        planted = out.copy()
        planted[row, column] ^= 1
        report = oracle.check(x, out=planted, out_scale=out_scale, **options)
        assert report.message.startswith(f"row {row}, column {column} ")


def test_the_quotient_of_a_gpu_may_be_a_product() -> None:
    """A quotient at most 2^-22 beyond a tie between two codes may become either of them, but not on the CPU."""
    scale, found = F32(3.0), False
    for y in F32(21 * scale) * (1 + np.arange(-4, 5) * F32(2.0**-23)):
        x = F32([[y, 448 * scale, 1, 1]])
        codes = np.uint8([[0, 0x7E]])
        allowed = []
        for code in oracle.encode([[20.0, 22.0]], "e4m3")[0]:
            codes[0, 0] = code
            arguments: dict[str, Any] = {"out": codes, "out_scale": F32([[scale]]), "activation": "reglu"}
            exact = oracle.check(x, **arguments, exact_quotient=True).ok
            assert not exact or oracle.check(x, **arguments).ok
            allowed.append((exact, oracle.check(x, **arguments).ok))
        assert sum(exact for exact, _ in allowed) == 1
        found |= sum(beyond for _, beyond in allowed) == 2
    assert found


@pytest.mark.parametrize("format", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("preset", ["flashinfer", "sglang"])
def test_the_unquantized_copy(preset: str, format: str) -> None:
    """It is of y as it is quantized: weighed, and rounded where the preset rounds it."""
    x, weight, options = inputs("bf16", True), weights(), options_of(preset, False)
    result = by_peer(preset, x, weight, **options)
    gate, up = fp32_model.halves(x.astype(F32), "second_half")
    with np.errstate(all="ignore"):
        a = fp32_model.product("silu", gate, None)
        y = a * up * weight[:, None]
        if preset == "sglang":
            y = (a.astype(x.dtype).astype(F32) * up * weight[:, None]).astype(x.dtype).astype(F32)
        copy = y.astype(DTYPES[format])
    options |= {"weight": weight}
    report = oracle.check(x, **result, **options, out_unquantized=copy)
    assert report.ok, report.message
    if format == "bf16":
        codes = copy.view(np.uint16)
        assert oracle.check(x, **result, **options, out_unquantized=codes, unquantized_format="bf16")
    row, column = (int(index[0]) for index in np.nonzero(np.abs(y) > 1))
    planted = copy.copy()
    planted.view(np.uint8).reshape(ROWS, COLUMNS, -1)[row, column, 1] ^= 1
    report = oracle.check(x, **result, **options, out_unquantized=planted)
    assert report.message.startswith(f"row {row}, column {column} of out_unquantized: {format} 0x")


def test_parts_replace_those_of_the_preset() -> None:
    assert rule_of(Numerics()) == PRESETS["flashinfer"]
    assert rule_of("deepgemm") == rule_of(Numerics("deepgemm")) == rule_of("tilekernels")
    rule = rule_of(Numerics("deepgemm", product_rounding="product", smallest_amax=0.5, quantization="divide"))
    assert (rule.product_rounding, rule.smallest_amax, rule.quantization) == ("product", 0.5, "divide")
    assert rule.smallest_scale == 2.0**-126
    x = inputs("bf16", False)
    options = options_of("lmdeploy", False)
    result = by_peer("lmdeploy", x, np.ones(ROWS, F32), **options)
    spelt = Numerics(product_rounding="product", smallest_amax=1e-6, quantization="multiply")
    assert oracle.check(x, **result, **options | {"numerics": spelt}, exact_quotient=True)
    assert not oracle.check(x, **result, **options | {"numerics": Numerics("lmdeploy", smallest_amax=1.0)})


def test_clamps_round_to_the_input() -> None:
    """A limit that bf16 does not have: 2.3 is 2.296875 there."""
    x = np.array([[5, 5]], ml_dtypes.bfloat16)
    for rounding, limit in (("none", F32(2.3)), ("input", F32(2.296875))):
        y = fp32_model.product("swiglu", F32([[5]]), F32([[5]]), limit=limit)
        for asked in ("none", "input"):
            numerics = Numerics(clamp_rounding=asked)
            report = oracle.check(x, out=y, out_format="fp32", limit=2.3, numerics=numerics)
            assert report.ok is (asked == rounding), report.message


@pytest.mark.parametrize(
    ("numerics", "options", "message"),
    [
        ("cutlass", {}, "numerics: expected flashinfer or deepgemm"),
        ("vllm_masked", {}, "numerics: expected input of bf16, got fp32"),
        ("te_mxfp8", {"out_block": 128}, "numerics: te_mxfp8 is for ue8m0 scales of 32 columns"),
        ("te_mxfp8", {"out_scale_format": "fp32"}, "numerics: te_mxfp8 is for ue8m0 scales of 32 columns"),
        (Numerics(quantization="shift"), {}, "quantization: expected divide or multiply"),  # type: ignore[arg-type]
    ],
)
def test_numerics_that_do_not_fit(numerics: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        oracle.reference(np.ones((2, 8), F32), numerics=numerics, **options)


def test_what_is_not_said_means_what_it_means_to_the_library() -> None:
    """te_mxfp8 brings its form of scales; a smallest amax of 0 is the preset's."""
    x = inputs("fp32", special=False)
    for options in ({"numerics": "te_mxfp8"}, {"numerics": Numerics("deepgemm", smallest_amax=0.0)}):
        report = oracle.check(x, **moe_act.gated_act_quant(x, **options)._asdict(), **options)
        assert report.ok, report.message

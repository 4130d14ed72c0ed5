"""The oracle on what is not an ordinary number."""

import numpy as np
import pytest
from moe_act import oracle
from oracle_cases import DTYPES, FLT_MIN, INF, NAN, OUTPUTS

ONE = np.float32(0.7310586)  # silu(1)
DENORMAL = 2.0**-130  # silu of it is 2^-131, which is 2^-5 of the smallest scale
FLT_MAX = np.finfo(np.float32).max

# (gate, up), scale and code accepted beside a (1, 1) in the same block, and whether they are
BLOCK_SCALED = [
    ("NaN gate", (NAN, 1), ONE / 448, 0x7F, True),
    ("NaN up", (1, NAN), ONE / 448, 0x7F, True),
    ("the other NaN", (NAN, 1), ONE / 448, 0xFF, False),
    ("a number for NaN", (NAN, 1), ONE / 448, 0x00, False),
    ("NaN in the scale", (NAN, 1), NAN, 0x7F, False),
    ("gate -Inf is -Inf * 0", (-INF, 1), ONE / 448, 0x7F, True),
    ("gate -Inf is not 0", (-INF, 1), ONE / 448, 0x00, False),
    ("gate +Inf", (INF, 1), INF, 0x7F, True),
    ("gate +Inf, up -1", (INF, -1), INF, 0x7F, True),
    ("Inf is NaN in its block", (INF, 1), INF, 0x7E, False),
    ("Inf is in the scale", (INF, 1), ONE / 448, 0x7E, False),
    ("up +Inf", (1, INF), INF, 0x7F, True),
    ("Inf * 0", (INF, 0), ONE / 448, 0x7F, True),
    ("0 * Inf", (0, INF), ONE / 448, 0x7F, True),
    ("overflow", (1e20, -1e20), INF, 0x7F, True),
    ("largest number, finite", (2.0**100, FLT_MAX * 2.0**-100), FLT_MAX / 448, 0x7E, True),
    ("largest number, rounded to Inf", (2.0**100, FLT_MAX * 2.0**-100), INF, 0x7F, True),
    ("largest number beside Inf", (2.0**100, FLT_MAX * 2.0**-100), INF, 0x00, True),
    ("largest number, no scale of Inf", (2.0**100, FLT_MAX * 2.0**-100), INF, 0x7E, False),
    ("zero", (0, 5), ONE / 448, 0x00, True),
    ("negative zero", (-0.0, 5), ONE / 448, 0x80, True),
    ("zero is not the smallest value", (0, 5), ONE / 448, 0x01, False),
    ("underflow", (-200, 1), ONE / 448, 0x00, True),
    ("underflow, sign kept", (-200, 1), ONE / 448, 0x80, True),
    ("underflow, NaN", (-200, INF), ONE / 448, 0x7F, True),
    # sigmoid(-88) is a denormal: 0 or not, the product with 1e37 follows
    ("denormal sigmoid kept", (-88, -1e37), np.float32(88 * np.exp(-88.0) * 1e37 / 448), 0x7E, True),
    ("denormal sigmoid flushed", (-88, -1e37), ONE / 448, 0x00, True),
    ("denormal sigmoid, Inf", (-88, INF), INF, 0x7F, True),
    ("denormal sigmoid flushed, NaN", (-88, INF), ONE / 448, 0x7F, True),
]


@pytest.mark.parametrize(("name", "pair", "scale", "code", "conforms"), BLOCK_SCALED)
def test_special_values_in_a_block(name, pair, scale, code, conforms):
    x = np.float32([[pair[1], 1, pair[0], 1]])
    out = np.append(np.uint8([[code]]), oracle.encode([[ONE / scale]], "e4m3"), axis=1)
    report = oracle.check(x, out=out, out_scale=np.float32([[scale]]))
    assert report.ok is conforms, report.message or name


@pytest.mark.parametrize(
    ("gate", "up", "codes", "wrong"),
    [
        (0.0, 3.0, [0x00, 0x80], 0x01),
        (-200.0, 1.0, [0x00, 0x80], 0x01),
        (NAN, 1.0, [0x7F], 0x00),
        (DENORMAL, 1.0, [0x10, 0x00, 0x80], 0x11),
        (DENORMAL, -1.0, [0x90, 0x00, 0x80], 0x10),
        (1e-20, 1e-20, [0x02, 0x00], 0x03),
    ],
)
def test_blocks_of_the_smallest_scale(gate, up, codes, wrong):
    """A zero block, an all-NaN block, denormal products, flushed or not."""
    x = np.float32([[up, gate]])
    for code in [*codes, wrong]:
        report = oracle.check(x, out=np.uint8([[code]]), out_scale=np.float32([[FLT_MIN]]))
        assert report.ok is (code != wrong), report.message
    assert not oracle.check(x, out=np.uint8([codes[:1]]), out_scale=np.float32([[0]]))


PLAIN = [  # gate, up, options, accepted value
    (INF, 1, OUTPUTS["tensor"], 448),
    (INF, -1, OUTPUTS["tensor"], -448),
    (NAN, 1, OUTPUTS["tensor"], NAN),
    (-INF, 1, OUTPUTS["tensor"], NAN),
    (1e6, 1, OUTPUTS["tensor"], 448),
    (1e6, -1, OUTPUTS["tensor"], -448),
    (-200, 1, OUTPUTS["tensor"], 0),
    (70000, 1, OUTPUTS["fp16"], INF),
    (70000, -1, OUTPUTS["fp16"], -INF),
    (65504, 1, OUTPUTS["fp16"], 65504),
    (1e20, 1e20, OUTPUTS["bf16"], INF),
    (NAN, 1, OUTPUTS["bf16"], NAN),
    (-INF, 1, OUTPUTS["fp16"], NAN),
    (INF, -2, OUTPUTS["fp32"], -INF),
    (1e20, 1e20, OUTPUTS["fp32"], INF),
    (DENORMAL, 1, OUTPUTS["fp32"], 0),
    (DENORMAL, 1, OUTPUTS["fp32"], DENORMAL / 2),
    (-200, 1, OUTPUTS["fp32"], -0.0),
    (DENORMAL, 2.0**100, OUTPUTS["fp32"], 0),
    (DENORMAL, 2.0**100, OUTPUTS["fp32"], 2.0**-31),
    (3 * 2.0**-149, 2.0**100, OUTPUTS["fp32"], 2.0**-48),  # half of the gate is 1.5 of the smallest denormal
]


@pytest.mark.parametrize(("gate", "up", "options", "value"), PLAIN)
def test_special_values_plain_and_per_tensor(gate, up, options, value):
    x, name = np.float32([[up, gate]]), options.get("out_format", "e4m3")
    good = np.float32([[value]]).astype(DTYPES[name])
    assert oracle.check(x, out=good, **options)
    for other in (1.0, -1.0, INF, NAN):
        wrong = np.float32([[other]]).astype(DTYPES[name])  # e4m3 has no infinity: NaN
        if not np.array_equal(wrong.astype(np.float32), good.astype(np.float32), equal_nan=True):
            assert not oracle.check(x, out=wrong, **options), other


def test_inputs_are_rounded_to_fp32():
    """448 times a scale of FLT_MAX is infinite, however small the gate makes the product."""
    x, x_scale = np.zeros((1, 256), np.uint8), np.float32([[FLT_MAX], [2.0**-30]])
    x[0, [0, 128]] = oracle.encode([448, 1], "e4m3")
    good = np.uint8([[0x7F] + [0] * 127])
    assert oracle.check(x, x_scale, out=good, out_scale=np.float32([[INF]]), x_format="e4m3")

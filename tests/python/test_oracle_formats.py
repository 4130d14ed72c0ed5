"""The oracle's number formats, judged by ml_dtypes."""

import numpy as np
import pytest
from moe_act import oracle
from oracle_cases import CODES, DTYPES, INF, NAN, cast


def fp32_patterns(name):
    """fp32: 2^17 bit patterns over all exponents, special values, and every value of the format, every tie
    between two of them and the fp32 neighbours of each."""
    spread = np.random.default_rng(2).integers(0, 1 << 32, 1 << 17, np.uint32).view(np.float32)
    special = np.float32([0.0, -0.0, INF, -INF, NAN, 448, 464, 465, 65504, 65520, 3.4028235e38, 1e-45])
    if name == "fp32":
        return np.concatenate([spread, special])
    codes = np.arange(1 << 8 * np.dtype(CODES[name]).itemsize).astype(CODES[name])
    values = codes.view(DTYPES[name])
    with np.errstate(all="ignore"):
        values = np.unique(values[np.isfinite(values)].astype(np.float64))
        near = np.concatenate([values, (values[1:] + values[:-1]) / 2]).astype(np.float32)
        neighbours = [np.nextafter(near, np.float32(end)) for end in (-INF, INF)]
    return np.concatenate([spread, special, near, *neighbours])


@pytest.mark.parametrize("name", DTYPES)
def test_decode_agrees_with_ml_dtypes(name):
    codes = fp32_patterns(name).view(np.uint32).astype(CODES[name])  # truncated: any patterns will do
    if name != "fp32":
        codes = np.arange(1 << 8 * codes.itemsize).astype(CODES[name])
    values = codes.view(DTYPES[name])
    with np.errstate(invalid="ignore"):
        expected = values.astype(np.float32)
    for given in (codes, values):
        decoded = oracle.decode(given, name)
        np.testing.assert_array_equal(decoded, expected)
        assert decoded.dtype == np.float64
        numbers = ~np.isnan(expected)
        assert np.array_equal(np.signbit(decoded)[numbers], np.signbit(expected)[numbers])


@pytest.mark.parametrize("name", DTYPES)
def test_encode_agrees_with_ml_dtypes(name):
    values = fp32_patterns(name)
    numbers = ~np.isnan(values)
    codes = oracle.encode(values, name)
    assert codes.dtype == CODES[name]
    np.testing.assert_array_equal(codes[numbers], cast(values[numbers], name).view(CODES[name]))
    canonical = {"e4m3": 0x7F, "bf16": 0x7FC0, "fp16": 0x7E00, "fp32": 0x7FC00000}
    assert np.unique(codes[~numbers]).tolist() == [canonical[name]]


@pytest.mark.parametrize(("name", "bits"), [("e4m3", 3), ("bf16", 7), ("fp16", 10)])
def test_encode_rounds_once(name, bits):
    """2^-40 beyond the tie above 1 is lost in fp32: on the way through it, the value would round down."""
    tie = 1 + 2.0 ** -(bits + 1)
    codes = oracle.encode([tie, tie + 2**-40], name)
    assert oracle.decode(codes, name).tolist() == [1, 1 + 2.0**-bits]

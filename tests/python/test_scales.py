"""Scale tensors of moe_act.scales: shapes, strides and bytes against the layouts' definition, and every conversion."""

from __future__ import annotations

import itertools
from typing import Any

import moe_act
import numpy as np
import pytest
import scale_forms
from moe_act import scales
from scale_forms import FORMS, ScaleForm

SIZES = [(1, 1), (3, 640), (4, 512), (37, 200), (128, 128), (129, 2000)]  # rows, columns


def powers_of_two(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return np.exp2(rng.integers(-20, 20, shape)).astype(np.float32)


def logical(array: np.ndarray) -> tuple[Any, ...]:
    """What a GEMM sees of a tensor; strides of axes with one element mean nothing."""
    return array.shape, array.dtype, [s for n, s in zip(array.shape, array.strides, strict=True) if n > 1]


@pytest.mark.parametrize("experts", [None, 3])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_from_rows_puts_bytes_where_the_layout_says(form: ScaleForm, experts: int | None) -> None:
    rng = np.random.default_rng(0)
    for rows, columns in SIZES:
        expected = scale_forms.make(form, columns, rows, experts, None, odd=False)
        values = powers_of_two(rng, expected.parts, rows, expected.blocks)
        padded = np.ones((expected.parts, expected.height, expected.blocks), np.float32)
        padded[:, :rows] = values
        scale_forms.fill(expected, padded)
        made = scales.from_rows(values if experts else values[0], form.layout, format=form.format)
        assert logical(made) == logical(expected.placed.array)
        dense = scales.to_rows(made, form.layout, rows=rows, columns=columns, block=form.block)
        assert dense.dtype == np.float32 and (dense == values).all()
        read = scales.to_rows(expected.placed.array, form.layout, rows=rows, columns=columns, block=form.block)
        assert (read == values).all()


@pytest.mark.parametrize(("source", "target"), list(itertools.product(scales.LAYOUTS, repeat=2)))
def test_convert_is_exact_both_ways(source: str, target: str) -> None:
    rng = np.random.default_rng(1)
    for lead, (rows, columns), block in itertools.product([(), (2,)], SIZES, (32, 64, 128)):
        sizes = {"rows": rows, "columns": columns, "block": block}
        first = scales.from_rows(powers_of_two(rng, *lead, rows, -(-columns // block)), source)
        there = scales.convert(first, source, target, **sizes)
        back = scales.convert(there, target, source, **sizes)
        assert logical(back) == logical(first) and (back == first).all()
        dense = (scales.to_rows(tensor, name, **sizes) for tensor, name in ((first, source), (there, target)))
        assert (next(dense) == next(dense)).all()


@pytest.mark.parametrize("kind", ["dense", "offsets", "masked"])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_empty_is_what_the_operation_allocates_and_takes(form: ScaleForm, kind: str) -> None:
    rows, columns, experts = 9, 320, 3
    options: dict[str, Any] = scale_forms.options("out", form)
    x = np.ones((experts, rows, 2 * columns) if kind == "masked" else (rows, 2 * columns), np.float32)
    if kind == "masked":
        options["rows"] = moe_act.rows.Masked(np.array([2, 0, 9]))
    if kind == "offsets":
        options["rows"] = moe_act.rows.ExpertOffsets(np.array([0, 2, 2, 9]))
    empty = scales.empty(
        form.layout, rows=rows, columns=columns, block=form.block, format=form.format,
        experts=experts if kind == "masked" else None, segments=experts if kind == "offsets" else None,
    )  # fmt: skip
    allocated = moe_act.gated_act_quant(x, **options).out_scale
    assert logical(empty) == logical(allocated)
    given = moe_act.gated_act_quant(x, **options, out_scale=empty, padding="zero")
    assert given.out_scale is empty and (empty == allocated).all()


def test_a_square_tensor_for_tma_is_read_by_its_strides() -> None:
    values = np.arange(1, 17, dtype=np.float32).reshape(4, 4)
    tensor = scales.from_rows(values, "tma_column_major")
    for given in (tensor, tensor.T):
        assert (scales.to_rows(given, "tma_column_major", rows=4, columns=512) == values).all()
    exponents = np.exp2(np.arange(16 * 4).reshape(4, 16)).astype(np.float32)
    packed = scales.from_rows(exponents, "packed_ue8m0")
    for given in (packed, packed.T):
        assert (scales.to_rows(given, "packed_ue8m0", rows=4, columns=512, block=32) == exponents).all()


def test_codes_of_ue8m0() -> None:
    values = [0, -1, 2**-149, 2**-127, 2**-126, 1.5 * 2**-126, 1, 1.1, 2, 2.0**127, 3e38, np.inf, -np.inf, np.nan]
    codes = [0, 0, 0, 0, 1, 2, 127, 128, 128, 254, 255, 255, 255, 255]
    assert scales.encode_ue8m0(np.array(values)).tolist() == codes
    every = np.arange(255, dtype=np.uint8)
    assert (scales.encode_ue8m0(scales.decode_ue8m0(every)) == every).all()
    assert scales.decode_ue8m0(every).tolist() == [2.0 ** (code - 127) for code in range(255)]
    assert np.isnan(scales.decode_ue8m0(np.array([255], np.uint8)))


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"^layout: expected one of .*, got 'diagonal'$"):
        scales.empty("diagonal", rows=1, columns=1)
    with pytest.raises(ValueError, match=r"^format: packed_ue8m0 scales are ue8m0, got 'fp32'$"):
        scales.from_rows(np.ones((1, 1), np.float32), "packed_ue8m0", format="fp32")
    for block in (0, 16, -32):
        with pytest.raises(ValueError, match=rf"^block: expected 32, 64 or 128 .*, got {block}$"):
            scales.empty("row_major", rows=1, columns=256, block=block)
        with pytest.raises(ValueError, match=rf"^block: expected 32, 64 or 128 .*, got {block}$"):
            scales.to_rows(np.ones((1, 2), np.float32), "row_major", rows=1, columns=256, block=block)


def test_the_package_has_it() -> None:
    assert moe_act.scales is scales and "scales" in moe_act.__all__

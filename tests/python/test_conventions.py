"""Every convention, layout, format, activation and option: three of them at a time in every way, or a larger walk.

On the CPU against the oracle, on a GPU against the CPU as well. All memory is NaN before, and every byte of it is
looked at afterwards.
"""

from __future__ import annotations

import axes
import cases
import conventions
import covering
import numpy as np
import pytest
import scale_forms
from axes import AXES, Combination
from conventions import Built, Memories
from moe_act import oracle
from moe_act.oracle.numerics import rule_of
from placed import NAN_BYTE, Placed
from test_operation import PLAIN_STEP

EXACT = ("reglu", "relu", "relu2")
RELATIVE = ("swiglu", "swiglu_step", "silu", *EXACT)  # errors are relative, or none
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def judge(case: Combination, built: Built, written: Memories, device: str) -> oracle.Report:
    """The oracle's verdict on live rows, and what every other byte is."""
    x_scale = None if built.x_scale is None else built.x_scale.as_described(built.x_scale.placed.array)
    delivered = None
    if built.out_scale is not None:
        delivered = built.out_scale.as_described(built.out_scale.placed.on("cpu", written.out_scale))
    copy = None if built.copy is None else built.copy.on("cpu", written.copy)
    report = oracle.check(
        built.x.array, x_scale, bias=None if built.model.bias is None else built.model.bias.array,
        **built.rows(), **built.options, **built.model.arrays,
        out=built.out.on("cpu", written.out), out_scale=delivered, out_unquantized=copy, exact_quotient=device == "cpu",
    )  # fmt: skip
    assert report.ok, report.message
    assert report.rows == built.live.sum()

    for tensor, memory in ((built.out, written.out), (built.copy, written.copy)):
        if tensor is not None:
            expected = np.full(len(memory), NAN_BYTE, np.uint8)
            if case.padding == "zero":
                expected[_bytes_of(tensor, ~built.live)] = 0
            elsewhere = ~_bytes_of(tensor, built.live)
            assert (memory[elsewhere] == expected[elsewhere]).all(), "a byte outside the live rows is not what it was"
    if built.out_scale is None:
        return report
    live = np.zeros((built.out_scale.parts, built.out_scale.height), bool)
    swizzled = built.out_scale.form.layout == "swizzled_128x4"
    for part, row in zip(*np.nonzero(built.live), strict=True):
        live[part, built.scale_rows[part, row] if swizzled else row] = True
    known, values = scale_forms.expected_elsewhere(built.out_scale, live, case.padding)
    wrong = np.flatnonzero(known & (written.out_scale != values))
    assert not len(wrong), f"byte {wrong[0]} of out_scale is {written.out_scale[wrong[0]]}, expected {values[wrong[0]]}"
    return report


def _bytes_of(tensor: Placed, rows: np.ndarray) -> np.ndarray:
    """Which bytes of the backing belong to these rows, bool [parts, rows]."""
    marker = Placed(tensor.dtype, tensor.shape, tensor.strides, tensor.first)
    marker.array[rows if len(tensor.shape) == 3 else rows[0]] = 0
    return marker.backing == 0


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        walk = axes.full_walk() if metafunc.config.getoption("--full-walk") else axes.three_way()
        metafunc.parametrize("case", list(dict.fromkeys(walk)), ids=str)


@pytest.mark.parametrize("device", DEVICES)
def test_combination(case: Combination, device: str) -> None:
    built = conventions.build(case)
    judge(case, built, conventions.run(built, device), device)


@pytest.mark.gpu
def test_gpu_agrees_with_cpu(case: Combination) -> None:
    """Scales and codes may differ by the roundings of the activation: seldom, and by one step."""
    built = conventions.build(case)
    codes, scales = conventions.results(built, conventions.run(built, "cpu"))
    gpu_codes, gpu_scales = conventions.results(built, conventions.run(built, "cuda"))
    rounds = rule_of(built.options["numerics"]).product_rounding != "none"
    alike = np.ones(codes.shape, bool)
    if scales is not None:
        seldom = rounds or case.rounding == "power_of_two" or case.out_form.format == "ue8m0"
        if case.columns == 1 and case.activation not in RELATIVE:  # an error of the gate's size may be all there is
            return
        steps = np.abs(scales.view(np.int32).astype(np.int64) - gpu_scales.view(np.int32))
        same = steps == 0 if seldom else steps <= 16
        assert np.count_nonzero(~same) <= (1 + same.size // 100 if seldom else 0)
        width = case.out_form.block if "block" in case.output else case.columns
        alike = np.repeat(same, width, axis=1)[:, : codes.shape[1]]
    if case.output in ("bf16", "fp16", "fp32"):
        values, gpu_values = (array.view(cases.DTYPES[case.output]).astype(np.float64) for array in (codes, gpu_codes))
        step = 2.0**-6 if rounds else PLAIN_STEP[case.output]
        greatest = np.abs(values[np.isfinite(values)]).max(initial=0)
        close = np.abs(values - gpu_values) <= step * np.abs(values) + 2.0**-18 * greatest
        assert (close | (values == gpu_values) | (np.isnan(values) & np.isnan(gpu_values))).all()
        return
    # Exact products of e4m3 have few bits, and so have their ratios to the largest one of a scale: one in a few hundred
    # lies halfway between two codes, and the last bit of a CPU's quotient or of a GPU's product with 1 / scale decides.
    ties = case.input == "e4m3" and case.activation in EXACT
    differing = np.count_nonzero((codes != gpu_codes) & alike)
    assert differing <= 2 + codes.size // (200 if rounds or ties else 1000), f"{differing} of {codes.size} codes differ"
    assert np.abs(codes.astype(int) - gpu_codes.astype(int))[alike].max(initial=0) <= 1


TMA, PACKED, SWIZZLED = ("tma_column_major", "fp32"), ("packed_ue8m0", "ue8m0"), ("swizzled_128x4", "ue8m0")
PLAIN = [
    {"output": "e4m3 block", "x_layout": PACKED, "x_block": 64, "out_layout": SWIZZLED, "out_block": 32},
    {"output": "e5m2 row", "x_block": 64},
    {"output": "bf16", "x_layout": TMA},
]
GENERAL = [
    {"activation": "situ", "bias": "bf16", "weight": True, "copy": "bf16", "gate": "interleaved 8"},
    {"activation": "swiglu", "parameters": "per expert", "numerics": "deepgemm", "output": "e5m2 row"},
    {"activation": "gelu", "weight": True, "output": "fp32"},
]
KERNELS = [
    Combination(rows, input, columns=640, capacity=150, **{"output": "e4m3 block"} | others)
    for rows in axes.ROWS
    for input in cases.INPUTS
    for others in PLAIN + GENERAL
]


@pytest.mark.gpu
@pytest.mark.parametrize("kernels", list(dict.fromkeys(map(axes.sensible, KERNELS))), ids=str)
def test_every_plan_gives_the_same_bytes(kernels: Combination) -> None:
    built = conventions.build(kernels)
    plan = conventions.plan(built, "cuda")
    expected = conventions.run(built, "cuda")
    plans = plan.alternatives()
    assert len({(each.schedule, each.columns_per_lane, each.vectors_per_lane) for each in plans}) >= 2
    for each in plans:
        assert conventions.run(built, "cuda", plan=each).same_bytes(expected), str(each)


def test_the_verdict_sees_every_byte() -> None:
    """One bit anywhere in scales, or outside the live rows of a result, does not pass."""
    rng = np.random.default_rng(0)
    for case in axes.three_way()[::80]:
        built = conventions.build(case)
        written = conventions.run(built, "cpu")
        judge(case, built, written, "cpu")
        for tensor, memory in ((built.out, written.out), (built.copy, written.copy), (None, written.out_scale)):
            live_bytes = None if tensor is None else _bytes_of(tensor, built.live)
            for byte in [] if memory is None else rng.integers(0, len(memory), 8):
                if live_bytes is None or not live_bytes[byte]:
                    memory[byte] ^= 0x80
                    with pytest.raises(AssertionError):
                        judge(case, built, written, "cpu")
                    memory[byte] ^= 0x80


def test_three_axes_have_every_combination_that_can_be() -> None:
    space, walk = covering.Space(AXES, axes.excludes), axes.three_way()
    had = np.zeros((len(space.values),) * 3, bool)
    for case in walk:
        numbers = space.numbers(**vars(case))
        assert space.together[np.ix_(numbers, numbers)].all(), f"cannot be: {case}"
        had[np.ix_(numbers, numbers, numbers)] = True
    pairs = space.together & ~np.eye(len(had), dtype=bool)
    missing = ~had & pairs[:, :, None] & pairs[:, None, :] & pairs[None, :, :]
    for triple in np.argwhere(missing).tolist():
        if triple == sorted(triple):
            assert not space.can_be(triple), f"missing: {[space.values[n] for n in triple]}"

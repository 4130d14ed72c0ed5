"""Every row convention, scale layout, format and option: three of them at a time in every way, or all of a larger walk.

On the CPU against the oracle, on a GPU against the CPU as well. All memory is NaN before, and every byte of it is
looked at afterwards.
"""

from __future__ import annotations

import itertools
import random
from typing import Any

import cases
import conventions
import numpy as np
import pytest
import scale_forms
from conventions import AXES, Built, Combination
from moe_act import oracle
from placed import NAN_BYTE, Placed
from scale_forms import FORMS, ScaleForm
from test_operation import PLAIN_STEP

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def covering_array(seed: int = 7) -> list[Combination]:
    """Cases in which every three axes have every combination of their values that makes sense together."""
    rng = random.Random(seed)
    names = list(AXES)
    triples = list(itertools.combinations(range(len(names)), 3))

    def values(case: Combination) -> tuple[int, ...]:
        return tuple(AXES[name].index(getattr(case, name)) for name in names)

    def covered(indices: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [(t, indices[a], indices[b], indices[c]) for t, (a, b, c) in enumerate(triples)]

    def random_case(fixed: dict[str, Any]) -> Combination:
        return Combination(**{name: rng.choice(AXES[name]) for name in names} | fixed).sensible()

    seen: set[tuple[int, ...]] = set()
    chosen: list[Combination] = []
    wanted = [
        (t, *combination)
        for t, axes in enumerate(triples)
        for combination in itertools.product(*(range(len(AXES[names[axis]])) for axis in axes))
    ]
    rng.shuffle(wanted)
    for triple in wanted:
        if triple in seen:
            continue
        fixed = {
            names[axis]: AXES[names[axis]][value] for axis, value in zip(triples[triple[0]], triple[1:], strict=True)
        }
        best, best_new = None, 0
        for _ in range(3):
            case = random_case(fixed)
            triples_of_case = covered(values(case))
            if triple not in triples_of_case:  # its values rule each other out
                break
            new = sum(t not in seen for t in triples_of_case)
            if new > best_new:
                best, best_new = case, new
        if best is None:
            seen.add(triple)
            continue
        chosen.append(best)
        seen.update(covered(values(best)))
    return chosen


def full_walk() -> list[Combination]:
    """Every row convention x input with its scales x output with its scales; the other axes at random."""
    rng = random.Random(11)
    inputs = [("e4m3", form) for form in scale_forms.FORMS] + [
        (name, scale_forms.FORMS[0]) for name in AXES["input"][1:]
    ]
    outputs = [
        (o, f) for o in conventions.OUTPUTS for f in (scale_forms.FORMS if "block" in o else scale_forms.FORMS[:1])
    ]
    walked = ("rows", "input", "x_form", "output", "out_form")
    rest = [name for name in AXES if name not in walked]
    return [
        Combination(
            rows=rows, input=input, x_form=x_form, output=output, out_form=out_form,
            **{name: rng.choice(AXES[name]) for name in rest},
        ).sensible()
        for rows in conventions.ROWS for input, x_form in inputs for output, out_form in outputs
    ]  # fmt: skip


def judge(case: Combination, built: Built, out: np.ndarray, scale: np.ndarray | None) -> oracle.Report:
    """The oracle's verdict on live rows, and what every other byte is."""
    x_scale = None if built.x_scale is None else built.x_scale.as_described(built.x_scale.placed.array)
    delivered = (
        None if built.out_scale is None else built.out_scale.as_described(built.out_scale.placed.on("cpu", scale))
    )
    arguments = {"x": built.x.array, "x_scale": x_scale, **built.rows(), **built.options}
    report = oracle.check(**arguments, out=built.out.on("cpu", out), out_scale=delivered)
    assert report.ok, report.message
    assert report.rows == built.live.sum()

    expected = np.full(len(out), NAN_BYTE, np.uint8)
    if case.padding == "zero":
        expected[_bytes_of(built.out, ~built.live)] = 0
    elsewhere = ~_bytes_of(built.out, built.live)
    assert (out[elsewhere] == expected[elsewhere]).all(), "a byte of out outside the live rows is not what it should be"
    if built.out_scale is None or scale is None:
        return report
    live = np.zeros((built.out_scale.parts, built.out_scale.height), bool)
    swizzled = built.out_scale.form.layout == "swizzled_128x4"
    for part, row in zip(*np.nonzero(built.live), strict=True):
        live[part, built.scale_rows[part, row] if swizzled else row] = True
    known, values = scale_forms.expected_elsewhere(built.out_scale, live, case.padding)
    wrong = np.flatnonzero(known & (scale != values))
    assert not len(wrong), f"byte {wrong[0]} of out_scale is {scale[wrong[0]]}, expected {values[wrong[0]]}"
    return report


def _bytes_of(tensor: Placed, rows: np.ndarray) -> np.ndarray:
    """Which bytes of the backing belong to these rows, bool [parts, rows]."""
    marker = Placed(tensor.dtype, tensor.shape, tensor.strides, tensor.first)
    marker.array[rows if len(tensor.shape) == 3 else rows[0]] = 0
    return marker.backing == 0


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        walk = full_walk() if metafunc.config.getoption("--full-walk") else covering_array()
        metafunc.parametrize("case", list(dict.fromkeys(walk)), ids=str)


@pytest.mark.parametrize("device", DEVICES)
def test_combination(case: Combination, device: str) -> None:
    built = conventions.build(case)
    judge(case, built, *conventions.run(built, device))


@pytest.mark.gpu
def test_gpu_agrees_with_cpu(case: Combination) -> None:
    """Scales and codes may differ by the roundings of the sigmoid: seldom, and by one step."""
    built = conventions.build(case)
    codes, scales = conventions.results(built, *conventions.run(built, "cpu"))
    gpu_codes, gpu_scales = conventions.results(built, *conventions.run(built, "cuda"))
    alike = np.ones(codes.shape, bool)
    if scales is not None:
        exponents = case.out_form.format == "ue8m0" or case.rounding == "power_of_two"
        steps = np.abs(scales.view(np.int32).astype(np.int64) - gpu_scales.view(np.int32))
        same = steps == 0 if exponents else steps <= 16
        assert np.count_nonzero(~same) <= (1 + same.size // 200 if exponents else 0)
        alike = np.repeat(same, -(-codes.shape[1] // same.shape[1]), axis=1)[:, : codes.shape[1]]
        if "block" in case.output:
            alike = np.repeat(same, case.out_form.block, axis=1)[:, : codes.shape[1]]
    if case.output in ("bf16", "fp16", "fp32"):
        values, gpu_values = (array.view(cases.DTYPES[case.output]).astype(np.float64) for array in (codes, gpu_codes))
        assert (np.abs(values - gpu_values) <= PLAIN_STEP[case.output] * np.abs(values) + 2.0**-24).all()
        return
    differing = np.count_nonzero((codes != gpu_codes) & alike)
    assert differing <= 2 + codes.size // 1000, f"{differing} of {codes.size} codes differ"
    assert np.abs(codes.astype(int) - gpu_codes.astype(int))[alike].max(initial=0) <= 1


KERNELS = [
    Combination(rows, input, output, x_form, out_form, columns=640, capacity=150)
    for rows in conventions.ROWS
    for input in cases.INPUTS
    for output, x_form, out_form in (
        ("e4m3 block", ScaleForm("packed_ue8m0", "ue8m0", 64), ScaleForm("swizzled_128x4", "ue8m0", 32)),
        ("e5m2 row", FORMS[1], FORMS[0]),
        ("bf16", ScaleForm("tma_column_major", "fp32", 128), FORMS[0]),
    )
]


@pytest.mark.gpu
@pytest.mark.parametrize("kernels", [case.sensible() for case in KERNELS], ids=str)
def test_every_plan_gives_the_same_bytes(kernels: Combination) -> None:
    built = conventions.build(kernels)
    plan = conventions.plan(built, "cuda")
    expected = conventions.run(built, "cuda")
    plans = plan.alternatives()
    assert len({(each.schedule, each.columns_per_lane, each.vectors_per_lane) for each in plans}) >= 2
    for each in plans:
        out, scale = conventions.run(built, "cuda", plan=each)
        assert out.tobytes() == expected[0].tobytes(), str(each)
        assert scale is None or (expected[1] is not None and scale.tobytes() == expected[1].tobytes()), str(each)


def test_the_verdict_sees_every_byte() -> None:
    """One bit anywhere in scales, or outside the live rows of a result, does not pass."""
    rng = np.random.default_rng(0)
    for case in covering_array()[::60]:
        built = conventions.build(case)
        out, scale = conventions.run(built, "cpu")
        judge(case, built, out, scale)
        live_bytes = _bytes_of(built.out, built.live)
        for memory in (out,) if scale is None else (out, scale):
            for byte in rng.integers(0, len(memory), 12):
                if memory is out and live_bytes[byte]:
                    continue
                memory[byte] ^= 0x80
                with pytest.raises(AssertionError):
                    judge(case, built, out, scale)
                memory[byte] ^= 0x80

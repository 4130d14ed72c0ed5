"""Every input x output x scale layout x row kind x gate order, against the oracle; on a GPU also against the CPU."""

from __future__ import annotations

from dataclasses import replace

import cases
import devices
import moe_act
import numpy as np
import pytest
from cases import Case

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
# One step of the format, relative; for fp32 twice the contract's width at a gate of 16.
PLAIN_STEP = {"bf16": 2.0**-7, "fp16": 2.0**-10, "fp32": 2.0**-18}
# H: below, at and past a block; halves that begin inside a block; what vectors do and do not divide.
COLUMNS = (1, 3, 64, 127, 128, 129, 192, 320, 768, 1408, 2048, 2880)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", cases.every_combination(), ids=str)
def test_every_combination(case: Case, device: str) -> None:
    problem = cases.build(case)
    devices.conforms(problem, *devices.run(problem, device))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("input", cases.INPUTS)
@pytest.mark.parametrize("output", cases.OUTPUTS)
def test_every_column_count(input: str, output: str, columns: int, device: str) -> None:
    problem = cases.build(Case(input, output, rows=5, columns=columns), seed=columns)
    devices.conforms(problem, *devices.run(problem, device))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("input", cases.INPUTS)
@pytest.mark.parametrize("output", cases.OUTPUTS)
@pytest.mark.parametrize("row_kind", cases.ROW_KINDS)
def test_misaligned_pointers_and_gaps_give_the_same_bytes(input: str, output: str, row_kind: str, device: str) -> None:
    case = Case(input, output, row_kind=row_kind, rows=7, columns=384)
    aligned = cases.build(case)
    awkward = cases.build(replace(case, misaligned=True, row_gap=3))
    out, out_scale = devices.run(aligned, device)
    devices.conforms(aligned, out, out_scale)
    awkward_out, awkward_scale = devices.run(awkward, device)
    assert out.tobytes() == np.ascontiguousarray(awkward_out).tobytes()
    if out_scale is not None:
        assert awkward_scale is not None and out_scale.tobytes() == awkward_scale.tobytes()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("output", cases.OUTPUTS)
@pytest.mark.parametrize("input", cases.INPUTS)
def test_no_rows(input: str, output: str, device: str) -> None:
    problem = cases.build(Case(input, output, rows=0, columns=256))
    out, _ = devices.run(problem, device)
    assert out.shape == (0, 256)


@pytest.mark.gpu
@pytest.mark.parametrize("case", cases.every_combination(columns=640, rows=33), ids=str)
def test_gpu_agrees_with_cpu(case: Case) -> None:
    """Scales and codes may differ by the roundings of the sigmoid: seldom, and by one step."""
    problem = cases.build(case)
    out, out_scale = devices.run(problem, "cpu")
    gpu_out, gpu_scale = devices.run(problem, "cuda")
    differing = np.count_nonzero(out != gpu_out)
    if case.output in PLAIN_STEP:
        expected, got = values_of(out, case.output), values_of(gpu_out, case.output)
        assert (np.abs(got - expected) <= PLAIN_STEP[case.output] * np.abs(expected) + 2.0**-24).all()
    else:
        assert differing <= 2 + out.size // 2000, f"{differing} of {out.size} codes differ"
        assert np.abs(out[problem.live].astype(int) - gpu_out[problem.live].astype(int)).max(initial=0) <= 1
    if out_scale is not None and gpu_scale is not None:
        np.testing.assert_array_max_ulp(out_scale, gpu_scale, maxulp=16)


def values_of(codes: np.ndarray, format: str) -> np.ndarray:
    return codes.view(cases.DTYPES[format]).astype(np.float64)


def test_results_are_allocated_like_the_input() -> None:
    import ml_dtypes

    x = np.ones((3, 512), np.float32)
    plain = moe_act.gated_act_quant(x)
    assert plain.out.dtype == np.uint8 and plain.out.shape == (3, 256)
    assert plain.out_scale.shape == (2, 3)
    extended = moe_act.gated_act_quant(x.astype(ml_dtypes.bfloat16))
    assert extended.out.dtype == ml_dtypes.float8_e4m3fn
    assert extended.out.tobytes() == plain.out.tobytes()
    assert moe_act.gated_act_quant(x, out_format="bf16").out.dtype == np.uint16
    assert moe_act.gated_act_quant(x, out_scale_layout="row_major").out_scale.shape == (3, 2)

"""CuPy arrays on a GPU: in and out, on CuPy's streams; test_interop.py captures them in graphs."""

from __future__ import annotations

from typing import Any

import cases
import devices
import moe_act
import numpy as np
import pytest
from cases import Case
from test_frameworks import devices_agree, problem_of, run_with
from test_streams import WAYS, busy, way

pytestmark = pytest.mark.gpu
cupy: Any = pytest.importorskip("cupy", exc_type=ImportError)


@pytest.mark.parametrize("output", cases.OUTPUTS)
@pytest.mark.parametrize("input", cases.INPUTS)
def test_arrays(input: str, output: str) -> None:
    """Every format; results are CuPy's."""
    problem = problem_of(input, output)
    with cupy.cuda.Stream(non_blocking=True):
        result = run_with(problem, cupy.asarray)
        assert isinstance(result.out, cupy.ndarray)
        # Here, where the stream is current: a copy on any other would not wait for it.
        arrays = [None if array is None else cupy.asnumpy(array) for array in result]
    devices_agree(problem, moe_act.Result(*arrays))


@pytest.mark.parametrize("by", WAYS)
def test_results_in_place(by: str) -> None:
    problem = cases.build(Case("e4m3", "block", row_kind="map", rows=9, columns=192))
    tensors, options = devices.split(problem)
    call = {name: cupy.asarray(array) for name, array in tensors.items()}
    call |= {"out": cupy.zeros((9, 192), "uint8"), "out_scale": cupy.zeros((2, 9), "float32")}
    result = way(by, call, **options)()
    assert result.out is call["out"] and result.out_scale is call["out_scale"]
    devices_agree(problem, moe_act.Result(*map(cupy.asnumpy, result)))


@pytest.mark.parametrize("given", ["current", "object", "handle"])
@pytest.mark.parametrize("by", WAYS)
def test_the_stream(given: str, by: str) -> None:
    """x is written late on a side stream: a launch anywhere else would read the NaN that is there before."""
    import torch

    x, late = cupy.full((64, 512), np.nan, "float32"), cupy.ones((64, 512), "float32")
    expected = moe_act.gated_act_quant(late)
    results = {"out": cupy.zeros_like(expected.out), "out_scale": cupy.zeros_like(expected.out_scale)}
    run = way(by, {"x": x, **results})
    side = cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.Device().synchronize()
    with side:
        with torch.cuda.stream(torch.cuda.ExternalStream(side.ptr)):
            busy(torch)
        x[...] = late
        if given == "current":
            run()
    if given != "current":
        run(stream={"object": side, "handle": side.ptr}[given])
    assert not side.done, "the stream should still be asleep"
    side.synchronize()
    assert bool((results["out"] == expected.out).all() and (results["out_scale"] == expected.out_scale).all())


def test_another_device_than_the_current_one() -> None:
    """The arrays' device counts, and the current one stays."""
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("one CUDA device only")
    values = np.random.default_rng(0).standard_normal((33, 640), dtype=np.float32)
    with cupy.cuda.Device(1):
        x = cupy.asarray(values)
    with cupy.cuda.Device(0):
        result = moe_act.gated_act_quant(x)
        assert cupy.cuda.runtime.getDevice() == 0
        expected = moe_act.gated_act_quant(cupy.asarray(values))
    assert result.out.device.id == result.out_scale.device.id == 1
    assert all((cupy.asnumpy(got) == cupy.asnumpy(want)).all() for got, want in zip(result, expected, strict=True))

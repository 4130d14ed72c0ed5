"""On a GPU: the stream that is current there or given, CUDA graphs, and the device of the tensors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import cases
import devices
import moe_act
import pytest
from cases import Case
from tensors import get, put

pytestmark = pytest.mark.gpu


def busy(torch: Any) -> None:
    """Keeps the current stream busy for some 50 ms."""
    torch.cuda._sleep(100_000_000)


WAYS = ["call", "plan", "bound"]


def way(name: str, call: dict[str, Any], **options: Any) -> Callable[..., Any]:
    """The same launch as a call, by a plan, or with its tensors bound: only the stream is left to be given."""
    if name == "call":
        return partial(moe_act.gated_act_quant, **call, **options)
    plan = moe_act.plan(**call, **options)
    return plan.bind(**call).run if name == "bound" else partial(plan.run, **call)


class Protocol:
    """An object that is nothing but a CUDA stream."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.handle


@pytest.mark.parametrize("given", ["current", "int", "torch", "protocol"])
@pytest.mark.parametrize("by", WAYS)
def test_the_stream(given: str, by: str) -> None:
    """x is written late on a side stream: a launch anywhere else would read the NaN that is there before."""
    import torch

    x, late = torch.full((64, 512), float("nan"), device="cuda"), torch.ones(64, 512, device="cuda")
    expected = moe_act.gated_act_quant(late)
    out = torch.zeros_like(expected.out.view(torch.uint8))
    out_scale = torch.zeros_like(expected.out_scale)
    run = way(by, {"x": x, "out": out, "out_scale": out_scale})
    side = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        busy(torch)
        x.copy_(late)
        if given == "current":
            run()
    if given != "current":
        stream = {"int": side.cuda_stream, "torch": side, "protocol": Protocol(side.cuda_stream)}[given]
        run(stream=stream)
    side.synchronize()
    assert torch.equal(out, expected.out.view(torch.uint8))
    assert torch.equal(out_scale, expected.out_scale)


def test_the_call_does_not_wait() -> None:
    import torch

    x = torch.ones(64, 512, device="cuda")
    moe_act.gated_act_quant(x)
    torch.cuda.synchronize()
    busy(torch)
    moe_act.gated_act_quant(x)
    assert not torch.cuda.current_stream().query(), "the stream should still be asleep"
    torch.cuda.synchronize()


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("row_kind", cases.ROW_KINDS)
def test_cuda_graph(row_kind: str, by: str) -> None:
    """Captured once, replayed for other values, other maps and other totals."""
    import torch

    case = Case("e4m3", "block", "padded_total", "padded_total", row_kind, rows=33, columns=320)
    problems = [cases.build(case, seed) for seed in range(4)]
    if row_kind == "map":  # whose rows leave room for another total
        problems[1].arguments["total_num_padded_tokens"][0] = 33
    tensors, options = devices.split(problems[0])
    tensors |= {"out": problems[0].out, "out_scale": problems[0].out_scale}
    call = {name: put(array, "cuda") for name, array in tensors.items()}
    run = way(by, call, **options)
    run()  # device facts are read once
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    for problem in problems:
        fresh = devices.split(problem)[0] | {"out": problem.out, "out_scale": problem.out_scale}
        for name, array in fresh.items():
            call[name].copy_(put(array, "cuda"))
        graph.replay()
        torch.cuda.synchronize()
        devices.conforms(problem, get(call["out"]), get(call["out_scale"]))


def test_another_device_than_the_current_one() -> None:
    """The tensors' device counts, and the current one stays."""
    import torch

    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device only")
    x = torch.randn(33, 640, device="cuda:1")
    torch.cuda.set_device(0)
    result = moe_act.gated_act_quant(x)
    assert torch.cuda.current_device() == 0
    assert result.out.device == result.out_scale.device == x.device
    expected = moe_act.gated_act_quant(x.to("cuda:0"))
    assert torch.equal(result.out.view(torch.uint8).cpu(), expected.out.view(torch.uint8).cpu())
    assert moe_act.plan(x).problem["device"] == "cuda:1"
    launch = moe_act.plan(x).bind(x)
    assert torch.equal(launch.run().out.view(torch.uint8), result.out.view(torch.uint8))
    assert torch.cuda.current_device() == 0
    with pytest.raises(ValueError, match=r"^out: expected a tensor on cuda:1 .*, got one on cuda:0$"):
        moe_act.gated_act_quant(x, out=expected.out)


@pytest.mark.parametrize("captured", [False, True])
def test_a_stream_of_its_own_device_while_another_is_current(captured: bool) -> None:
    """The second time, too, when the driver is asked itself."""
    import torch

    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device only")
    x = torch.randn(33, 640, device="cuda:1")
    expected = moe_act.gated_act_quant(x)
    result = moe_act.gated_act_quant(x)
    torch.cuda.set_device(0)
    torch.cuda.synchronize("cuda:1")
    side = torch.cuda.Stream("cuda:1")
    graph = torch.cuda.CUDAGraph()
    for _ in range(2):
        result.out.view(torch.uint8).zero_()
        torch.cuda.synchronize("cuda:1")
        if captured:
            with torch.cuda.device(1), torch.cuda.graph(graph, stream=side), torch.cuda.device(0):
                moe_act.gated_act_quant(x, out=result.out, out_scale=result.out_scale, stream=side)
            with torch.cuda.device(1):
                graph.replay()
            graph = torch.cuda.CUDAGraph()
        else:
            moe_act.gated_act_quant(x, out=result.out, out_scale=result.out_scale, stream=side)
        assert torch.cuda.current_device() == 0
        torch.cuda.synchronize("cuda:1")
        assert torch.equal(result.out.view(torch.uint8), expected.out.view(torch.uint8))


@pytest.mark.parametrize("handle", [1, 2])
def test_handles_that_name_the_default_streams(handle: int) -> None:
    """cudaStreamLegacy and cudaStreamPerThread; the second time, when the driver launches, too."""
    import torch

    x = torch.randn(33, 640, device="cuda")
    result = moe_act.gated_act_quant(x)
    expected = result.out.view(torch.uint8).clone()
    for _ in range(2):
        result.out.view(torch.uint8).zero_()
        torch.cuda.synchronize()
        moe_act.gated_act_quant(x, out=result.out, out_scale=result.out_scale, stream=handle)
        torch.cuda.synchronize()
        assert torch.equal(result.out.view(torch.uint8), expected)


def test_a_stream_of_another_device_is_refused() -> None:
    """Whichever device is current; of one kernel, and of one that follows another (padding). CUDA 13 itself says
    nothing: the kernel would run on the stream's device."""
    import torch

    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device only")
    x = torch.randn(33, 640, device="cuda:0")
    result = moe_act.gated_act_quant(x)  # the driver launches it from now on
    before = result.out.view(torch.uint8).clone()
    result.out.view(torch.uint8).zero_()
    torch.cuda.synchronize()
    some = moe_act.rows.ValidPrefix(torch.tensor([20], dtype=torch.int32, device="cuda:0"))
    other = torch.cuda.Stream("cuda:1")
    for current in (0, 1):
        torch.cuda.set_device(current)
        for options in ({}, {"rows": some, "padding": "zero"}):
            with pytest.raises(ValueError, match=r"^stream: expected one of cuda:0 .*, got one of cuda:1$"):
                moe_act.gated_act_quant(x, out=result.out, out_scale=result.out_scale, stream=other, **options)
        assert torch.cuda.current_device() == current
    torch.cuda.set_device(0)
    torch.cuda.synchronize()
    assert not result.out.view(torch.uint8).any()
    moe_act.gated_act_quant(x, out=result.out, out_scale=result.out_scale)
    assert torch.equal(result.out.view(torch.uint8), before)

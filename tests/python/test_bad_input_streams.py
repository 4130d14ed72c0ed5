"""Streams that are none, and streams where there is none."""

from __future__ import annotations

from typing import Any

import cases
import moe_act
import numpy as np
import pytest
from moe_act import _frameworks
from refusals import assert_refused, good_call
from tensors import get

FLOATS = np.ones((6, 384), np.float32)


class Stream:
    """The CUDA stream protocol with any answer: an exception is raised."""

    def __init__(self, *values: Any, answer: Any = None) -> None:
        self.answer = values if answer is None else answer

    def __cuda_stream__(self) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


STREAMS = {
    "unknown version": (Stream(1), ValueError, "expected version 0 of the __cuda_stream__ protocol, got 1"),
    "unknown version of another shape": (
        Stream(2, 0, 7),
        ValueError,
        "expected version 0 of the __cuda_stream__ protoc",
    ),
    "version alone": (Stream(0), TypeError, "its __cuda_stream__ returned (0,), expected (0, cudaStream_t)"),
    "no version": (Stream("a", "b"), TypeError, "its __cuda_stream__ returned ('a', 'b'), expected (0, cudaStream_t)"),
    "no tuple": (Stream(answer=42), TypeError, "its __cuda_stream__ returned 42, expected (0, cudaStream_t)"),
    "no handle": (Stream(0, None), TypeError, "its __cuda_stream__ returned (0, None), expected (0, cudaStream_t)"),
    "negative handle": (Stream(0, -1), TypeError, "its __cuda_stream__ returned (0, -1), expected (0, cudaStream_t)"),
    "broken": (Stream(answer=RuntimeError("gone\nfor good")), ValueError, "its __cuda_stream__ failed: gone"),
    "negative": (-1, ValueError, "expected a cudaStream_t, got -1"),
    "bool": (True, TypeError, "expected None, an int or an object with __cuda_stream__, got bool"),
    "float": (1.0, TypeError, "expected None, an int or an object with __cuda_stream__, got float"),
}


def test_a_stream_of_a_cupy_that_has_no_protocol() -> None:
    """Such objects are known by their module; other things of CuPy are no streams."""
    stream = type("Stream", (), {"__module__": "cupy.cuda.stream", "ptr": 42})()
    assert _frameworks.stream_handle(FLOATS, stream, True, 0) == 42
    event = type("Event", (), {"__module__": "cupy.cuda.stream"})()
    says = "expected None, an int or an object with __cuda_stream__, got Event"
    assert_refused(TypeError, "stream", says, lambda: _frameworks.stream_handle(FLOATS, event, True, 0))


@pytest.mark.parametrize("name", STREAMS)
def test_streams_that_are_none(name: str) -> None:
    stream, error, says = STREAMS[name]
    assert_refused(error, "stream", says, lambda: _frameworks.stream_handle(FLOATS, stream, True, 0))
    assert _frameworks.stream_handle(FLOATS, Stream(0, 42), True, 0) == 42


@pytest.mark.parametrize("stream", [0, 1, Stream(0, 42), Stream(1), "current"])
@pytest.mark.parametrize("by_plan", [False, True], ids=["call", "plan"])
def test_a_stream_for_tensors_on_the_cpu(stream: Any, by_plan: bool) -> None:
    call = good_call("cpu")
    run = moe_act.plan(**call, x_format="e4m3").run if by_plan else moe_act.gated_act_quant
    options = {} if by_plan else {"x_format": "e4m3"}
    says = "expected None for tensors on the CPU"
    assert_refused(ValueError, "stream", says, lambda: run(**call, **options, stream=stream))
    for result in ("out", "out_scale"):
        assert (call[result].view(np.uint8) == cases.POISON).all()


@pytest.mark.gpu
@pytest.mark.parametrize("name", STREAMS)
def test_streams_that_are_none_reach_no_kernel(name: str) -> None:
    call = good_call("cuda")
    stream, error, says = STREAMS[name]
    assert_refused(error, "stream", says, lambda: moe_act.gated_act_quant(**call, x_format="e4m3", stream=stream))
    assert (get(call["out"]) == cases.POISON).all()

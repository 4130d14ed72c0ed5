"""The checks of bench/interop.py: what comes of them, and those that no other test makes."""

from __future__ import annotations

import interop
import interop_calls
import interop_graphs
import numpy as np
import pytest
from tensors import DEVICES


def fail() -> dict[str, object]:
    raise ValueError("x: expected\nmore")


def absent() -> dict[str, object]:
    raise ImportError("No module named 'cupy'")


def one_gpu() -> dict[str, object]:
    raise interop.OneGpu


def test_outcomes() -> None:
    assert interop.outcome(lambda: {"figure": 1}) == {"outcome": "ok", "figure": 1}
    assert interop.outcome(absent) == {"outcome": "absent", "reason": "No module named 'cupy'"}
    assert interop.outcome(one_gpu) == {"outcome": "one GPU"}
    assert interop.outcome(fail) == {"outcome": "failed", "reason": "ValueError: x: expected"}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("framework", interop_calls.FRAMEWORKS)
def test_calls_deliver_the_codes_of_numpy(framework: str, device: str) -> None:
    """Of every framework: they are compared before they are timed."""
    try:
        calls = list(interop_calls.FRAMEWORKS[framework](device))
    except (ImportError, RuntimeError) as error:
        pytest.skip(str(error))
    expected, _ = interop_calls.moe_act.gated_act_quant(interop_calls.problem())
    for call in calls:
        interop_calls.check(call, expected)


def test_calls_with_other_codes_are_seen() -> None:
    expected, _ = interop_calls.moe_act.gated_act_quant(interop_calls.problem())
    call = interop_calls.Call("idle", {}, "None", lambda: None, np.zeros_like(expected))
    with pytest.raises(AssertionError, match=r"^idle: other codes than NumPy's"):
        interop_calls.check(call, expected)


def test_a_consumer_errs_as_e4m3_does() -> None:
    assert 0.01 < interop.numpy_consumer()["relative_error"] < 0.03


def test_a_graph_that_is_not_shown() -> None:
    found = interop_graphs.contents(None)
    assert interop_graphs.checked(found, "on") == {"kernel_nodes": None, "programmatic_edges": None}
    with pytest.raises(AssertionError, match="expected 3 kernels and 2 programmatic edges"):
        interop_graphs.checked({"nodes": 4, "kernel_nodes": 3, "programmatic_edges": 2}, "on")


@pytest.mark.gpu
@pytest.mark.parametrize("pdl", ["off", "on", "metadata_ready"])
@pytest.mark.parametrize("framework", ["torch", "cupy"])
def test_graphs_hold_one_kernel_for_each_launch(framework: str, pdl: str) -> None:
    """And replay the bits of calls; programmatic edges join the kernels where that is asked for."""
    pytest.importorskip(framework)
    getattr(interop_graphs, f"by_{framework}")(pdl)

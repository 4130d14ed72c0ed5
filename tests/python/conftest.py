"""Devices that tests run on: the CPU always, a GPU where there is one."""

from __future__ import annotations

from collections.abc import Iterator

import moe_act
import pytest
from moe_act.command.devices import CpuRuntime, Rate
from tensors import DEVICES


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full-walk", action="store_true", help="every combination of rows, inputs and outputs: minutes")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command learns nothing from measuring this machine's memory again and again."""
    monkeypatch.setattr(CpuRuntime, "stream_rate", lambda _: Rate(1e10, "assumed"))


@pytest.fixture(params=DEVICES)
def jax_device(request: pytest.FixtureRequest) -> Iterator[str]:
    """JAX programs run on this device."""
    jax = pytest.importorskip("jax")
    try:
        chosen = jax.devices("gpu" if request.param == "cuda" else "cpu")[0]
    except RuntimeError:
        pytest.skip("jax sees no GPU")
    with jax.default_device(chosen):
        yield request.param


def _why_no_gpu() -> str:
    if moe_act.cuda_device_count() == 0:
        return "no CUDA device is usable"
    try:
        import torch
    except ImportError:
        return "torch, which provides device memory to the tests, is not installed"
    return "" if torch.cuda.is_available() else "torch sees no CUDA device"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    gpu_items = [item for item in items if "gpu" in item.keywords]
    reason = _why_no_gpu() if gpu_items else ""
    for item in gpu_items if reason else []:
        item.add_marker(pytest.mark.skip(reason=reason))

"""`python -m moe_act info`: what the installed library can do on this machine."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

import moe_act

from ..workloads import blocks
from .devices import CpuRuntime, no_cuda

INPUTS = {"e4m3": np.uint8, "bf16": np.uint16, "fp16": np.float16, "fp32": np.float32}
OUTPUTS = {
    "e4m3 (block)": {"out_format": "e4m3", "out_scaling": "block"},
    "e4m3 (tensor)": {"out_format": "e4m3", "out_scaling": "tensor"},
    "bf16": {"out_format": "bf16"},
    "fp16": {"out_format": "fp16"},
    "fp32": {"out_format": "fp32"},
}
PROVIDERS = {"torch": "torch", "cupy": "CuPy", "cuda": "cuda-core"}  # of GPU memory, by module


def info() -> int:
    """Prints it and returns the exit status."""
    facts = CpuRuntime().facts
    print(f"moe_act {moe_act.__version__} ({moe_act.build_info()})")
    print(f"CPU     {facts['name']}, {facts['cores']} cores, kernels for {moe_act.cpu_level()}")
    reason, devices = no_cuda(), range(moe_act.cuda_device_count())
    if reason:
        print(f"CUDA    no device: {reason.removeprefix('device: ')}")
    for index in devices:
        device = moe_act.device_info(index)
        major, minor = device.compute_capability
        facts_text = f"{device.multiprocessors} SMs, {device.l2_bytes / 2**20:.0f} MiB L2"
        print(f"CUDA    device {index}: compute capability {major}.{minor}, {facts_text}")
    if devices:
        found = [name for module, name in PROVIDERS.items() if find_spec(module)]
        install = 'nothing installed: pip install "moe_act[cuda]"'
        print(f"        memory from {', '.join(found) or install}")
    _print_supported("CPU", {})
    if devices:
        _print_supported("CUDA device 0", {"device": moe_act.device_info(0)})
    return 0


def _print_supported(where: str, options: dict[str, Any]) -> None:
    """A table of formats. The library itself is asked: whether it makes a plan."""
    print(f"\n{where}: input \\ output")
    print(" " * 8 + "".join(f"{name:>15}" for name in OUTPUTS))
    for name in INPUTS:
        cells = ["yes" if _plan(name, {**output, **options}) else "-" for output in OUTPUTS.values()]
        print(f"{name:<8}" + "".join(f"{cell:>15}" for cell in cells))
    row_map = np.zeros(1, np.int32)
    plans = [_plan("fp32", options), _plan("fp32", {**options, "expanded_idx_to_permuted_idx": row_map})]
    print(f"rows    {', '.join(plan.problem['row_kind'] for plan in plans if plan)}")


def _plan(format: str, options: dict[str, Any]) -> Any:
    """A plan for one row in this format, or None where that is not supported."""
    hidden = 128
    tensors: dict[str, Any] = {"x": np.zeros((1, 2 * hidden), INPUTS[format]), "x_format": format}
    if format == "e4m3":
        tensors["x_scale"] = np.ones((blocks(2 * hidden), 1), np.float32)
    if options.get("out_scaling") == "tensor":
        tensors["static_scale"] = np.ones(1, np.float32)
    try:
        return moe_act.plan(**tensors, **options)
    except (ValueError, NotImplementedError):
        return None

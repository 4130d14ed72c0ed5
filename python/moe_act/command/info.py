"""`python -m moe_act info`: what the installed library can do on this machine."""

from __future__ import annotations

from importlib.util import find_spec

import moe_act

from . import support
from .devices import CpuRuntime, no_cuda

PROVIDERS = {"torch": "torch", "cupy": "CuPy", "cuda": "cuda-core"}  # of GPU memory, by module


def info(markdown: bool = False) -> int:
    """Prints it and returns the exit status. markdown: what is supported alone, as docs/support.md has it."""
    if markdown:
        print(support.markdown())
        return 0
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
    print("\nOn the CPU, and on CUDA from compute capability 8.0 on:" if _same_everywhere() else "\nOn the CPU:")
    print(support.text("cpu"))
    if not _same_everywhere():
        print("\nOn CUDA:")
        print(support.text("cuda"))
    return 0


def _same_everywhere() -> bool:
    return support.tables("cpu") == support.tables("cuda")

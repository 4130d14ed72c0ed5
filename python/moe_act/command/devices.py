"""Where a workload runs: one small class per runtime, all with the same few methods.

A runtime owns memory, runs calls and times them. A call takes the stream to launch on: its handle, an int, or
None on the CPU.
"""

from __future__ import annotations

import ctypes
import os
import platform
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

import moe_act

Array = np.ndarray[Any, Any]
Call = Callable[[Any], Any]

ALIGNMENT = 256  # bytes, of every copy: a plan relies on the alignment of the tensors it was made for


class Unavailable(Exception):
    """A runtime that cannot be used here; the text says why."""


@dataclass(frozen=True)
class Rate:
    """Bytes that the memory moves in a second, reads and writes both counted, and how that was measured."""

    bytes_per_second: float
    how: str


class Runtime(ABC):
    """What the command needs of a device."""

    device: str  # "cpu" or "cuda"
    facts: dict[str, Any]  # name, runtime and versions, as far as they are known
    cache_bytes: int  # of the last cache before memory
    copy_budget: int  # bytes that copies of small inputs may take
    method: str  # how `time` measures, for people

    @abstractmethod
    def upload(self, array: Array, copies: int = 1) -> list[Any]:
        """Copies of a numpy array in device memory. A single one on the CPU is the array itself."""

    @abstractmethod
    def download(self, tensor: Any) -> Array:
        """The numpy array behind a tensor that `upload` returned."""

    @abstractmethod
    def run(self, call: Call) -> None:
        """Runs a call to completion."""

    @abstractmethod
    def time(self, calls: Sequence[Call], launches: int) -> float:
        """Median seconds per call; `launches` calls are timed in rotation."""

    @abstractmethod
    def stream_rate(self) -> Rate:
        """What a plain stream through memory reaches on this device."""


class CpuRuntime(Runtime):
    device = "cpu"
    copy_budget = 512 << 20
    method = "median call from Python"

    def __init__(self) -> None:
        affinity = getattr(os, "sched_getaffinity", None)
        self.threads = len(affinity(0)) if affinity else os.cpu_count() or 1
        self.cache_bytes = _last_level_cache()
        self.facts = {"name": _cpu_name(), "runtime": f"numpy {np.__version__}", "cores": self.threads}

    def upload(self, array: Array, copies: int = 1) -> list[Array]:
        if copies == 1:
            return [array]
        stride = aligned(array.nbytes)
        flat: Array = np.empty(copies * stride + ALIGNMENT, np.uint8)
        flat = flat[-flat.ctypes.data % ALIGNMENT :][: copies * stride]
        flat = flat.reshape(copies, stride)[:, : array.nbytes]
        flat[:] = bytes_of(array)
        return [row.view(array.dtype).reshape(array.shape) for row in flat]

    def download(self, tensor: Array) -> Array:
        return tensor

    def run(self, call: Call) -> None:
        call(None)

    def time(self, calls: Sequence[Call], launches: int) -> float:
        calls[0](None)
        samples: list[float] = []
        stop = time.perf_counter() + 1
        for call in islice(cycle(calls), launches):
            start = time.perf_counter()
            call(None)
            samples.append(time.perf_counter() - start)
            if time.perf_counter() > stop and len(samples) >= 3:
                break
        return statistics.median(samples)

    def stream_rate(self) -> Rate:
        elements = max(32 << 20, self.cache_bytes)  # of 4 bytes: each array is 4 times the cache
        left, right, result = (np.full(elements, value, np.int32) for value in (1, 2, 3))
        edges = np.linspace(0, elements, self.threads + 1, dtype=np.int64)
        parts = [slice(*pair) for pair in pairwise(edges)]

        def add(part: slice) -> None:
            np.add(left[part], right[part], out=result[part])

        with ThreadPoolExecutor(self.threads) as pool:
            seconds = min(self.time([lambda _: list(pool.map(add, parts))], 7) for _ in range(3))
        return Rate(3 * left.nbytes / seconds, f"numpy add on {self.threads} threads, 2 reads : 1 write")


def pick(device: str | None, runtime: str | None = None) -> tuple[Runtime, str | None]:
    """The runtime to use, and where a GPU is left idle, one line that says why.

    device: "cuda", "cpu" or None for the best; runtime: a GPU runtime by name or None for the first there is.
    Raises Unavailable where what was asked for cannot be had.
    """
    if device == "cpu":
        return CpuRuntime(), None
    reason = no_cuda()
    if reason is None:
        from .cuda import RUNTIMES

        failures = []
        for name in RUNTIMES if runtime is None else [runtime]:
            try:
                return RUNTIMES[name](), None
            except Unavailable as error:
                failures.append(str(error))
        reason = f'nothing here provides memory on the GPU ({", ".join(failures)}): pip install "moe_act[cuda]"'
    if device == "cuda" or runtime is not None:
        raise Unavailable(reason)
    return CpuRuntime(), f"on the CPU: {reason}" if gpu_present() else None


def no_cuda() -> str | None:
    """In one line why the library can use no GPU here, or None if it can."""
    return None if moe_act.cuda_device_count() > 0 else moe_act._core.last_error()


def gpu_present() -> bool:
    """Whether there are signs of an NVIDIA GPU: a device file, or a driver that loads."""
    if any(Path("/dev").glob("nvidia[0-9]*")):
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def aligned(size: int) -> int:
    """The size rounded up, so that copies in one allocation all begin at ALIGNMENT."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def bytes_of(array: Array) -> Array:
    """uint8 [nbytes]: the array's memory, copied only if it is not contiguous."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _last_level_cache() -> int:
    """Bytes of the CPU's last cache; 32 MiB where the system does not tell."""
    for name in ("SC_LEVEL4_CACHE_SIZE", "SC_LEVEL3_CACHE_SIZE", "SC_LEVEL2_CACHE_SIZE"):
        with suppress(AttributeError, OSError, ValueError):
            if (size := os.sysconf(name)) > 0:
                return size
    return 32 << 20


def _cpu_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

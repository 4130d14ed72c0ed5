"""GPU runtimes: memory, events and graphs from torch, CuPy or cuda-core, whichever is installed.

Each class imports its package when it is made, and raises Unavailable where that does not work.
"""

from __future__ import annotations

import statistics
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

import moe_act

from .devices import Array, Call, Rate, Runtime, Unavailable, aligned, bytes_of


class CudaRuntime(Runtime):
    """What GPU runtimes share. A subclass provides memory and three steps of timing."""

    device = "cuda"
    copy_budget = 2 << 30
    method = "median of CUDA graph replays"

    @abstractmethod
    def _capture(self, calls: list[Call]) -> Callable[[], None]:
        """Records the calls into a graph; the result launches it."""

    @abstractmethod
    def _elapsed(self, launch: Callable[[], None]) -> float:
        """Seconds between events around `launch`."""

    @abstractmethod
    def _stream(self, size: int) -> tuple[Callable[[], Any], int, str]:
        """What streams once through arrays of `size` bytes, the bytes that moves, and its name."""

    def time(self, calls: Sequence[Call], launches: int) -> float:
        self.run(calls[0])  # loads the kernels, which a capture must not
        replay = self._capture(list(islice(cycle(calls), launches)))
        stop = time.perf_counter() + 0.1  # clocks rise under load
        while self._elapsed(replay) and time.perf_counter() < stop:
            pass
        return statistics.median(self._elapsed(replay) for _ in range(15)) / launches

    def stream_rate(self) -> Rate:
        best, how = 0.0, ""
        for size in (8 * self.cache_bytes, 16 * self.cache_bytes):
            stream, moved, how = self._stream(size & -4096)
            samples = [self._elapsed(partial(_repeat, stream, 10)) for _ in range(25)]
            best = max(best, 10 * moved / statistics.median(samples))
        return Rate(best, how)

    def _describe(self, name: str, runtime: str, cuda: str | None) -> None:
        info = moe_act.device_info(0)  # the device that a fresh process works on
        self.cache_bytes = info.l2_bytes
        self.facts = {
            "name": name,
            "runtime": runtime,
            "cuda": cuda,
            "driver": driver_version(),
            "multiprocessors": info.multiprocessors,
            "compute_capability": list(info.compute_capability),
            "l2_bytes": info.l2_bytes,
        }


class TorchRuntime(CudaRuntime):
    def __init__(self) -> None:
        try:
            torch: Any = import_module("torch")
        except ImportError as error:
            raise Unavailable("torch is not installed") from error
        if not torch.cuda.is_available():
            raise Unavailable(f"torch {torch.__version__} sees no CUDA device")
        self.torch = torch
        self.stream = torch.cuda.Stream()
        self._describe(torch.cuda.get_device_name(), f"torch {torch.__version__}", torch.version.cuda)

    def upload(self, array: Array, copies: int = 1) -> list[Any]:
        flat = self.torch.empty((copies, aligned(array.nbytes)), dtype=self.torch.uint8, device="cuda")
        flat[:, : array.nbytes] = self.torch.from_numpy(bytes_of(array)).cuda()
        self.torch.cuda.synchronize()
        dtype = getattr(self.torch, array.dtype.name)
        return [row[: array.nbytes].view(dtype).view(array.shape) for row in flat]

    def download(self, tensor: Any) -> Array:
        array: Array = tensor.cpu().numpy()
        return array

    def run(self, call: Call) -> None:
        with self.torch.cuda.stream(self.stream):
            call(self.stream.cuda_stream)
        self.torch.cuda.synchronize()

    def _capture(self, calls: list[Call]) -> Callable[[], None]:
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph, stream=self.stream):
            for call in calls:
                call(self.stream.cuda_stream)
        return lambda: graph.replay()

    def _elapsed(self, launch: Callable[[], None]) -> float:
        start, stop = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        with self.torch.cuda.stream(self.stream):
            start.record()
            launch()
            stop.record()
        stop.synchronize()
        return float(start.elapsed_time(stop)) / 1e3

    def _stream(self, size: int) -> tuple[Callable[[], Any], int, str]:
        make, dtype = self.torch.full, self.torch.int32
        left, right, out = (make((size // 4,), value, dtype=dtype, device="cuda") for value in (1, 2, 3))
        return partial(self.torch.add, left, right, out=out), 3 * size, "torch add, 2 reads : 1 write"


class CupyRuntime(CudaRuntime):
    def __init__(self) -> None:
        try:
            cupy: Any = import_module("cupy")
        except ImportError as error:
            raise Unavailable("CuPy is not installed") from error
        try:
            cupy.arange(2)  # compiles a kernel: CuPy needs parts of the CUDA toolkit for that
        except Exception as error:
            raise Unavailable(f"CuPy {cupy.__version__}: {first_line(error)}") from error
        self.cupy = cupy
        self.stream = cupy.cuda.Stream(non_blocking=True)
        name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
        self._describe(name, f"CuPy {cupy.__version__}", version_text(cupy.cuda.runtime.runtimeGetVersion()))

    def upload(self, array: Array, copies: int = 1) -> list[Any]:
        flat = self.cupy.empty((copies, aligned(array.nbytes)), self.cupy.uint8)
        flat[:, : array.nbytes] = self.cupy.asarray(bytes_of(array))
        self.cupy.cuda.Device().synchronize()
        return [row[: array.nbytes].view(array.dtype).reshape(array.shape) for row in flat]

    def download(self, tensor: Any) -> Array:
        array: Array = tensor.get()
        return array

    def run(self, call: Call) -> None:
        with self.stream:
            call(self.stream.ptr)
        self.cupy.cuda.Device().synchronize()

    def _capture(self, calls: list[Call]) -> Callable[[], None]:
        # Current while capturing: exporting an array would else make it wait for another stream, which fails.
        with self.stream:
            self.stream.begin_capture()
            for call in calls:
                call(self.stream.ptr)
            graph = self.stream.end_capture()
        return lambda: graph.launch(self.stream)

    def _elapsed(self, launch: Callable[[], None]) -> float:
        start, stop = (self.cupy.cuda.Event() for _ in range(2))
        with self.stream:
            start.record(self.stream)
            launch()
            stop.record(self.stream)
        stop.synchronize()
        return float(self.cupy.cuda.get_elapsed_time(start, stop)) / 1e3

    def _stream(self, size: int) -> tuple[Callable[[], Any], int, str]:
        left, right, out = (self.cupy.full(size // 4, value, self.cupy.int32) for value in (1, 2, 3))
        return partial(self.cupy.add, left, right, out=out), 3 * size, "CuPy add, 2 reads : 1 write"


class CudaCoreRuntime(CudaRuntime):
    """cuda-core has memory, events and graphs but no kernels of its own: its stream is a device copy."""

    def __init__(self) -> None:
        try:
            core: Any = import_module("cuda.core")
            self.view: Any = import_module("cuda.core.utils").StridedMemoryView
        except ImportError as error:
            raise Unavailable("cuda-core 1.0 or later is not installed") from error
        try:
            self.handle = core.Device(0)
            self.handle.set_current()
            self.stream = self.handle.create_stream()
        except Exception as error:
            raise Unavailable(f"cuda-core {core.__version__}: {first_line(error)}") from error
        self.core = core
        self._describe(self.handle.name, f"cuda-core {core.__version__}", None)

    def upload(self, array: Array, copies: int = 1) -> list[Any]:
        array = np.ascontiguousarray(array)
        stride = aligned(array.nbytes)
        memory = self.handle.allocate(copies * stride, stream=self.stream)
        first = int(memory.handle)
        parts = [self._part(first + i * stride, array.nbytes, memory) for i in range(copies)]
        parts[0].copy_from(self._part(array.ctypes.data, array.nbytes, array), stream=self.stream)
        for part in parts[1:]:
            part.copy_from(parts[0], stream=self.stream)
        self.stream.sync()
        return [self.view.from_buffer(part, array.shape, dtype=array.dtype) for part in parts]

    def download(self, tensor: Any) -> Array:
        array = np.empty(tensor.shape, tensor.dtype)
        source = self._part(tensor.ptr, array.nbytes, tensor)
        source.copy_to(self._part(array.ctypes.data, array.nbytes, array), stream=self.stream)
        self.stream.sync()
        return array

    def run(self, call: Call) -> None:
        call(self.stream.__cuda_stream__()[1])
        self.handle.sync()

    def _part(self, address: int, size: int, owner: object) -> Any:
        return self.core.Buffer.from_handle(address, size, owner=owner)

    def _capture(self, calls: list[Call]) -> Callable[[], None]:
        builder = self.stream.create_graph_builder().begin_building()
        for call in calls:
            call(builder.__cuda_stream__()[1])
        graph = builder.end_building().complete()
        return lambda: graph.launch(self.stream)

    def _elapsed(self, launch: Callable[[], None]) -> float:
        timed = self.core.EventOptions(timing_enabled=True)
        start = self.stream.record(options=timed)
        launch()
        stop = self.stream.record(options=timed)
        stop.sync()
        return float(stop - start) / 1e3

    def _stream(self, size: int) -> tuple[Callable[[], Any], int, str]:
        source, target = (self.handle.allocate(size, stream=self.stream) for _ in range(2))
        source.fill(1, stream=self.stream)
        copy = partial(target.copy_from, source, stream=self.stream)
        return copy, 2 * size, "device copy, 1 read : 1 write"


RUNTIMES: dict[str, type[CudaRuntime]] = {
    "torch": TorchRuntime,
    "cupy": CupyRuntime,
    "cuda-core": CudaCoreRuntime,
}


def _repeat(function: Callable[[], Any], times: int) -> None:
    for _ in range(times):
        function()


def version_text(number: int) -> str:
    """13020 is "13.2"."""
    return f"{number // 1000}.{number % 1000 // 10}"


def driver_version() -> str | None:
    """The version of the loaded NVIDIA kernel module, such as "580.65.06", if the system tells it."""
    try:
        words = Path("/proc/driver/nvidia/version").read_text().split()
    except OSError:
        return None
    return next((word for word in words if word.count(".") >= 1 and word.replace(".", "").isdigit()), None)


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

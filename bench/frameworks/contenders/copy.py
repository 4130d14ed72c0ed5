"""The limit: as many bytes as the workload reads and writes, moved without arithmetic; the fastest way counts."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise

import numpy as np

from ..contender import Contender, Variant
from ..workloads import ITEM_BYTES, Array, TensorSet, Workload

THREADS_PER_WARP = 32
WORDS_ALIGNED = 64  # of 4 bytes: every array begins on a boundary that allows the widest accesses


class Copy(Contender):
    name = "copy"
    computes = False

    def variants(self, workload: Workload, sets: list[TensorSet]) -> Iterator[Variant]:
        on_cpu = isinstance(sets[0].x, np.ndarray)
        return _on_cpu(workload, len(sets)) if on_cpu else _on_gpu(workload, len(sets))


def _on_cpu(workload: Workload, sets: int) -> Iterator[Variant]:
    size = workload.bytes // 2
    pairs = [(np.ones(size, np.uint8), np.ones(size, np.uint8)) for _ in range(sets)]
    threads = workload.threads or 1
    if threads == 1:
        yield Variant("numpy.copyto", [partial(np.copyto, target, source) for target, source in pairs])
    else:
        edges = np.linspace(0, size, threads + 1, dtype=np.int64)
        parts = [slice(*edge) for edge in pairwise(edges)]
        pool = ThreadPoolExecutor(threads)

        def copy(target: Array, source: Array) -> None:
            list(pool.map(lambda part: np.copyto(target[part], source[part]), parts))

        yield Variant(f"numpy.copyto on {threads} threads", [partial(copy, *pair) for pair in pairs])
    if importlib.util.find_spec("torch"):
        import torch

        tensors = [(torch.from_numpy(target), torch.from_numpy(source)) for target, source in pairs]
        yield Variant("torch copy_", [partial(target.copy_, source) for target, source in tensors])


def _on_gpu(workload: Workload, sets: int) -> Iterator[Variant]:
    import torch

    words = workload.bytes // 4 // WORDS_ALIGNED * WORDS_ALIGNED
    memory = torch.ones((sets, words), dtype=torch.int32, device="cuda")

    def part(share: int) -> int:
        return words // share // WORDS_ALIGNED * WORDS_ALIGNED

    third = part(3)
    thirds = [[row[i * third : (i + 1) * third] for i in range(3)] for row in memory]
    yield Variant("torch add, 2 reads : 1 write", [partial(torch.add, a, b, out=c) for a, b, c in thirds])

    half = part(2)
    yield Variant("torch copy_", [partial(row[:half].copy_, row[half : 2 * half]) for row in memory])

    if importlib.util.find_spec("triton"):
        from .. import kernels

        reads = 2 * ITEM_BYTES[workload.input] // ITEM_BYTES[workload.output]
        count = part(reads + 1)
        for warps, vectors in ((4, 1), (4, 2), (8, 1), (8, 4)):
            elements = THREADS_PER_WARP * warps * vectors * 4
            launch = kernels.stream[(-(-count // elements),)]
            calls = [
                partial(launch, row[count:], row[:count], count, READS=reads, ELEMENTS=elements, num_warps=warps)
                for row in memory
            ]
            yield Variant(f"Triton, {reads} reads : 1 write, {vectors} vectors x {warps} warps", calls)

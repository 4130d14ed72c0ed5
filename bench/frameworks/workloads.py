"""What is run: dense rows [up | gate], H = 2048, out = silu(gate) * up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from moe_act.oracle import encode
from moe_act.workloads import blocks, quantized_rows

COLUMNS = 2048
POOL_ROWS = 1024  # distinct rows; what a row holds does not change the time
POISON = -91  # every byte of a result before a contender writes it: as a scale it is negative
ITEM_BYTES = {"e4m3": 1, "bf16": 2, "fp16": 2}

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class TensorSet:
    """Tensors of one call, of NumPy or of torch. 8- and 16-bit formats that NumPy lacks are integers."""

    x: Any
    x_scale: Any  # [2H / 128, rows] for e4m3, else None
    out: Any
    out_scale: Any  # [H / 128, rows] for e4m3, else None


@dataclass(frozen=True)
class Workload:
    """Formats and sizes; threads: of the CPU that runs it."""

    name: str
    group: str
    input: str
    output: str
    rows: int
    columns: int = COLUMNS
    threads: int | None = None

    @property
    def elements(self) -> int:
        """Of the result."""
        return self.rows * self.columns

    @property
    def bytes(self) -> int:
        """What one call must read and write, scales included."""
        x, out = 2 * self.elements * ITEM_BYTES[self.input], self.elements * ITEM_BYTES[self.output]
        x_scales = self.rows * blocks(2 * self.columns) if self.input == "e4m3" else 0
        out_scales = self.rows * blocks(self.columns) if self.output == "e4m3" else 0
        return x + out + 4 * (x_scales + out_scales)

    @property
    def formats(self) -> dict[str, Any]:
        """Options of the library's functions."""
        formats = {"x_format": self.input, "out_format": self.output}
        if self.input == "fp16":  # whose dtype tells
            del formats["x_format"]
        return formats

    def arrays(self) -> dict[str, Array]:
        """The tensors of one call; the same bytes on every machine."""
        random = np.random.default_rng([self.rows, self.columns])
        picked = np.arange(self.rows) % POOL_ROWS
        pool_rows = min(self.rows, POOL_ROWS)
        made: dict[str, Array] = {}
        if self.input == "e4m3":
            pool, pool_scale = quantized_rows(pool_rows, 2 * self.columns, random)
            made["x_scale"] = np.ascontiguousarray(pool_scale[picked].T)
        else:
            pool = random.standard_normal((pool_rows, 2 * self.columns), np.float32)
            pool = pool.astype(np.float16) if self.input == "fp16" else encode(pool, self.input)
        made["x"] = pool[picked]
        code = np.uint8 if self.output == "e4m3" else np.uint16
        made["out"] = np.zeros((self.rows, self.columns), code)
        if self.output == "e4m3":
            made["out_scale"] = np.zeros((blocks(self.columns), self.rows), np.float32)
        return made


def gpu_workloads() -> list[Workload]:
    def quantized(input: str, rows: int) -> Workload:
        return Workload(f"{input}/{rows}", f"{input} to block-scaled e4m3", input, "e4m3", rows)

    workloads = [quantized("bf16", rows) for rows in (32, 2048, 8192, 131072)]
    workloads += [quantized("fp16", rows) for rows in (32, 8192)]
    return [*workloads, Workload("bf16-bf16/8192", "bf16 to bf16", "bf16", "bf16", 8192)]


def cpu_workloads(threads: list[int]) -> list[Workload]:
    return [
        Workload(f"{input}/{rows}/threads-{count}", f"{input} to block-scaled e4m3", input, "e4m3", rows, threads=count)
        for input in ("bf16", "e4m3")
        for rows in (512, 4096)
        for count in threads
    ]

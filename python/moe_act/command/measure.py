"""One size: runs the operation on a device, times it, and has the oracle judge what the timed calls left."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import moe_act

from .. import oracle
from ..workloads import POISON, Array, Workload
from .devices import Call, Runtime
from .inputs import UsageError

CHECKED_ROWS = 1024  # of a size are shown to the oracle, evenly spaced; all if there are no more
BYTES_TIMED = 2 << 30  # moved by the calls of one timing, roughly: enough for a steady clock
MOST_COPIES = 4096


@dataclass(frozen=True)
class Verdict:
    """What became of the result: message is the first offence, or "" if it conforms."""

    rows: int  # that the oracle looked at
    elements: int
    differing: int  # of the elements: conforming, but not the code nearest to the oracle's own result
    message: str


@dataclass(frozen=True)
class Measurement:
    """Seconds of one call, the verdict, and what the last timed call delivered."""

    workload: Workload = field(repr=False)
    cold: float  # buffers rotate through more memory than the last cache holds
    hot: float  # always the same buffers
    copies: int
    plan: str
    verdict: Verdict
    out: Array = field(repr=False)
    out_scale: Array = field(repr=False)

    @property
    def bytes_per_second(self) -> float:
        return self.workload.bytes / self.cold


def measure(workload: Workload, runtime: Runtime, step: Callable[[str], None]) -> Measurement:
    """Runs, times and checks a workload; `step` is told what happens. UsageError if it cannot be run."""
    step("copying to the device" if runtime.device == "cuda" else "preparing memory")
    arrays = {**workload.tensors, "out": workload.out, "out_scale": workload.out_scale}
    size = sum(array.nbytes for array in arrays.values())
    wanted = min(math.ceil(4 * runtime.cache_bytes / workload.bytes), runtime.copy_budget // size, MOST_COPIES)
    copies = max(1, wanted)
    uploaded = {name: runtime.upload(array, copies) for name, array in arrays.items()}
    buffers = [dict(zip(uploaded, tensors, strict=True)) for tensors in zip(*uploaded.values(), strict=True)]

    try:
        plan = moe_act.plan(**buffers[0], **workload.options)
        runtime.run(lambda stream: plan.run(**buffers[0], stream=stream, validate=True))
    except (ValueError, TypeError, NotImplementedError) as error:
        raise UsageError(f"{workload.label}: {error}") from error

    def call(tensors: dict[str, Any]) -> Call:
        return lambda stream: plan.run(**tensors, stream=stream)

    step("timing")
    calls = [call(tensors) for tensors in buffers]
    launches = min(100, max(10, BYTES_TIMED // workload.bytes))
    hot = runtime.time(calls[:1], launches)
    cold = runtime.time(calls, math.ceil(launches / copies) * copies) if copies > 1 else hot

    step("checking")
    out, out_scale = (runtime.download(buffers[0][name]) for name in ("out", "out_scale"))
    verdict = judge(workload, out, out_scale)
    if not verdict.message and copies > 1:
        runtime.run(calls[-1])  # a slow machine's timing need not have come so far
        others = (runtime.download(buffers[-1][name]) for name in ("out", "out_scale"))
        if not all(map(np.array_equal, map(_bytes, (out, out_scale)), map(_bytes, others))):
            verdict = Verdict(verdict.rows, verdict.elements, verdict.differing, "equal inputs gave other bytes")
    return Measurement(workload, cold, hot, copies, str(plan), verdict, out, out_scale)


def judge(workload: Workload, out: Array, out_scale: Array) -> Verdict:
    """Shows rows that have a result to the oracle, and makes sure that no other row was written."""
    live = workload.live
    rows = np.flatnonzero(live)
    if len(rows) > CHECKED_ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, CHECKED_ROWS).astype(np.int64)]
    arguments: dict[str, Any] = {**workload.tensors, **workload.options}
    report = oracle.check(**arguments, out=out, out_scale=out_scale, only=rows)

    scale_bytes = _bytes(out_scale).reshape(-1, workload.rows, 4)
    written = (out[~live] != POISON).any(axis=1) | (scale_bytes[:, ~live] != POISON).any(axis=(0, 2))
    message = report.message
    if not message and written.any():
        message = f"row {np.flatnonzero(~live)[written][0]}: is padding, expected untouched, but was written"
    return Verdict(report.rows, report.elements, report.differing, message)


def _bytes(array: Array) -> Array:
    return array.reshape(-1).view(np.uint8)

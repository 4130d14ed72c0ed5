"""One workload: makes the tensors, compares every contender with ours, and times those that agree."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from moe_act import oracle
from moe_act.command.cuda import TorchRuntime
from moe_act.command.devices import Runtime

from .agreement import Agreement, compare
from .contender import Contender, Variant
from .timing import CallClock, Effort, GraphClock, Turn, rotated_medians
from .workloads import POISON, TensorSet, Workload

CACHES = 4  # cold: sets of tensors that are so many times the last-level cache
CHECKED_ROWS = 64  # of ours, by the oracle


@dataclass(frozen=True)
class Timing:
    microseconds: float
    geometry: str


@dataclass
class Result:
    contender: str
    hot: Timing | None = None
    cold: Timing | None = None
    agreement: Agreement | None = None
    refusals: list[str] = field(default_factory=list)

    def refuse(self, variant: Variant, reason: str) -> None:
        self.refusals.append(f"{variant.geometry}: {reason}" if variant.geometry else reason)


@dataclass(frozen=True)
class Measurement:
    workload: Workload
    sets: int
    results: list[Result]


class Measuring:
    """A workload's tensors on a device, and the effort to spend on them."""

    def __init__(self, workload: Workload, ours: Contender, runtime: Runtime, effort: Effort) -> None:
        self.workload, self.runtime, self.effort = workload, runtime, effort
        self.library: Any = importlib.import_module("torch" if runtime.device == "cuda" else "numpy")
        self.clock = GraphClock(runtime.stream) if isinstance(runtime, TorchRuntime) else CallClock()
        count = max(1, math.ceil(CACHES * runtime.cache_bytes / workload.bytes))
        uploaded = {name: runtime.upload(array, count + 1) for name, array in workload.arrays().items()}
        columns = (uploaded.get(field.name, [None] * (count + 1)) for field in fields(TensorSet))
        # What rotates through the cache, and a set of its own for our result.
        *self.sets, self.ours = (TensorSet(*tensors) for tensors in zip(*columns, strict=True))
        self._run_ours(ours)

    def _run_ours(self, ours: Contender) -> None:
        (variant,) = ours.variants(self.workload, [self.ours])
        self._run(variant, self.ours)
        arrays = {name: self.runtime.download(tensor) for name, tensor in vars(self.ours).items() if tensor is not None}
        rows = range(0, self.workload.rows, math.ceil(self.workload.rows / CHECKED_ROWS))
        report = oracle.check(**arrays, **self.workload.formats, only=rows)
        if report.message:
            raise RuntimeError(f"{self.workload.name}: ours does not conform: {report.message}")

    def _run(self, variant: Variant, tensors: TensorSet) -> Any:
        """What the first call returns; what it writes was full of poison before."""
        returned = []

        def poison(_: Any) -> None:
            for tensor in (tensors.out, tensors.out_scale):
                if tensor is not None:
                    tensor.view(self.library.int8)[...] = POISON

        self.runtime.run(poison)
        self.runtime.run(lambda _: returned.append(variant.calls[0]()))
        return returned[0]

    def agreeing(self, contender: Contender, result: Result) -> list[Variant]:
        """Variants that may be timed; what is wrong with the others goes into the result."""
        good = []
        try:
            for variant in contender.variants(self.workload, self.sets):
                objection = self._objection(contender, variant, result)
                if objection:
                    result.refuse(variant, objection)
                else:
                    good.append(variant)
        except Exception as error:  # whatever a contender fails with is a finding about it
            result.refusals.append(first_line(error))
        return good

    def _objection(self, contender: Contender, variant: Variant, result: Result) -> str:
        try:
            returned = self._run(variant, self.sets[0])
            if not contender.computes:
                return ""
            out, out_scale = contender.result(returned, self.sets[0])
            found = compare(self.library, self.workload.output, (out, out_scale), (self.ours.out, self.ours.out_scale))
        except Exception as error:  # other variants may do
            return first_line(error)
        objection = found.objection(self.workload.elements, self.workload.output)
        if result.agreement is None or objection:
            result.agreement = found
        return objection

    def time(self, ready: Sequence[tuple[Result, Variant]], sets: int, kind: str) -> None:
        """Times calls that go through so many sets; the fastest variant of a contender counts."""
        turns: list[Turn] = []
        timed: list[tuple[Result, Variant]] = []
        for result, variant in ready:
            try:
                turns.append(self.clock.turn(variant.calls[:sets], self.effort.turn_microseconds))
                timed.append((result, variant))
            except Exception as error:  # no graph can be made of it
                result.refuse(variant, first_line(error))
        medians = rotated_medians(turns, self.effort.rounds)
        for (result, variant), microseconds in zip(timed, medians, strict=True):
            best = getattr(result, kind)
            if best is None or microseconds < best.microseconds:
                setattr(result, kind, Timing(microseconds, variant.geometry))


def measure(
    workload: Workload, contenders: Sequence[Contender], ours: Contender, runtime: Runtime, effort: Effort
) -> Measurement:
    measuring = Measuring(workload, ours, runtime, effort)
    results = [Result(contender.name) for contender in contenders]
    ready = [
        (result, variant)
        for contender, result in zip(contenders, results, strict=True)
        for variant in measuring.agreeing(contender, result)
    ]
    if workload.bytes <= runtime.cache_bytes:
        measuring.time(ready, 1, "hot")
    measuring.time(ready, len(measuring.sets), "cold")
    return Measurement(workload, len(measuring.sets), results)


def first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"

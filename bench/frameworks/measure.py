"""One workload: makes the tensors, compares every contender with ours, and times those that agree."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from moe_act import oracle
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


@dataclass(frozen=True)
class Measurement:
    workload: Workload
    sets: int
    results: list[Result]


class Bench:
    """A device and the effort to spend on it."""

    def __init__(self, runtime: Runtime, effort: Effort) -> None:
        self.runtime, self.effort = runtime, effort
        on_gpu = runtime.device == "cuda"
        self.library: Any = importlib.import_module("torch" if on_gpu else "numpy")
        self.clock = GraphClock(runtime.stream) if on_gpu else CallClock()  # type: ignore[attr-defined]

    def measure(self, workload: Workload, contenders: Sequence[Contender], ours: Contender) -> Measurement:
        sets, ours_result = self._tensors(workload)
        self._run_ours(workload, ours, ours_result)
        results = [Result(contender.name) for contender in contenders]
        ready: list[tuple[Result, Variant]] = []
        for contender, result in zip(contenders, results, strict=True):
            try:
                for variant in contender.variants(workload, sets):
                    if self._agrees(workload, contender, variant, sets[0], ours_result, result):
                        ready.append((result, variant))
            except Exception as error:  # whatever a contender fails with is a finding about it
                result.refusals.append(first_line(error))
        if workload.bytes <= self.runtime.cache_bytes:
            self._time(ready, 1, "hot")
        self._time(ready, len(sets), "cold")
        return Measurement(workload, len(sets), results)

    def _tensors(self, workload: Workload) -> tuple[list[TensorSet], TensorSet]:
        """What rotates through the cache, and a set of its own for our result."""
        count = max(1, math.ceil(CACHES * self.runtime.cache_bytes / workload.bytes))
        uploaded = {name: self.runtime.upload(array, count + 1) for name, array in workload.arrays().items()}
        nothing = [None] * (count + 1)
        *sets, ours_result = (
            TensorSet(*tensors)
            for tensors in zip(
                *(uploaded.get(name, nothing) for name in ("x", "x_scale", "out", "out_scale")), strict=True
            )
        )
        return sets, ours_result

    def _run_ours(self, workload: Workload, ours: Contender, tensors: TensorSet) -> None:
        (variant,) = ours.variants(workload, [tensors])
        self._run(variant, tensors)
        arrays = {name: self.runtime.download(tensor) for name, tensor in vars(tensors).items() if tensor is not None}
        rows = range(0, workload.rows, math.ceil(workload.rows / CHECKED_ROWS))
        options = {} if workload.input == "fp16" else {"x_format": workload.input}
        report = oracle.check(**arrays, **options, out_format=workload.output, rows=rows)
        if report.message:
            raise RuntimeError(f"{workload.name}: ours does not conform: {report.message}")

    def _run(self, variant: Variant, tensors: TensorSet) -> None:
        """Runs the first call on results full of poison."""
        for tensor in (tensors.out, tensors.out_scale):
            if tensor is not None:
                tensor.view(self.library.int8)[...] = POISON
        self.runtime.run(lambda _: variant.calls[0]())

    def _agrees(
        self,
        workload: Workload,
        contender: Contender,
        variant: Variant,
        tensors: TensorSet,
        ours: TensorSet,
        into: Result,
    ) -> bool:
        """Whether the variant may be timed; what was found goes into the result."""
        objection = ""
        try:
            self._run(variant, tensors)
            if contender.computes:
                found = compare(self.library, workload.output, tensors.out, ours.out, tensors.out_scale, ours.out_scale)
                objection = found.objection(workload.elements, workload.output)
                if into.agreement is None or objection:
                    into.agreement = found
        except Exception as error:  # as above, but other geometries may do
            objection = first_line(error)
        if objection:
            into.refusals.append(f"{variant.geometry}: {objection}" if variant.geometry else objection)
        return not objection

    def _time(self, ready: Sequence[tuple[Result, Variant]], sets: int, kind: str) -> None:
        """Times calls on so many sets; the fastest variant of a contender counts."""
        turns: list[Turn] = []
        timed: list[tuple[Result, Variant]] = []
        for result, variant in ready:
            try:
                turns.append(self.clock.turn(variant.calls[:sets], self.effort.turn_microseconds))
                timed.append((result, variant))
            except Exception as error:  # no graph can be made of it
                result.refusals.append(f"{variant.geometry}: {first_line(error)}")
        medians = rotated_medians(turns, self.effort.rounds)
        for (result, variant), microseconds in zip(timed, medians, strict=True):
            best = getattr(result, kind)
            if best is None or microseconds < best.microseconds:
                setattr(result, kind, Timing(microseconds, variant.geometry))


def first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"

"""Time of one call among many in a row: replays of a CUDA graph on a GPU, plain calls on the CPU."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from .contender import Call

Turn = Callable[[], float]  # works for a while and returns the microseconds of one call

PROBE_LAUNCHES = 8
MOST_LAUNCHES = 2000  # in a graph that only has to be long enough
SETTLING_SECONDS = 0.01


@dataclass(frozen=True)
class Effort:
    rounds: int
    turn_microseconds: float  # that a turn takes at least


THOROUGH = {"cuda": Effort(7, 2500), "cpu": Effort(9, 40_000)}
QUICK = {"cuda": Effort(3, 500), "cpu": Effort(3, 5000)}


def rotated_medians(turns: Sequence[Turn], rounds: int) -> list[float]:
    """A round gives everybody a turn and begins with another one, so that nobody always follows the same neighbour."""
    samples: list[list[float]] = [[] for _ in turns]
    for round in range(rounds):
        for i in range(len(turns)):
            chosen = (i + round) % len(turns)
            samples[chosen].append(turns[chosen]())
    return [statistics.median(values) for values in samples]


class GraphClock:
    """Turns are replays of a CUDA graph."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def turn(self, calls: Sequence[Call], microseconds: float) -> Turn:
        """Launches that go through all sets of tensors equally often; captured and uploaded here."""
        # Graphs tell: launched from Python one by one, a small kernel takes as long as Python does.
        probe = self._replay(calls[:1], PROBE_LAUNCHES)
        launches = min(MOST_LAUNCHES, max(4, math.ceil(microseconds / probe())))
        return self._replay(calls, math.ceil(launches / len(calls)) * len(calls))

    def _replay(self, calls: Sequence[Call], launches: int) -> Turn:
        import torch

        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.stream(self.stream):
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                for call in islice(cycle(calls), launches):
                    call()
            except Exception:
                with suppress(RuntimeError):  # the error above says more
                    graph.capture_end()
                raise
            graph.capture_end()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

        def turn() -> float:
            with torch.cuda.stream(self.stream):
                begin.record()
                graph.replay()
                end.record()
            end.synchronize()
            return float(begin.elapsed_time(end)) * 1e3 / launches

        turn()  # the first replay uploads the graph
        return turn


class CallClock:
    """Turns are calls."""

    def turn(self, calls: Sequence[Call], microseconds: float) -> Turn:
        rotation = cycle(calls)

        def run(seconds: float) -> float:
            """Seconds of a call, of as many as it takes; one at least."""
            count, begin = 0, time.perf_counter()
            while True:
                next(rotation)()
                count += 1
                spent = time.perf_counter() - begin
                if spent >= seconds:
                    return spent / count

        def turn() -> float:
            # Threads of the neighbour's OpenMP still wait for work by spinning, for some milliseconds.
            run(SETTLING_SECONDS)
            return 1e6 * run(microseconds / 1e6)

        return turn

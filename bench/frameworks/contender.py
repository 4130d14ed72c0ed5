"""What the harness wants of a contender."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .workloads import TensorSet, Workload

Call = Callable[[], Any]


@dataclass(frozen=True)
class Variant:
    """One way of a contender to do the work; the fastest of them counts."""

    geometry: str
    calls: Sequence[Call]  # the same work on one set of tensors after the other


class Contender(ABC):
    name: str
    devices: tuple[str, ...] = ("cuda", "cpu")
    needs: tuple[str, ...] = ()  # packages
    computes = True  # a result that can be compared

    def absence(self) -> str:
        """Why it cannot run here, empty if it can."""
        missing = [package for package in self.needs if importlib.util.find_spec(package) is None]
        return f"{' and '.join(missing)} not installed" if missing else ""

    def result(self, returned: Any, tensors: TensorSet) -> tuple[Any, Any]:
        """out and out_scale: those of the set, where a call returns none of its own."""
        return tensors.out, tensors.out_scale

    @abstractmethod
    def variants(self, workload: Workload, sets: list[TensorSet]) -> Iterator[Variant]:
        """Ready to be called; the first call may compile."""

"""Covering arrays: few cases in which every three axes have every combination of their values that can be.

Greedy, after Cohen, Dalal, Fredman and Patton, "The AETG system" (1997): each case begins with a combination that is
still missing, and takes for one axis after the other the value that adds most; values that rule each other out are
kept apart by looking ahead.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Axes = Mapping[str, tuple[Any, ...]]
Excludes = Callable[[str, Any, str, Any], bool]
Score = Callable[[list[int], list[int]], np.ndarray]  # of each candidate, beside the values that are chosen


class Space:
    """Axes, and which pairs of their values rule each other out. Values are numbered through all axes."""

    def __init__(self, axes: Axes, excludes: Excludes) -> None:
        self.names = list(axes)
        self.values = [(axis, value) for axis, name in enumerate(axes) for value in axes[name]]
        self.of_axis = [[n for n, (a, _) in enumerate(self.values) if a == axis] for axis in range(len(axes))]
        every = range(len(self.values))
        together = np.array([[self._goes_with(excludes, one, other) for other in every] for one in every])
        self.together = together & together.T
        self._allowed = [{n for n in every if self.together[n, one]} for one in every]

    def _goes_with(self, excludes: Excludes, one: int, other: int) -> bool:
        (axis, value), (other_axis, other_value) = self.values[one], self.values[other]
        if axis == other_axis:
            return one == other
        return not excludes(self.names[axis], value, self.names[other_axis], other_value)

    def numbers(self, **values: Any) -> list[int]:
        return [self.values.index((self.names.index(name), value)) for name, value in values.items()]

    def named(self, case: list[int]) -> dict[str, Any]:
        return {self.names[axis]: value for axis, value in (self.values[n] for n in case)}

    def can_be(self, fixed: list[int]) -> bool:
        return self.complete(fixed, random.Random(0)) is not None

    def complete(self, fixed: list[int], rng: random.Random, score: Score | None = None) -> list[int] | None:
        """A case with these values, None if there is none: depth first, looking ahead."""
        domains = [set(numbers) for numbers in self.of_axis]
        for n in fixed:
            domains = [domain & self._allowed[n] for domain in domains]
        free = [axis for axis in range(len(domains)) if axis not in {self.values[n][0] for n in fixed}]
        rng.shuffle(free)
        return self._extend(fixed, free, domains, rng, score)

    def _extend(
        self, chosen: list[int], free: list[int], domains: list[set[int]], rng: random.Random, score: Score | None
    ) -> list[int] | None:
        if not all(domains):
            return None
        if not free:
            return chosen
        candidates = sorted(domains[free[0]])
        rng.shuffle(candidates)
        if score is not None and len(candidates) > 1:
            candidates = [candidates[i] for i in np.argsort(-score(chosen, candidates), kind="stable")]
        for n in candidates:
            ahead = [domain & self._allowed[n] for domain in domains]
            found = self._extend([*chosen, n], free[1:], ahead, rng, score)
            if found is not None:
                return found
        return None


def combinations(space: Space, rng: random.Random) -> np.ndarray:
    """bool [values, values, values]: which three do not rule each other out, two by two; in any order."""
    pairs = np.zeros_like(space.together)  # that some case has
    for one, other in np.argwhere(np.triu(space.together, 1)).tolist():
        case = None if pairs[one, other] else space.complete([one, other], rng)
        if case is not None:
            pairs[np.ix_(case, case)] = True
    np.fill_diagonal(pairs, False)
    return pairs[:, :, None] & pairs[:, None, :] & pairs[None, :, :]


def covering_array(space: Space, seed: int = 0) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    missing = combinations(space, rng)

    def gain(chosen: list[int], candidates: list[int]) -> np.ndarray:
        return np.count_nonzero(missing[np.ix_(candidates, chosen, chosen)], axis=(1, 2))

    wanted, cases = np.argwhere(missing), []
    wanted = wanted[(wanted[:, 0] < wanted[:, 1]) & (wanted[:, 1] < wanted[:, 2])]
    for triple in np.random.default_rng(seed).permutation(wanted).tolist():
        if missing[tuple(triple)]:
            case = space.complete(triple, rng, gain)
            there = triple if case is None else case  # None: no case can have it
            missing[np.ix_(there, there, there)] = False
            cases += [] if case is None else [space.named(case)]
    return cases

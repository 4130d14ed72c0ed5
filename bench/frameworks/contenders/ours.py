"""This library, through a plan made once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import moe_act

from ..contender import Contender, Variant
from ..workloads import TensorSet, Workload


class Ours(Contender):
    name = "ours"

    def variants(self, workload: Workload, sets: list[TensorSet]) -> Iterator[Variant]:
        plan = moe_act.plan(**vars(sets[0]), **workload.formats)
        yield Variant("", [partial(plan.run, **vars(tensors)) for tensors in sets])

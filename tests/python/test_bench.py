"""The benchmark against frameworks: what it runs, what it refuses, and how it takes turns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from frameworks.agreement import Agreement, compare
from frameworks.contender import Contender, Variant
from frameworks.contenders import all_contenders
from frameworks.contenders.numpy_eager import encode_e4m3
from frameworks.measure import measure
from frameworks.report import report, table, text
from frameworks.timing import Effort, rotated_medians
from frameworks.workloads import TensorSet, Workload, gpu_workloads
from moe_act import oracle
from moe_act.command.devices import CpuRuntime

BF16 = Workload("bf16/8", "small", "bf16", "e4m3", rows=8, columns=256, threads=1)
E4M3 = Workload("e4m3/8", "small", "e4m3", "e4m3", rows=8, columns=256, threads=1)
FP16 = Workload("fp16/8", "small", "fp16", "e4m3", rows=8, columns=256)
PLAIN = Workload("bf16-bf16/8", "small", "bf16", "bf16", rows=8, columns=256)


def libraries() -> list[Any]:
    try:
        import torch
    except ImportError:
        return [np]
    return [np, torch]


@pytest.mark.parametrize("library", libraries(), ids=lambda library: library.__name__)
@pytest.mark.parametrize(
    ("theirs", "ours", "neighbours", "wrong"),
    [
        ([0x00, 0x38, 0xFE], [0x80, 0x38, 0xFE], 0, 0),  # zeros of both signs are alike
        ([0x39, 0x01, 0xB7], [0x38, 0x80, 0xB8], 3, 0),
        ([0x3A, 0x01, 0x7E], [0x38, 0x81, 0xFE], 0, 3),
        ([0x7F, 0xFF, 0x38], [0x7E, 0xFE, 0x7F], 0, 3),  # NaN is nobody's neighbour
    ],
)
def test_codes_are_compared_by_their_place(
    library: Any, theirs: list[int], ours: list[int], neighbours: int, wrong: int
) -> None:
    out, our_out = (library.asarray(np.array(codes, np.uint8)) for codes in (theirs, ours))
    assert compare(library, "e4m3", (out, None), (our_out, None)) == Agreement(neighbours, wrong, 0)


@pytest.mark.parametrize("library", libraries(), ids=lambda library: library.__name__)
def test_scales_are_compared_in_ulp(library: Any) -> None:
    out = library.zeros(2, dtype=library.uint8)
    scale = np.array([1, 2], np.float32)
    near, untouched = np.nextafter(scale, np.float32(4)), np.full(8, 0xA5, np.uint8).view(np.float32)
    for other, expected in ((near, 1), (scale, 0)):
        found = compare(library, "e4m3", (out, library.asarray(other)), (out, library.asarray(scale)))
        assert found.scale_ulp == expected
    found = compare(library, "e4m3", (out, library.asarray(untouched)), (out, library.asarray(scale)))
    assert found.objection(2, "e4m3")


def test_a_few_neighbours_are_allowed_and_nothing_else() -> None:
    assert not Agreement(3, 0, 16).objection(10_000, "e4m3")
    assert Agreement(4, 0, 0).objection(10_000, "e4m3")
    assert not Agreement(12, 0, 0).objection(10_000, "bf16")
    assert Agreement(0, 1, 0).objection(10_000, "e4m3")
    assert Agreement(0, 0, 17).objection(10_000, "e4m3")


@pytest.mark.parametrize("workload", [BF16, E4M3, FP16, PLAIN], ids=lambda workload: workload.name)
def test_bytes_are_those_of_the_tensors(workload: Workload) -> None:
    assert workload.bytes == sum(array.nbytes for array in workload.arrays().values())


def test_the_16_bit_workloads_are_those_of_the_other_benchmark() -> None:
    found = {workload.name: workload.bytes for workload in gpu_workloads()}
    assert (found["bf16/32"], found["bf16/131072"]) == (329_728, 1_350_565_888)


def test_numpy_rounds_as_the_oracle() -> None:
    halfway = (oracle.decode(np.arange(0x7E, dtype=np.uint8), "e4m3") * 2**9).astype(np.float32)
    values = np.concatenate([halfway / 2**9, np.linspace(0, 448, 5001, dtype=np.float32), [2**-10, 3 * 2**-11]])
    values = np.concatenate([values, np.nextafter(values, np.float32(0)), -values]).astype(np.float32)
    np.testing.assert_array_equal(encode_e4m3(values), oracle.encode(values, "e4m3"))


def test_everybody_gets_every_place_in_turn() -> None:
    taken: list[int] = []

    def turn(who: int) -> float:
        taken.append(who)
        return float(len(taken))

    medians = rotated_medians([partial(turn, who) for who in range(3)], 3)
    assert taken == [0, 1, 2, 1, 2, 0, 2, 0, 1]
    assert medians == [6, 4, 5]


class Broken(Contender):
    """A geometry that fails, and one that is wrong in one element."""

    name = "broken"

    def variants(self, workload: Workload, sets: list[TensorSet]) -> Iterator[Variant]:
        (ours,) = (contender for contender in all_contenders("cpu") if contender.name == "ours")
        (good,) = ours.variants(workload, sets)

        def fail() -> None:
            raise RuntimeError("no such\ngeometry")

        def spoil() -> None:
            good.calls[0]()
            sets[0].out[3, 5] ^= 0x55

        yield Variant("failing", [fail])
        yield Variant("wrong", [spoil])


@pytest.mark.parametrize("workload", [BF16, E4M3, FP16, PLAIN], ids=lambda workload: workload.name)
def test_contenders_agree_or_are_refused(workload: Workload) -> None:
    runtime = CpuRuntime()
    runtime.cache_bytes = 2 * workload.bytes
    left_out = {"torch_compiled"} | ({"numpy_eager"} if workload in (FP16, PLAIN) else set())  # slow; GPU workloads
    contenders = [each for each in all_contenders("cpu") if not each.absence() and each.name not in left_out]
    (ours,) = (contender for contender in contenders if contender.name == "ours")
    measured = measure(workload, [*contenders, Broken()], ours, runtime, Effort(1, 10))

    *good, broken = measured.results
    for result in good:
        assert not result.refusals
        assert result.hot and result.cold and result.cold.microseconds > 0
        assert (result.agreement is None) == (result.contender == "copy")
    assert broken.hot is broken.cold is None
    assert [refusal.partition(":")[0] for refusal in broken.refusals] == ["failing", "wrong"]
    assert "RuntimeError: no such" in broken.refusals[0]
    assert "1 codes by more than a step" in broken.refusals[1]

    found = json.loads(text(report({"cpu": "some"}, [], [measured])))
    entry = found["workloads"][0]
    assert (entry["name"], entry["bytes"], entry["sets"]) == (workload.name, workload.bytes, 8)
    assert entry["results"][-1]["refusal"] == "; ".join(broken.refusals)
    assert "refused: wrong" in table(measured)

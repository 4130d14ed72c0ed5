"""A plan with its tensors: launched again and again, it does what Plan.run does for them."""

from __future__ import annotations

import gc
import re
import weakref
from typing import Any

import axes
import cases
import conventions
import moe_act
import numpy as np
import pytest
from axes import Combination
from moe_act import rows
from refusals import assert_refused, good_call
from tensors import DEVICES, Exporter, get, same_bytes

EXPERTS: dict[str, Any] = {"parameters": "per expert", "bias": "bf16", "weight": True, "copy": "bf16"}
COMBINATIONS = [
    Combination(kind, input, columns=192, **others)
    for kind in axes.ROWS
    for input in ("e4m3", "bf16")
    for others in ({}, EXPERTS, {"output": "e5m2 row"}, {"output": "e4m3 tensor"}, {"output": "fp16"})
]


def random_x(rows: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, 384), np.float32)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", list(dict.fromkeys(map(axes.sensible, COMBINATIONS))), ids=str)
def test_a_bound_launch_is_the_run_of_its_plan(case: Combination, device: str) -> None:
    """Nothing happens when it is bound; the launch is the same to the last byte, and so is the next."""
    built = conventions.build(case)
    plan = conventions.plan(built, device)
    expected = conventions.run(built, device, plan=plan)
    written = conventions.memories(built, device)
    tensors, _ = conventions.arguments(built, device, written)
    launch = plan.bind(**tensors)
    assert written.back().same_bytes(conventions.memories(built, "cpu"))
    for _ in range(2):
        result = launch.run()
        assert result is launch.result
        assert result.out is tensors["out"] and result.out_scale is tensors.get("out_scale")
        assert written.back().same_bytes(expected)


@pytest.mark.parametrize("where", ["numpy", *DEVICES])
def test_results_allocated(where: str) -> None:
    """Once, by the framework of x; a run reads what x holds then."""

    def placed(array: np.ndarray) -> Any:
        return array if where == "numpy" else pytest.importorskip("torch").from_numpy(array).to(where)

    x = placed(random_x())
    launch = moe_act.plan(x).bind(x)
    out, out_scale = launch.result
    assert type(out) is type(out_scale) is type(x)
    for seed in range(3):
        x[:] = placed(random_x(seed=seed))
        result = launch.run(validate=seed == 1)
        assert result is launch.result and result.out is out and result.out_scale is out_scale
        for got, want in zip(result, moe_act.gated_act_quant(x), strict=True):
            assert same_bytes(get(got), get(want))


@pytest.mark.parametrize("output", ["out", "both"])
def test_results_that_are_given_are_no_others(output: str) -> None:
    x = random_x()
    given = {"out": np.zeros((6, 192), np.uint8)} | (
        {"out_scale": np.zeros((2, 6), np.float32)} if output == "both" else {}
    )
    result = moe_act.plan(x).bind(x, **given).run()
    assert all(getattr(result, name) is array for name, array in given.items())
    for got, want in zip(result, moe_act.gated_act_quant(x), strict=True):
        assert same_bytes(got, want)


def test_two_bound_launches_of_one_plan() -> None:
    first, second = random_x(seed=1), random_x(seed=2)
    plan = moe_act.plan(first)
    launches = [plan.bind(first), plan.bind(second)]
    results = [launch.run() for launch in launches]
    assert [launch.plan for launch in launches] == [plan, plan]
    for x, result in zip((first, second), results, strict=True):
        assert same_bytes(result.out, moe_act.gated_act_quant(x).out)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("argument", ["x", "weight", "limit", "out_scale"])
def test_tensors_that_require_grad(argument: str, device: str) -> None:
    torch = pytest.importorskip("torch")
    call = {"x": torch.ones(6, 384), "weight": torch.ones(6), "limit": torch.ones(1), "out_scale": torch.ones(2, 6)}
    call = {name: tensor.to(device) for name, tensor in call.items()}
    convention = rows.Dense(tile_to_expert=torch.zeros(3, dtype=torch.int32, device=device), tile_tokens=2)
    plan = moe_act.plan(**call, rows=convention)
    call[argument].requires_grad_()
    says = "does not require grad (the operation has no gradient); pass .detach()"
    assert_refused(ValueError, argument, says, lambda: plan.bind(**call, rows=convention))
    plan.bind(**call | {argument: call[argument].detach()}, rows=convention).run()


@pytest.mark.parametrize("stream", [0, 1, "current"])
def test_a_stream_for_tensors_on_the_cpu(stream: Any) -> None:
    call = good_call("cpu")
    launch = moe_act.plan(**call, x_format="e4m3").bind(**call)
    assert_refused(ValueError, "stream", "expected None for tensors on the CPU", lambda: launch.run(stream=stream))
    for result in ("out", "out_scale"):
        assert (call[result].view(np.uint8) == cases.POISON).all()
    launch.run(stream=None)
    assert (call["out"][[0, 3]] != cases.POISON).any()


def test_validation_is_asked_of_a_run() -> None:
    call = good_call("cpu")
    launch = moe_act.plan(**call, x_format="e4m3").bind(**call)
    launch.run(validate=True)
    call["out"].view(np.uint8).fill(cases.POISON)
    call["expanded_idx_to_permuted_idx"][0] = 6
    with pytest.raises(ValueError, match=r"^expanded_idx_to_permuted_idx: "):
        launch.run(validate=True)
    assert (call["out"] == cases.POISON).all()


def test_arguments() -> None:
    x = random_x()
    plan = moe_act.plan(x)
    launch = plan.bind(x)
    for function, says, positional, named in [
        (plan.bind, "bind() missing 1 required positional argument: 'x'", (), {"out": None}),
        (plan.bind, "bind() got multiple values for argument 'x'", (x,), {"x": x}),
        (plan.bind, "bind() got an unexpected keyword argument 'stream'", (x,), {"stream": None}),
        (plan.bind, "bind() got an unexpected keyword argument 'validate'", (x,), {"validate": True}),
        (plan.bind, "bind() takes from 1 to 2 positional arguments but 3 were given", (x, None, None), {}),
        (launch.run, "run() takes no positional arguments", (None,), {}),
        (launch.run, "run() got an unexpected keyword argument 'x'", (), {"x": x}),
    ]:
        with pytest.raises(TypeError, match=f"^{re.escape(says)}$"):
            function(*positional, **named)
    assert_refused(TypeError, "x", "expected a tensor", lambda: plan.bind("x"))


def test_what_is_none() -> None:
    x = random_x()
    with pytest.raises(TypeError, match=r"^self: expected a plan that moe_act\.plan made$"):
        moe_act.Plan.__new__(moe_act.Plan).bind(x)
    with pytest.raises(TypeError, match=r"^self: expected a bound launch that Plan\.bind made$"):
        moe_act.BoundLaunch.__new__(moe_act.BoundLaunch).run()
    with pytest.raises(TypeError):
        moe_act.BoundLaunch()


class Watched(np.ndarray):
    """An array that can be referred to weakly."""


def watched(array: np.ndarray) -> np.ndarray:
    return array.view(Watched)


def test_everything_is_held_as_long_as_the_launch() -> None:
    """Plan, tensors, those of the convention and results; and no longer."""
    arrays = {
        "x": watched(random_x()),
        "out": watched(np.zeros((6, 192), np.uint8)),
        "out_scale": watched(np.zeros((2, 6), np.float32)),
        "limit": watched(np.full(2, 7, np.float32)),
        "weight": watched(np.ones(6, np.float32)),
    }
    ends = watched(np.int32([2, 6]))
    pointing = watched(np.arange(6, dtype=np.int32))
    convention = rows.ExpertEnds(ends, permuted_to_expanded=pointing)
    plan = moe_act.plan(**arrays, rows=convention)
    expected = plan.run(**arrays | {"out": None, "out_scale": None}, rows=convention)
    launch = plan.bind(**arrays, rows=convention)
    alive = [weakref.ref(array) for array in (*arrays.values(), ends, pointing)]
    plan_text = str(plan)
    arrays.clear()
    del plan, convention, ends, pointing
    gc.collect()
    noise = [np.full((6, 384), np.nan, np.float32) for _ in range(64)]  # where memory was freed, it is this one's
    assert all(reference() is not None for reference in alive)
    result = launch.run()
    assert same_bytes(result.out, expected.out) and same_bytes(result.out_scale, expected.out_scale)
    assert str(launch.plan) == plan_text
    del noise, launch
    assert result.out.any()
    del result
    assert all(reference() is None for reference in alive)


def test_results_outlive_the_launch() -> None:
    x = random_x()
    result = moe_act.plan(x).bind(x).run()
    gc.collect()
    assert same_bytes(result.out, moe_act.gated_act_quant(x).out)


@pytest.mark.parametrize("version", [None, (1, 1)], ids=["dltensor", "dltensor_versioned"])
def test_capsules(version: tuple[int, int] | None) -> None:
    x = random_x()
    exporter = Exporter(x, version=version)
    capsule = exporter.__dlpack__()
    launch = moe_act.plan(capsule).bind(capsule)
    del capsule
    for seed in (1, 2):
        x[:] = random_x(seed=seed)
        assert same_bytes(launch.run().out, moe_act.gated_act_quant(x).out)


def test_objects_that_export_capsules() -> None:
    """Exported once, when they are bound."""
    x = random_x()
    expected = moe_act.gated_act_quant(x)
    exporter = Exporter(x)
    launch = moe_act.plan(exporter).bind(exporter)
    freed = weakref.ref(exporter)
    del exporter
    assert freed() is not None
    assert same_bytes(launch.run().out, expected.out)
    del launch
    assert freed() is None


def test_torch_tensors_are_held() -> None:
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(random_x()).clone()
    expected = moe_act.gated_act_quant(x)
    launch = moe_act.plan(x).bind(x)
    held = weakref.ref(x)
    del x
    noise = [torch.full((6, 384), float("nan")) for _ in range(64)]
    assert held() is not None
    assert torch.equal(launch.run().out_scale, expected.out_scale)
    del noise, launch
    assert held() is None

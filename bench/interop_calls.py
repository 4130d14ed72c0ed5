"""What a call costs the host from each framework, for a problem of one row: results are compared, then calls timed."""

from __future__ import annotations

import statistics
import timeit
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import moe_act
import numpy as np

ROWS, COLUMNS = 1, 256
CALLS_PER_BATCH, WARM_UP_BATCHES, BATCHES = 200, 3, 41  # no batch fills a GPU's launch queue

DIRECT = "moe_act.gated_act_quant(x, out=out, out_scale=out_scale)"
ALLOCATING = "moe_act.gated_act_quant(x)"
OPERATOR = "torch.ops.moe_act.gated_act_quant"


class Call(NamedTuple):
    name: str
    names: dict[str, Any]
    statement: str
    synchronize: Callable[[], Any]
    out: Any = None  # holds the codes after a call; None: the call returns them


def problem() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((ROWS, 2 * COLUMNS), dtype=np.float32)


def of_numpy(device: str) -> Iterator[Call]:
    results = {"out": np.empty((ROWS, COLUMNS), np.uint8), "out_scale": np.empty((COLUMNS // 128, ROWS), np.float32)}
    names = {"moe_act": moe_act, "x": problem(), **results}
    if device == "cpu":
        yield Call("NumPy, results given", names, DIRECT, lambda: None)
        yield Call("NumPy, results allocated", names, ALLOCATING, lambda: None)


def torch_tensors(device: str) -> dict[str, Any]:
    import moe_act.torch
    import torch

    return {
        "moe_act": moe_act,
        "torch": torch,
        "x": torch.from_numpy(problem()).to(device),
        "out": torch.zeros(ROWS, COLUMNS, dtype=torch.float8_e4m3fn, device=device),
        "out_scale": torch.zeros(COLUMNS // 128, ROWS, device=device),
    }


def of_torch(device: str) -> Iterator[Call]:
    names = torch_tensors(device)
    synchronize = names["torch"].cuda.synchronize if device == "cuda" else lambda: None
    names["plan"] = moe_act.plan(names["x"], out=names["out"], out_scale=names["out_scale"])
    names["product"] = names["out_scale"].clone()
    for name, statement in {
        "torch, results given": DIRECT,
        "torch, results allocated": ALLOCATING,
        "torch, plan.run": "plan.run(x, out=out, out_scale=out_scale)",
        "torch operator, results given": f"{OPERATOR}.out(x, out=out, out_scale=out_scale)",
        "torch operator, results allocated": f"{OPERATOR}.default(x)",
        "moe_act.torch, results given": DIRECT.replace("moe_act.", "moe_act.torch."),
        "moe_act.torch, results allocated": ALLOCATING.replace("moe_act.", "moe_act.torch."),
    }.items():
        yield Call(name, names, statement, synchronize, names["out"] if "given" in name else None)
    multiply = "torch.mul(out_scale, out_scale, out=product)"
    yield Call("torch.mul, for comparison", names, multiply, synchronize, names["out"])


def of_capsules(device: str) -> Iterator[Call]:
    tensors = torch_tensors(device)
    synchronize = tensors["torch"].cuda.synchronize if device == "cuda" else lambda: None
    codes = {"x": tensors["x"], "out": tensors["out"].view(tensors["torch"].uint8), "out_scale": tensors["out_scale"]}
    capsules = {name: tensor.__dlpack__() for name, tensor in codes.items()}
    yield Call("DLPack capsules, results given", {"moe_act": moe_act, **capsules}, DIRECT, synchronize, tensors["out"])


def of_cupy(device: str) -> Iterator[Call]:
    if device != "cuda":
        return
    import cupy

    results = {"out": cupy.zeros((ROWS, COLUMNS), "uint8"), "out_scale": cupy.zeros((COLUMNS // 128, ROWS), "float32")}
    names = {"moe_act": moe_act, "x": cupy.asarray(problem()), **results}
    synchronize = cupy.cuda.get_current_stream().synchronize
    yield Call("CuPy, results given", names, DIRECT, synchronize)
    yield Call("CuPy, results allocated", names, ALLOCATING, synchronize)


def of_jax(device: str) -> Iterator[Call]:
    import jax
    import moe_act.jax

    on = jax.devices("gpu" if device == "cuda" else "cpu")[0]
    x = jax.device_put(problem(), on)
    results = torch_tensors("cuda") if device == "cuda" else next(of_numpy("cpu")).names
    synchronize = results["torch"].cuda.synchronize if device == "cuda" else lambda: None
    yield Call("JAX array, results of another framework", {**results, "x": x}, DIRECT, synchronize, results["out"])
    names = {"jax": jax, "x": x, "program": jax.jit(moe_act.jax.gated_act_quant)}
    yield Call("moe_act.jax under jit, waited for", names, "jax.block_until_ready(program(x))", lambda: None)


FRAMEWORKS = {"NumPy": of_numpy, "torch": of_torch, "DLPack": of_capsules, "CuPy": of_cupy, "JAX": of_jax}


def codes_of(out: Any) -> np.ndarray:
    if type(out).__module__.startswith("torch"):
        out = out.cpu().view(out.new_empty(0).byte().dtype)
    array = out.get() if type(out).__module__.startswith("cupy") else np.asarray(out)
    return np.asarray(array).view(np.uint8)


def check(call: Call, expected: np.ndarray) -> None:
    """Neighbouring codes are allowed: devices round alike, but their exponentials differ by some ulp."""
    result = eval(call.statement, call.names)
    call.synchronize()
    delivered = codes_of(call.out if call.out is not None else result[0]).astype(int)
    if np.abs(delivered - expected.astype(int)).max() > 1:
        raise AssertionError(f"{call.name}: other codes than NumPy's")


def measure(calls: list[Call]) -> dict[str, float]:
    """Nanoseconds per call; the calls take turns."""
    expected, _ = moe_act.gated_act_quant(problem())
    for call in calls:
        check(call, np.asarray(expected))
    timers = [timeit.Timer(call.statement, globals=call.names) for call in calls]
    samples: dict[str, list[float]] = {call.name: [] for call in calls}
    for batch in range(-WARM_UP_BATCHES, BATCHES):
        for call, timer in zip(calls, timers, strict=True):
            call.synchronize()
            seconds = timer.timeit(CALLS_PER_BATCH)
            if batch >= 0:
                samples[call.name].append(seconds / CALLS_PER_BATCH * 1e9)
    for call in calls:
        call.synchronize()
    return {name: round(statistics.median(times), 1) for name, times in samples.items()}

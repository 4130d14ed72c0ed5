"""On a GPU: launches of every row convention in order, in graphs, and without waiting for the device."""

from __future__ import annotations

from typing import Any

import moe_act
import numpy as np
import pytest
import random_rows
from tensors import get, put

pytestmark = pytest.mark.gpu

CAPACITY, COLUMNS = 1152, 256  # masked rows are so many that warps go along them, chunk by chunk
MODELS: dict[str, dict[str, Any]] = {"plain": {}, "general": {"activation": "geglu"}}


def placed(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: put(value, "cuda") for name, value in fields.items()}


def leading(kind: str) -> tuple[int, ...]:
    return (random_rows.EXPERTS, CAPACITY) if kind == "masked" else (CAPACITY,)


class Chain:
    """Three launches, each reading what the one before writes: e4m3 with scales between them."""

    def __init__(self, torch: Any, kind: str, padding: str, model: str) -> None:
        convention, fields, _ = random_rows.make(kind, CAPACITY, seed=3)
        generator = torch.Generator(device="cuda").manual_seed(0)
        lead = leading(kind)
        self.x = torch.randn(*lead, 8 * COLUMNS, device="cuda", generator=generator).bfloat16()
        self.rows = convention(**placed(fields))
        self.options = MODELS[model] | ({} if kind == "map" else {"padding": padding})
        widths = [4 * COLUMNS, 2 * COLUMNS, COLUMNS]
        self.codes = [torch.empty(*lead, width, device="cuda", dtype=torch.float8_e4m3fn) for width in widths]
        self.scales = [torch.empty(*lead[:-1], width // 128, lead[-1], device="cuda") for width in widths]

    def link(self, i: int) -> dict[str, Any]:
        """The tensors of launch i."""
        inputs = {"x": self.x} if i == 0 else {"x": self.codes[i - 1], "x_scale": self.scales[i - 1]}
        return inputs | {"rows": self.rows, "out": self.codes[i], "out_scale": self.scales[i]}

    def run(self, torch: Any, middle: moe_act.Plan | None, pdl: Any) -> bytes:
        """What the last launch delivers. middle: the plan of the second."""
        for memory in (*self.codes, *self.scales):
            memory.view(torch.uint8).fill_(0xFF)
        moe_act.gated_act_quant(**self.link(0), **self.options, pdl=pdl)
        (middle or moe_act.plan(**self.link(1), **self.options)).run(**self.link(1))
        moe_act.gated_act_quant(**self.link(2), **self.options, pdl=pdl)
        return get(self.codes[2]).tobytes() + get(self.scales[2]).tobytes()


@pytest.mark.parametrize("pdl", ["off", "on", "metadata_ready"])
@pytest.mark.parametrize("padding", ["skip", "zero"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", random_rows.KINDS)
def test_every_plan_waits_and_is_waited_for(kind: str, model: str, padding: str, pdl: Any) -> None:
    """Neighbours that start early and let others do so, padding between them: all is read and written in order."""
    import torch

    chain = Chain(torch, kind, padding, model)
    expected = chain.run(torch, None, "off")
    plan = moe_act.plan(**chain.link(1), **chain.options, pdl=pdl)
    kernels: dict[int, list[moe_act.Plan]] = {}
    for each in (plan, *plan.alternatives()):
        kernels.setdefault(each.kernel, []).append(each)
    assert len(kernels) >= 2
    for plans in kernels.values():
        for each in (plans[0], plans[len(plans) // 2], plans[-1]):
            for _ in range(3):
                assert chain.run(torch, each, "on") == expected, str(each)


@pytest.mark.parametrize("by_plan", [False, True], ids=["call", "plan"])
@pytest.mark.parametrize("layout", ["column_major", "swizzled_128x4"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", random_rows.KINDS)
def test_a_graph_follows_the_device(kind: str, model: str, layout: Any, by_plan: bool) -> None:
    """Captured once, replayed for other values, indices and counts: nothing of them is known to the host."""
    import torch

    padding = "skip" if kind == "map" else "zero"
    options: dict[str, Any] = MODELS[model] | {"out_scale_layout": layout, "padding": padding}
    lead = leading(kind)

    def data(seed: int) -> tuple[Any, type, dict[str, Any], np.ndarray]:
        convention, fields, live = random_rows.make(kind, CAPACITY, seed)
        x = np.random.default_rng(seed).standard_normal((*lead, 2 * COLUMNS), np.float32)
        x[~live] = np.nan
        return put(x, "cuda"), convention, placed(fields), live

    x, convention, fields, _ = data(0)
    result = moe_act.gated_act_quant(x, rows=convention(**fields), **options)
    call: dict[str, Any] = {"rows": convention(**fields)} | result._asdict()
    run = moe_act.plan(x, **call, **options).run if by_plan else moe_act.gated_act_quant
    call |= {} if by_plan else options
    run(x, **call)  # device facts are read once
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run(x, **call)
    for seed in range(1, 6):
        fresh_x, _, fresh_fields, live = data(seed)
        eager = moe_act.gated_act_quant(fresh_x, rows=convention(**fresh_fields), **options)
        for tensor in result:
            tensor.view(torch.uint8).fill_(0xFF)
        x.copy_(fresh_x)
        for name, tensor in fields.items():
            if hasattr(tensor, "copy_"):
                tensor.copy_(fresh_fields[name])
        graph.replay()
        assert (get(result.out)[live] == get(eager.out)[live]).all()
        assert (get(result.out)[live] != 0xFF).any() or not live.any()
        if kind != "map":
            assert (get(result.out) == get(eager.out)).all() and not get(result.out)[~live].any()
            assert get(result.out_scale).tobytes() == get(eager.out_scale).tobytes()


@pytest.mark.parametrize("kind", random_rows.KINDS)
def test_the_call_does_not_wait(kind: str) -> None:
    """Whatever the host would have to know is still to be written when the call returns."""
    import torch

    convention, fields, live = random_rows.make(kind, CAPACITY, seed=1)
    late = placed(fields)
    fields = {name: torch.zeros_like(v) if hasattr(v, "zero_") else v for name, v in late.items()}
    x = torch.ones(*leading(kind), 2 * COLUMNS, device="cuda")
    expected = moe_act.gated_act_quant(x, rows=convention(**late), padding=None if kind != "map" else "skip")
    out, out_scale = (torch.zeros_like(tensor.view(torch.uint8)) for tensor in expected)
    call = {"out": out, "out_scale": out_scale.view(torch.float32), "rows": convention(**fields)}
    moe_act.gated_act_quant(x, **call)
    out.zero_()
    torch.cuda.synchronize()
    torch.cuda._sleep(100_000_000)
    for name, tensor in late.items():
        if hasattr(tensor, "copy_"):
            fields[name].copy_(tensor)
    moe_act.gated_act_quant(x, **call)
    assert not torch.cuda.current_stream().query(), "the stream should still be asleep"
    torch.cuda.synchronize()
    assert (get(out)[live] == get(expected.out)[live]).all() and not get(out)[~live].any()

"""On a GPU: the order of launches that may start early, under every plan."""

from __future__ import annotations

from typing import Any

import cases
import moe_act
import pytest
from moe_act.rows import Masked

pytestmark = pytest.mark.gpu

ROWS, COLUMNS = 4096, 256
PDL = ["off", "on", "metadata_ready"]


def random_x(torch: Any, rows: int, columns: int) -> Any:
    generator = torch.Generator(device="cuda").manual_seed(0)
    return torch.randn(rows, columns, device="cuda", generator=generator).bfloat16()


def random_map(torch: Any, rows: int) -> Any:
    generator = torch.Generator(device="cuda").manual_seed(1)
    return torch.randperm(rows, device="cuda", generator=generator).to(torch.int32)


class Chain:
    """Three launches, each reading what the one before writes: e4m3 with scales between them."""

    def __init__(self, torch: Any, row_kind: str) -> None:
        self.x = random_x(torch, ROWS, 8 * COLUMNS)
        self.options: dict[str, Any] = {}
        if row_kind != "dense":
            entries = random_map(torch, ROWS)
            if row_kind == "few":  # so that CTAs find nothing
                entries[torch.arange(ROWS, device="cuda") % 37 != 0] = -1
            self.options["expanded_idx_to_permuted_idx"] = entries
        widths = [4 * COLUMNS, 2 * COLUMNS, COLUMNS]
        self.codes = [torch.empty(ROWS, width, device="cuda", dtype=torch.float8_e4m3fn) for width in widths]
        self.scales = [torch.empty(width // 128, ROWS, device="cuda") for width in widths]

    def link(self, i: int) -> dict[str, Any]:
        """The arguments of launch i."""
        inputs = {"x": self.x} if i == 0 else {"x": self.codes[i - 1], "x_scale": self.scales[i - 1]}
        return inputs | self.options | {"out": self.codes[i], "out_scale": self.scales[i]}

    def run(self, torch: Any, middle: moe_act.Plan | None, before: str, after: str) -> list[Any]:
        """What the last launch delivers. middle: the plan of the second."""
        for codes, scales in zip(self.codes, self.scales, strict=True):
            codes.view(torch.uint8).fill_(0x7F)
            scales.fill_(float("nan"))
        moe_act.gated_act_quant(**self.link(0), pdl=before)
        (middle or moe_act.plan(**self.link(1))).run(**self.link(1))
        moe_act.gated_act_quant(**self.link(2), pdl=after)
        return [self.codes[2].view(torch.uint8).clone(), self.scales[2].view(torch.int32).clone()]  # NaN, too


@pytest.mark.parametrize("pdl", PDL)
@pytest.mark.parametrize("row_kind", [*cases.ROW_KINDS, "few"])
def test_every_plan_waits_and_is_waited_for(pdl: str, row_kind: str) -> None:
    """Neighbours that start early and let others do so: the launch between them reads and is read in order."""
    import torch

    chain = Chain(torch, row_kind)
    expected = chain.run(torch, None, "off", "off")
    chosen = moe_act.plan(**chain.link(1), pdl=pdl)
    plans = [chosen, *chosen.alternatives()]
    assert {plan.workspace_bytes > 0 for plan in plans} == ({False} if row_kind == "dense" else {False, True})
    for plan in plans:
        for _ in range(3):
            for got, want in zip(chain.run(torch, plan, "on", "on"), expected, strict=True):
                assert torch.equal(got, want), str(plan)


@pytest.mark.parametrize("pdl", PDL)
@pytest.mark.parametrize("row_kind", cases.ROW_KINDS)
def test_the_planners_own_choice(pdl: str, row_kind: str) -> None:
    import torch

    chain = Chain(torch, row_kind)
    expected = chain.run(torch, None, "off", "off")
    plan = moe_act.plan(**chain.link(1), pdl=pdl)
    for _ in range(20):
        for got, want in zip(chain.run(torch, plan, pdl, pdl), expected, strict=True):
            assert torch.equal(got, want)


@pytest.mark.parametrize("pdl", PDL)
def test_one_workspace_for_launches_in_a_row(pdl: str) -> None:
    """A launch marks rows only when the one before has read its own marks, and reads them only when all are set. The
    memory of a workspace that was released is the next one's, and full of other bytes at first."""
    import torch

    rows = 50_000
    x = random_x(torch, rows, 512)
    expected = moe_act.gated_act_quant(x).out.view(torch.uint8)
    maps = [torch.arange(start, rows, 2, dtype=torch.int32, device="cuda") for start in (0, 1)]
    out = [torch.full((rows, 256), 0xA5, dtype=torch.uint8, device="cuda") for _ in maps]
    out_scale = torch.empty(2, rows, device="cuda")
    calls = [{"expanded_idx_to_permuted_idx": maps[i], "out": out[i], "out_scale": out_scale} for i in (0, 1)]
    plans = [plan for plan in moe_act.plan(x, **calls[0], pdl=pdl).alternatives() if plan.workspace_bytes > 0]
    assert plans
    for plan in plans:
        for each in out:
            each.fill_(0xA5)
        released = torch.full((plan.workspace_bytes,), 0xA5, dtype=torch.uint8, device="cuda")
        del released
        for i in (0, 1, 0, 1):
            plan.run(x, **calls[i])
        for start in (0, 1):
            assert torch.equal(out[start][start::2], expected[start::2]), str(plan)
            assert bool((out[start][1 - start :: 2] == 0xA5).all()), str(plan)


@pytest.mark.parametrize("side", [False, True], ids=["current", "side"])
def test_a_workspace_belongs_to_the_stream_of_its_launch(side: bool) -> None:
    """What is allocated right behind a launch on another stream does not get the workspace that is in use there."""
    import torch

    rows = 50_000
    x = random_x(torch, rows, 512)
    expected = moe_act.gated_act_quant(x).out.view(torch.uint8)
    entries = 2 * random_map(torch, rows // 2)  # every other row
    out = torch.zeros(rows, 256, dtype=torch.uint8, device="cuda")
    call = {"expanded_idx_to_permuted_idx": entries, "out": out, "out_scale": torch.empty(2, rows, device="cuda")}
    plan = next(plan for plan in moe_act.plan(x, **call).alternatives() if plan.workspace_bytes > 0)
    stream = torch.cuda.Stream() if side else torch.cuda.current_stream()
    torch.cuda.synchronize()
    for _ in range(10):
        with torch.cuda.stream(stream):
            out.fill_(0xA5)
            torch.cuda._sleep(5_000_000)  # the launch is still to come when the lines below allocate
        plan.run(x, **call, stream=stream)
        fillers = [torch.full((plan.workspace_bytes,), 0, dtype=torch.uint8, device="cuda") for _ in range(4)]
        torch.cuda.synchronize()
        assert torch.equal(out[::2], expected[::2])  # zeros instead of marks would leave rows out
        assert bool((out[1::2] == 0xA5).all())
        assert not any(bool(filler.any()) for filler in fillers)
        del fillers


def test_a_launch_of_no_rows_breaks_no_chain() -> None:
    """Its map says that there is nothing, or it has no expert, and it has no result to point to."""
    import torch

    def nothing(*shape: int, dtype: Any = torch.float32) -> Any:
        return torch.empty(*shape, device="cuda", dtype=dtype)

    chain = Chain(torch, "map")
    expected = chain.run(torch, None, "off", "off")
    x, out = nothing(0, 512, dtype=torch.bfloat16), nothing(0, 256, dtype=torch.float8_e4m3fn)
    entries = torch.full((5000,), -1, dtype=torch.int32, device="cuda")
    by_map = {"x": x, "out": out, "out_scale": nothing(2, 0), "expanded_idx_to_permuted_idx": entries}
    masked = {"x": x.view(0, 16, 512), "out": out.view(0, 16, 256), "out_scale": nothing(0, 2, 16)}
    masked |= {"rows": Masked(nothing(0, dtype=torch.int32))}
    for call, padding in ((by_map, None), (masked, "skip"), (masked, "zero")):
        for pdl in PDL:
            plan = moe_act.plan(**call, padding=padding, pdl=pdl)
            for _ in range(10):
                for each in chain.codes:
                    each.view(torch.uint8).fill_(0x7F)
                for i in range(3):
                    moe_act.gated_act_quant(**chain.link(i), pdl="on")
                    plan.run(**call)
                assert torch.equal(chain.codes[2].view(torch.uint8), expected[0]), str(plan)
                assert torch.equal(chain.scales[2].view(torch.int32), expected[1]), str(plan)

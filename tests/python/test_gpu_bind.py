"""On a GPU: bound launches that have a workspace, on any stream and in graphs; test_streams.py has the others."""

from __future__ import annotations

from typing import Any

import moe_act
import pytest
from test_gpu_order import random_map, random_x

pytestmark = pytest.mark.gpu

ROWS, COLUMNS = 50_000, 256


class Marked:
    """A plan that marks rows, bound to tensors with a map that names every other row."""

    def __init__(self, torch: Any) -> None:
        self.x = random_x(torch, ROWS, 2 * COLUMNS)
        self.expected = moe_act.gated_act_quant(self.x).out.view(torch.uint8)
        self.entries = torch.empty(ROWS // 2, dtype=torch.int32, device="cuda")
        self.out = torch.empty(ROWS, COLUMNS, dtype=torch.uint8, device="cuda")
        out_scale = torch.empty(COLUMNS // 128, ROWS, device="cuda")
        call = {"expanded_idx_to_permuted_idx": self.entries, "out": self.out, "out_scale": out_scale}
        plans = moe_act.plan(self.x, **call).alternatives()
        self.plan = next(plan for plan in plans if plan.workspace_bytes > 0)
        self.launch = self.plan.bind(self.x, **call)

    def reset(self, torch: Any, start: int) -> None:
        self.entries.copy_(torch.arange(start, ROWS, 2, dtype=torch.int32, device="cuda"))
        self.out.fill_(0xA5)

    def check(self, torch: Any, start: int) -> None:
        assert torch.equal(self.out[start::2], self.expected[start::2])
        assert bool((self.out[1 - start :: 2] == 0xA5).all())


def test_a_workspace_is_held() -> None:
    """Marks of the run before are no marks, and nobody else gets the memory between two runs."""
    import torch

    marked = Marked(torch)
    fillers = [torch.full((marked.plan.workspace_bytes,), 0xA5, dtype=torch.uint8, device="cuda") for _ in range(8)]
    for start in (0, 1, 1, 0):
        marked.reset(torch, start)
        marked.launch.run()
        marked.check(torch, start)
    assert all(bool((filler == 0xA5).all()) for filler in fillers)


@pytest.mark.parametrize("given", [False, True], ids=["current", "given"])
def test_a_workspace_on_other_streams_in_turn(given: bool) -> None:
    import torch

    marked = Marked(torch)
    streams = [torch.cuda.Stream(), torch.cuda.current_stream(), torch.cuda.Stream()]
    torch.cuda.synchronize()
    for number, stream in enumerate(2 * streams):
        start = number % 2
        with torch.cuda.stream(stream):
            marked.reset(torch, start)
            torch.cuda._sleep(5_000_000)
            if not given:
                marked.launch.run()
        if given:
            marked.launch.run(stream=stream)
        stream.synchronize()  # one run at a time
        marked.check(torch, start)
        torch.cuda.synchronize()


def test_a_workspace_in_a_graph() -> None:
    """Bound before the capture: replays use the launch's own workspace, with other marks each time."""
    import torch

    marked = Marked(torch)
    marked.reset(torch, 0)
    marked.launch.run()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        marked.launch.run()
    fillers = [torch.full((marked.plan.workspace_bytes,), 0xA5, dtype=torch.uint8, device="cuda") for _ in range(8)]
    for start in (1, 0, 1):
        marked.reset(torch, start)
        graph.replay()
        marked.check(torch, start)
    assert all(bool((filler == 0xA5).all()) for filler in fillers)


def test_a_bound_run_does_not_wait() -> None:
    import torch

    x = torch.ones(64, 512, device="cuda")
    launch = moe_act.plan(x).bind(x)
    launch.run()
    torch.cuda.synchronize()
    torch.cuda._sleep(100_000_000)
    launch.run()
    assert not torch.cuda.current_stream().query(), "the stream should still be asleep"
    torch.cuda.synchronize()


def test_a_map_that_changes_is_read_anew() -> None:
    """Of every plan, marking rows or not; results that the launch allocated."""
    import torch

    rows = 4096
    x = random_x(torch, rows, 512)
    entries = random_map(torch, rows)
    expected = [tensor.view(torch.uint8) for tensor in moe_act.gated_act_quant(x, out_scale_layout="row_major")]
    chosen = moe_act.plan(x, expanded_idx_to_permuted_idx=entries, out_scale_layout="row_major")
    for plan in (chosen, *chosen.alternatives()):
        launch = plan.bind(x, expanded_idx_to_permuted_idx=entries)
        for _ in range(3):
            entries.copy_(entries[torch.randperm(rows, device="cuda")])
            for result in launch.result:
                result.view(torch.uint8).fill_(0)
            for got, want in zip(launch.run(), expected, strict=True):
                assert torch.equal(got.view(torch.uint8), want), str(plan)

"""A row's bytes depend on its values and scales alone: not on what is around it, nor on how it is computed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cases
import moe_act
import numpy as np
import pytest
from tensors import DEVICES, put, run, same_bytes

MAP = "expanded_idx_to_permuted_idx"
FLAVOURS = [(input, output) for input in cases.INPUTS for output in ("block", "tensor", "fp32")]


@dataclass(frozen=True)
class Rows:
    """Rows with their scales, each computed once all together; scales here are [rows, blocks]."""

    input: str
    output: str
    x: np.ndarray
    x_scale: np.ndarray | None
    device: str

    @staticmethod
    @lru_cache(maxsize=2)
    def some(input: str, output: str, device: str, rows: int = 37, columns: int = 384) -> Rows:
        rng = np.random.default_rng(rows + columns)
        x_scale = None
        if input == "e4m3":
            x_scale = np.exp2(rng.uniform(-6, 2, (rows, -(-2 * columns // 128)))).astype(np.float32)
        return Rows(input, output, cases.values_of(rng, (rows, 2 * columns), input), x_scale, device)

    def run(self, chosen: Any = slice(None), **changes: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """out and scales [rows, blocks] of the chosen rows, in this order, in a call of their own."""
        arguments: dict[str, Any] = {"x": self.x[chosen]} | changes
        if "x" not in changes:
            arguments["x"] = np.ascontiguousarray(arguments["x"])
        if self.input in ("e4m3", "bf16"):
            arguments["x_format"] = self.input
        if self.x_scale is not None and "x_scale" not in changes:
            arguments["x_scale"] = np.ascontiguousarray(self.x_scale[chosen].T)
        if self.output == "tensor":
            arguments["static_scale"] = np.array([0.037], np.float32)
        elif self.output != "block":
            arguments["out_format"] = self.output
        out, out_scale = run(self.device, **arguments)
        if out_scale is not None and changes.get("out_scale_layout") != "row_major":
            out_scale = np.ascontiguousarray(out_scale.reshape(-1, len(out)).T)
        return out, out_scale

    def assert_same(self, chosen: Any = slice(None), **changes: Any) -> None:
        """The chosen rows alone, run with these changes, have the bytes that they have among all."""
        out, out_scale = self.run(chosen, **changes)
        all_out, all_scale = self.run()
        assert same_bytes(out, np.ascontiguousarray(all_out[chosen]))
        assert (out_scale is None) == (all_scale is None)
        assert out_scale is None or same_bytes(out_scale, np.ascontiguousarray(all_scale[chosen]))


@pytest.fixture(params=FLAVOURS, ids=lambda flavour: "-".join(flavour))
def flavour(request: pytest.FixtureRequest) -> tuple[str, str]:
    result: tuple[str, str] = request.param
    return result


@pytest.mark.parametrize("device", DEVICES)
def test_batch_size_and_row_order(flavour: tuple[str, str], device: str) -> None:
    rows = Rows.some(*flavour, device)
    order = np.random.default_rng(0).permutation(37)
    for chosen in ([5], [36], order[:2], order[:17], order, slice(None, None, -1)):
        rows.assert_same(chosen)


@pytest.mark.parametrize("device", DEVICES)
def test_dense_rows_or_a_map(flavour: tuple[str, str], device: str) -> None:
    rows = Rows.some(*flavour, device)
    everything = np.random.default_rng(0).permutation(37).astype(np.int32)
    rows.assert_same(**{MAP: everything})
    rows.assert_same(**{MAP: np.insert(everything, range(0, 37, 2), -1)})


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("columns", [1, 100, 192, 384])
def test_scale_layouts(columns: int, device: str) -> None:
    rows = Rows.some("e4m3", "block", device, columns=columns)
    assert rows.x_scale is not None
    column_major = np.ascontiguousarray(rows.x_scale.T)
    wide = np.pad(column_major, ((0, 0), (0, 27)), constant_values=np.nan)
    rows.assert_same(x_scale=rows.x_scale, x_scale_layout="row_major")
    rows.assert_same(out_scale_layout="row_major")
    rows.assert_same(x_scale=rows.x_scale, x_scale_layout="row_major", out_scale_layout="row_major")
    rows.assert_same(x_scale=wide)
    rows.assert_same(x_scale=column_major.reshape(-1), total_num_padded_tokens=np.array([37], np.int32))


@pytest.mark.parametrize("device", DEVICES)
def test_gate_order(flavour: tuple[str, str], device: str) -> None:
    """Halves swapped, and their scales; 384 columns are whole blocks."""
    rows = Rows.some(*flavour, device)
    changes: dict[str, Any] = {"x": np.roll(rows.x, 384, axis=1), "gate": "first_half"}
    if rows.x_scale is not None:
        changes["x_scale"] = np.ascontiguousarray(np.roll(rows.x_scale, 3, axis=1).T)
    rows.assert_same(**changes)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("misaligned", "gap"), [(True, 0), (False, 1), (False, 8), (True, 5)])
def test_alignment_and_strides(flavour: tuple[str, str], misaligned: bool, gap: int, device: str) -> None:
    rows = Rows.some(*flavour, device)
    rows.assert_same(x=cases._strided(rows.x, gap, misaligned))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("expected_rows", [0, 1, 36, 37, 38, 2**40])
def test_expected_rows(flavour: tuple[str, str], expected_rows: int, device: str) -> None:
    rows = Rows.some(*flavour, device)
    rows.assert_same(expected_rows=expected_rows)
    rows.assert_same(expected_rows=expected_rows, **{MAP: np.arange(37, dtype=np.int32)})


# --- the CPU's instruction sets and threads


@pytest.fixture
def restored_level() -> Iterator[None]:
    level = moe_act.cpu_level()
    yield
    moe_act.set_cpu_level(level)


@pytest.mark.usefixtures("restored_level")
@pytest.mark.parametrize("level", ["x86-64-v3", "x86-64-v4"])
def test_instruction_sets(flavour: tuple[str, str], level: str) -> None:
    """Columns that no vector length divides; values from denormal to infinite."""
    try:
        moe_act.set_cpu_level(level)
    except (ValueError, NotImplementedError) as error:
        pytest.skip(str(error))
    rows = Rows.some(*flavour, "cpu", columns=461)
    wild = np.frombuffer(np.random.default_rng(1).bytes(rows.x.nbytes), rows.x.dtype).reshape(rows.x.shape)
    for x in (rows.x, wild):
        results = []
        for name in ("baseline", level):
            moe_act.set_cpu_level(name)
            assert moe_act.cpu_level() == name
            results.append(rows.run(x=x))
        expected, got = results
        assert same_bytes(got[0], expected[0]) and same_bytes(got[1], expected[1])


DIGEST = """
import hashlib, numpy, moe_act
x = numpy.random.default_rng(0).standard_normal((700, 512), dtype=numpy.float32)
out, out_scale = moe_act.gated_act_quant(x)
print(hashlib.sha256(out.tobytes() + out_scale.tobytes()).hexdigest())
"""


def test_threads() -> None:
    """Enough rows for every thread to have some."""
    x = np.random.default_rng(0).standard_normal((700, 512), dtype=np.float32)
    out, out_scale = moe_act.gated_act_quant(x)
    expected = hashlib.sha256(out.tobytes() + out_scale.tobytes()).hexdigest()
    for threads in ("1", "3"):
        environment = os.environ | {"OMP_NUM_THREADS": threads, "OMP_DYNAMIC": "false"}
        child = [sys.executable, "-c", DIGEST]
        digest = subprocess.run(child, env=environment, capture_output=True, text=True, check=True).stdout.strip()
        assert digest == expected, f"{threads} threads"


# --- a GPU's plans and graphs


COLUMNS = 1024
SIZES: list[tuple[int, int | None]] = [
    (1, None), (200, None), (600, None), (1500, None), (5000, None), (5000, 1), (5000, 600),
]  # fmt: skip


def lane_shapes(input: str, sizes: list[tuple[int, int | None]], device: Any = None) -> set[tuple[str, int, int]]:
    """(schedule, columns per lane, vectors per lane) of the plans for these (rows, expected_rows)."""
    shapes = set()
    for rows, expected_rows in sizes:
        x = np.empty((rows, 2 * COLUMNS), cases.CODES[input])
        arguments: dict[str, Any] = {"x_format": input if input in ("e4m3", "bf16") else None}
        if input == "e4m3":
            arguments["x_scale"] = np.empty((2 * COLUMNS // 128, rows), np.float32)
        plan = moe_act.plan(x, expected_rows=expected_rows, device=device, **arguments)
        shapes.add((plan.schedule, plan.columns_per_lane, plan.vectors_per_lane))
    return shapes


@pytest.mark.parametrize("input", cases.INPUTS)
def test_the_sizes_below_have_different_plans(input: str) -> None:
    """What the next test goes through on a GPU is worth it."""
    info = moe_act.DeviceInfo(multiprocessors=132, compute_capability=(9, 0))
    assert len(lane_shapes(input, SIZES, info)) >= (2 if input == "fp32" else 3)


@pytest.mark.gpu
@pytest.mark.parametrize("row_kind", cases.ROW_KINDS)
def test_plans(flavour: tuple[str, str], row_kind: str) -> None:
    """The same rows among few and many, with every hint, aligned and not."""
    many = Rows.some(*flavour, "cuda", rows=5000, columns=COLUMNS)
    out, out_scale = many.run()
    for rows, expected_rows in SIZES:
        changes: dict[str, Any] = {"expected_rows": expected_rows}
        if row_kind == "map":
            changes[MAP] = np.arange(rows, dtype=np.int32)
        for x in (many.x[:rows], cases._strided(many.x[:rows], 1, True)):
            got, got_scale = many.run(slice(rows), x=x, **changes)
            assert same_bytes(got, out[:rows]), (rows, expected_rows)
            assert got_scale is None or same_bytes(got_scale, out_scale[:rows]), (rows, expected_rows)


@pytest.mark.gpu
@pytest.mark.parametrize("row_kind", cases.ROW_KINDS)
def test_eager_launch_and_cuda_graph(flavour: tuple[str, str], row_kind: str) -> None:
    import torch

    rows = Rows.some(*flavour, "cuda")
    arguments: dict[str, Any] = {"x": put(rows.x, "cuda")}
    if rows.input in ("e4m3", "bf16"):
        arguments["x_format"] = rows.input
    if rows.x_scale is not None:
        arguments["x_scale"] = put(np.ascontiguousarray(rows.x_scale.T), "cuda")
    if row_kind == "map":
        arguments[MAP] = put(np.arange(37, dtype=np.int32), "cuda")
    if rows.output == "tensor":
        arguments["static_scale"] = torch.full((1,), 0.037, device="cuda")
    elif rows.output != "block":
        arguments["out_format"] = rows.output
    eager = moe_act.gated_act_quant(**arguments)
    captured = moe_act.Result(*(None if tensor is None else torch.empty_like(tensor) for tensor in eager))
    for tensor in captured:
        if tensor is not None:
            tensor.view(torch.uint8).fill_(cases.POISON)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        moe_act.gated_act_quant(**arguments, out=captured.out, out_scale=captured.out_scale)
    graph.replay()
    torch.cuda.synchronize()
    for got, expected in zip(captured, eager, strict=True):
        assert got is None or torch.equal(got.view(torch.uint8), expected.view(torch.uint8))

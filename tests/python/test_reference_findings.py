"""What review and later bugs taught the reference system, a named test per finding.

Each of these was a defect of a kernel that did the same work.
"""

from __future__ import annotations

import mmap
from dataclasses import replace
from math import prod
from typing import Any

import cases
import devices
import moe_act
import numpy as np
import pytest
from cases import Case
from tensors import DEVICES, get, put, run, same_bytes

SMALLEST_SCALE = 2.0**-126
GARBAGE = {"e4m3": (0x7F, 0xFE), "bf16": (0x7FC0, 0xFF80), "fp16": (np.nan, -np.inf), "fp32": (np.nan, -np.inf)}


# --- per-token scratch read uninitialized when a row is -1 or past the tail: an invalid row contributes nothing


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layout", cases.LAYOUTS)
@pytest.mark.parametrize("input", cases.INPUTS)
def test_invalid_rows_influence_no_other_row(input: str, layout: str, device: str) -> None:
    """-1 rows, rows no entry names, and the tail past the padded total: NaN and Inf in all of them change no byte."""
    case = Case(input, "block", layout if input == "e4m3" else "column_major", layout, "map", rows=33, columns=320)
    problem = cases.build(case)
    expected = devices.run(problem, device)
    devices.conforms(problem, *expected)

    dead = np.setdiff1d(np.arange(case.rows), problem.live)
    x = problem.arguments["x"].copy()
    x[dead[::2]], x[dead[1::2]] = GARBAGE[input]
    arguments = problem.arguments | {"x": x}
    if input == "e4m3":
        live = scale_index(problem.live, layout, arguments)
        x_scale = np.full_like(arguments["x_scale"], np.nan)
        x_scale[live] = arguments["x_scale"][live]
        arguments["x_scale"] = x_scale
    got = devices.run(replace(problem, arguments=arguments), device)
    assert same_bytes(got[0], expected[0]) and same_bytes(got[1], expected[1])


def scale_index(rows: np.ndarray, layout: str, arguments: dict[str, Any]) -> Any:
    """The elements of an input scale tensor that belong to some rows."""
    if layout == "row_major":
        return rows
    if layout == "column_major":
        return slice(None), rows
    total = int(arguments["total_num_padded_tokens"][0])
    return (rows[None, :] + total * np.arange(-(-arguments["x"].shape[1] // 128))[:, None]).ravel()


# --- break / continue of one thread before a barrier: every thread reaches every barrier


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("row_kind", cases.ROW_KINDS)
@pytest.mark.parametrize("columns", [1, 129, 640])
def test_any_count_of_rows_leaves_no_thread_behind(columns: int, row_kind: str, device: str) -> None:
    """Counts that fill warps, CTAs and vectors only in part; a map has holes between its entries as well."""
    rng = np.random.default_rng(columns)
    x = rng.standard_normal((9, 2 * columns)).astype(np.float32)
    whole = run(device, x=x)
    for count in range(10):
        if row_kind == "dense":
            part = run(device, x=x[:count])
            assert same_bytes(part.out, whole.out[:count]), count
            assert same_bytes(part.out_scale, np.ascontiguousarray(whole.out_scale[:, :count])), count
        else:
            chosen = rng.permutation(9)[:count]
            entries = np.insert(chosen, np.sort(rng.integers(0, count + 1, 5)), -1).astype(np.int32)
            part = run(device, x=x, expanded_idx_to_permuted_idx=entries)
            assert same_bytes(part.out[chosen], whole.out[chosen]), count
            assert same_bytes(part.out_scale[:, chosen], whole.out_scale[:, chosen]), count


# --- all-zero block, 0 / 0: a scale is never 0, codes of a zero block are 0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("gate_is_zero", [True, False], ids=["gate", "up"])
@pytest.mark.parametrize("input", cases.INPUTS)
def test_zero_block(input: str, gate_is_zero: bool, device: str) -> None:
    """Zero gates or zero ups in the middle one of three blocks; the two beside it are ordinary."""
    values = np.ones((4, 2, 384), np.float32)  # [rows, up and gate, H]
    values[:, 1 if gate_is_zero else 0, 128:256] = 0
    x = values.reshape(4, 768).astype(cases.DTYPES[input]).view(cases.CODES[input])
    options: dict[str, Any] = {"x_format": input} if input in ("e4m3", "bf16") else {}
    if input == "e4m3":
        options["x_scale"] = np.ones((6, 4), np.float32)
    out, out_scale = run(device, x=x, **options)
    assert (out_scale[1] == SMALLEST_SCALE).all()
    assert not (out[:, 128:256] & 0x7F).any()
    assert (out_scale[[0, 2]] > 2.0**-12).all()
    assert (out[:, :128] == 0x7E).all() and (out[:, 256:] == 0x7E).all()


# --- row * 2H past 2^31: offsets are 64-bit everywhere

FAR = (1 << 30) + 16  # elements between rows: rows 2 and 4 begin past 2^31 and 2^32


def untouched(elements: int, dtype: Any, device: str) -> Any:
    """Memory that costs nothing until it is touched; on a GPU, where there is no such thing, if it is to be had."""
    bytes_ = elements * np.dtype(dtype).itemsize
    if device == "cpu":
        no_reserve = getattr(mmap, "MAP_NORESERVE", 0x4000)
        try:
            memory = mmap.mmap(-1, bytes_, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve)
        except OSError as error:
            pytest.skip(f"no address space of {bytes_ >> 30} GiB: {error}")
        return np.frombuffer(memory, dtype)
    import torch

    torch.cuda.empty_cache()
    if torch.cuda.mem_get_info()[0] < bytes_ + (1 << 30):
        pytest.skip(f"no {bytes_ >> 30} GiB of device memory")
    return torch.empty(elements, dtype=torch.from_numpy(np.empty(0, dtype)).dtype, device="cuda")


def far_apart(values: np.ndarray, distance: int, device: str) -> Any:
    """The same rows, `distance` elements apart."""
    memory = untouched(distance * (len(values) - 1) + values.shape[1], values.dtype, device)
    if device == "cpu":
        strides = distance * values.itemsize, values.itemsize
        view = np.lib.stride_tricks.as_strided(memory, values.shape, strides)
        view[...] = values
        return view
    return memory.as_strided(values.shape, (distance, 1)).copy_(put(values, device))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("input", "output"), [("e4m3", "block"), ("bf16", "bf16"), ("fp32", "fp32")])
def test_offsets_of_rows_pass_32_bits(input: str, output: str, device: str) -> None:
    problem = cases.build(Case(input, output, rows=5, columns=320))
    expected = devices.run(problem, device)
    tensors, options = devices.split(problem)
    x = problem.arguments["x"].view(np.int16) if input == "bf16" else problem.arguments["x"]
    out = far_apart(problem.out.view(np.int16) if output == "bf16" else problem.out, FAR, device)
    call = {name: put(array, device) for name, array in tensors.items()} | {"x": far_apart(x, FAR, device)}
    result = moe_act.gated_act_quant(**call, **options, out=out)
    got = np.ascontiguousarray(get(result.out)).view(expected[0].dtype)
    assert same_bytes(got, expected[0]) and same_bytes(get(result.out_scale), expected[1])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layout", ["column_major", "row_major"])
@pytest.mark.parametrize("tensor", ["x_scale", "out_scale"])
def test_offsets_of_scales_pass_32_bits(tensor: str, layout: str, device: str) -> None:
    """Blocks 2 and 4 of column-major scales, rows 2 and 4 of row-major ones, begin past 2^31 and 2^32."""
    columns = 320 if tensor == "x_scale" else 640  # 5 blocks
    problem = cases.build(Case("e4m3", "block", layout, layout, rows=5, columns=columns))
    expected = devices.run(problem, device)
    assert problem.out_scale is not None
    tensors, options = devices.split(problem)
    call = {name: put(array, device) for name, array in tensors.items()}
    call["out_scale"] = put(problem.out_scale.copy(), device)
    call[tensor] = far_apart(problem.out_scale if tensor == "out_scale" else tensors["x_scale"], FAR, device)
    out, out_scale = moe_act.gated_act_quant(**call, **options, out=put(problem.out.copy(), device))
    assert same_bytes(get(out), expected[0])
    assert same_bytes(np.ascontiguousarray(get(out_scale)), expected[1])


@pytest.mark.parametrize("device", DEVICES)
def test_row_times_columns_passes_32_bits(device: str) -> None:
    """Contiguous rows, of which a map names a few: the last lie past 2^32 elements of x and 2^31 of out."""
    columns, rows = 2048, (1 << 20) + 8
    chosen = np.array([rows - 1, 0, 1 << 19, 1 << 20, 12345], np.int32)
    small = cases.build(Case("e4m3", "block", rows=len(chosen), columns=columns))
    expected = devices.run(small, device)

    x = untouched(rows * 2 * columns, np.uint8, device).reshape(rows, 2 * columns)
    x_scale = untouched(rows * 32, np.float32, device).reshape(32, rows)
    out = untouched(rows * columns, np.uint8, device).reshape(rows, columns)
    out_scale = untouched(rows * 16, np.float32, device).reshape(16, rows)
    for position, row in enumerate(chosen.tolist()):
        x[row] = put(small.arguments["x"][position].copy(), device)
        x_scale[:, row] = put(small.arguments["x_scale"][:, position].copy(), device)
    call = {"expanded_idx_to_permuted_idx": put(chosen, device), "x_format": "e4m3", "out": out, "out_scale": out_scale}
    moe_act.gated_act_quant(x, x_scale, **call)
    where = chosen.tolist()
    assert same_bytes(get(out[where]), expected[0])
    assert same_bytes(np.ascontiguousarray(get(out_scale[:, where])), expected[1])


@pytest.mark.gpu
def test_all_of_more_than_32_bits_of_elements() -> None:
    """Dense: every row of 2^32 elements and more, each of seven patterns."""
    import torch

    columns, rows = 2048, 7 * (((1 << 20) + 8) // 7 + 1)
    pattern = np.random.default_rng(0).integers(0, 0x60, (7, 2 * columns), np.uint8)
    few = run("cuda", x=pattern, x_format="e4m3", x_scale=np.ones((32, 7), np.float32))
    x = untouched(rows * 2 * columns, np.uint8, "cuda").view(-1, 7, 2 * columns)
    x[...] = put(pattern, "cuda")
    x_scale = torch.ones(32, rows, device="cuda")
    out, out_scale = moe_act.gated_act_quant(x.view(rows, 2 * columns), x_scale, x_format="e4m3")
    assert (out.view(torch.uint8).view(-1, 7, columns) == put(few.out, "cuda")).all()
    assert (out_scale.view(16, -1, 7) == put(few.out_scale, "cuda")[:, None]).all()


# --- 2048 experts, top_k 32: no small fixed limits


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("tokens", "top_k", "experts", "tile"), [(64, 32, 2048, 8), (3, 300, 5000, 1)])
def test_many_experts_and_choices(tokens: int, top_k: int, experts: int, tile: int, device: str) -> None:
    """Every choice another expert's first row; rows are padded to a tile for each expert."""
    rng = np.random.default_rng(0)
    rows, columns = experts * tile, 24
    live = np.sort(rng.permutation(experts)[: tokens * top_k]) * tile
    entries = rng.permutation(live).astype(np.int32).reshape(tokens, top_k)
    arguments = {
        "x": cases.values_of(rng, (rows, 2 * columns), "fp16"),
        "expanded_idx_to_permuted_idx": entries,
        "total_num_padded_tokens": np.array([rows], np.int32),
    }
    poison = cases.poisoned((rows, columns), np.uint8), cases.poisoned((rows,), np.float32)
    problem = cases.Problem(arguments, *poison, live)
    report = devices.conforms(problem, *devices.run(problem, device))
    assert report.rows == tokens * top_k


# --- grid.y above 65535: large token counts work


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("row_kind", cases.ROW_KINDS)
def test_more_tokens_than_a_grid_has_rows(row_kind: str, device: str) -> None:
    problem = cases.build(Case("fp16", "block", row_kind=row_kind, rows=70_001, columns=4))
    report = devices.conforms(problem, *devices.run(problem, device))
    entries = problem.arguments.get("expanded_idx_to_permuted_idx", problem.live)
    assert report.rows == len(problem.live) and entries.size > 65535


@pytest.mark.parametrize("device", DEVICES)
def test_more_column_chunks_than_a_grid_has_rows(device: str) -> None:
    """One row of 65 600 x 512 columns, a pattern over and over; off any alignment, where chunks are smallest."""
    period = 65_600
    pattern = np.random.default_rng(0).integers(0, 0x60, (1, 2, 512), np.uint8)
    few = run(device, x=pattern.reshape(1, 1024), x_format="e4m3", x_scale=np.ones((8, 1), np.float32))
    columns = 512 * period
    memory = put(np.zeros(2 * columns + 1, np.uint8), device)
    x = memory[1:].reshape(1, 2 * columns)
    x.reshape(2, period, 512)[...] = put(pattern.reshape(2, 1, 512), device)
    x_scale = put(np.ones((2 * columns // 128, 1), np.float32), device)
    out, out_scale = moe_act.gated_act_quant(x, x_scale, x_format="e4m3")
    got = get(out).reshape(period, 512)
    assert (got == few.out).all()
    assert (get(out_scale).reshape(period, 4) == few.out_scale[:, 0]).all()


# --- later parameters: unset ones change no bit


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("output", cases.OUTPUTS)
def test_unset_parameters_change_no_bit(output: str, device: str) -> None:
    """Every default, given and left out; alpha, beta and limit, which the finding is about, are not there yet."""
    problem = cases.build(Case("bf16", output, rows=7, columns=192))
    tensors, options = devices.split(problem)
    least = {name: value for name, value in options.items() if name in ("x_format", "out_format")}
    defaults: dict[str, Any] = {
        "x_scale": None,
        "x_scale_layout": "column_major",
        "out_scale_layout": "column_major",
        "out_scaling": {"block": "block", "tensor": "tensor"}.get(output, "none"),
        "out_format": options.get("out_format", "e4m3"),
        "activation": "swiglu",
        "gate": "second_half",
        "padding": "skip",
        "pdl": "off",
        "expected_rows": None,
        "expanded_idx_to_permuted_idx": None,
        "total_num_padded_tokens": None,
        "validate": False,
        "stream": None,
    }
    unset, given = run(device, **tensors, **least), run(device, **tensors, **least | defaults)
    assert same_bytes(unset.out, given.out) and same_bytes(unset.out_scale, given.out_scale)
    assert prod(unset.out.shape) and unset.out.any()

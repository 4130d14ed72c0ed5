"""Calls of the torch operators: every convention with every kind of result, and what is done with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import moe_act
import torch
from moe_act import rows as conventions

ROWS, COLUMNS = 37, 320  # of results: three blocks, the last one partial
LAYOUTS = ("column_major", "row_major", "tma_column_major", "packed_ue8m0", "swizzled_128x4")


def index(device: str, *values: int) -> Any:
    return torch.tensor(values, dtype=torch.int32, device=device)


# A convention's arguments on a device.
CONVENTIONS: dict[str, Callable[[str], dict[str, Any]]] = {
    "dense": lambda device: {},
    "map": lambda device: {"expanded_idx_to_permuted_idx": index(device, *range(ROWS - 1, -1, -1))},
    "prefix": lambda device: {"rows": conventions.ValidPrefix(index(device, 20))},
    "tile limits": lambda device: {"rows": conventions.TileLimits(index(device, 3, 8, 20, 30, 33), 8)},
    "live tiles": lambda device: {"rows": conventions.TileLimits(index(device, 3, 8, 20, 30, 33), 8, index(device, 3))},
    "row to expert": lambda device: {"rows": conventions.RowToExpert(index(device, *range(-1, ROWS - 1)))},
    "sorted ids": lambda device: {
        "rows": conventions.SortedTokenIds(index(device, *range(ROWS - 1, -1, -1)), 30, index(device, 32))
    },
    "sorted ids, by id": lambda device: {
        "rows": conventions.SortedTokenIds(index(device, *range(ROWS)), ROWS, index(device, ROWS), buffer_row="id")
    },
    "offsets": lambda device: {"rows": conventions.ExpertOffsets(index(device, 0, 3, 3, 36))},
    "ends": lambda device: {"rows": conventions.ExpertEnds(index(device, 3, 4, 30), expert_alignment=4)},
    "masked": lambda device: {"rows": conventions.Masked(index(device, 5, 0, ROWS))},
}
OPTIONS: dict[str, dict[str, Any]] = {
    **{layout: {"out_scale_layout": layout} for layout in LAYOUTS},
    "blocks of 32, swizzled": {"out_scale_layout": "swizzled_128x4", "out_block": 32},
    "ue8m0, row major": {"out_scale_layout": "row_major", "out_scale_format": "ue8m0"},
    "power of two": {"scale_rounding": "power_of_two", "out_block": 64},
    "per row": {"out_scaling": "row"},
    "e5m2": {"out_format": "e5m2"},
    "bf16": {"out_format": "bf16", "gate": "first_half"},
    "fp16": {"out_format": "fp16"},
    "fp32": {"out_format": "fp32"},
    "interleaved, clamped": {"gate": "interleaved", "interleave": 8, "alpha": 1.702, "beta": 1.0, "limit": 7.0},
    "ungated": {"activation": "gelu_tanh"},
    "situ": {"activation": "situ", "gate_bound": 2.0, "up_bound": 3.0},
    "a preset": {"numerics": "te_mxfp8"},
    "parts of numerics": {"numerics": moe_act.Numerics("deepgemm", smallest_amax=0.5, clamp_rounding="none")},
}


def make_x(device: str, masked: bool = False, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    shape = (3, ROWS, 2 * COLUMNS) if masked else (ROWS, 2 * COLUMNS)
    return torch.randn(shape, generator=generator).to(device, torch.bfloat16)


def e4m3_call(device: str) -> dict[str, Any]:
    """Quantized input, and a padded total that only the device knows."""
    x = make_x(device).float().to(torch.float8_e4m3fn)
    scales = torch.full((5 * ROWS,), 0.5, device=device)
    return {"x": x, "x_scale": scales, "total_num_padded_tokens": index(device, ROWS)}


def static_call(device: str) -> dict[str, Any]:
    return {"x": make_x(device), "static_scale": torch.tensor([0.25], device=device)}


def model_call(device: str) -> dict[str, Any]:
    """What experts have of their own, and what rows are weighted with."""
    numbers = torch.linspace(0.5, 2, 3, device=device)
    return {
        "x": make_x(device),
        "rows": conventions.ExpertOffsets(
            index(device, 0, 3, 3, 36), permuted_to_expanded=index(device, *range(ROWS - 1, -1, -1))
        ),
        "bias": torch.linspace(-1, 1, 3 * 2 * COLUMNS, device=device).view(3, 2 * COLUMNS),
        "alpha": numbers,
        "beta": numbers,
        "limit": numbers,
        "weight": torch.linspace(0.1, 1, ROWS, device=device),
    }


def tiled_call(device: str) -> dict[str, Any]:
    """Experts by tile, beside rows that have none of their own."""
    rows = conventions.Dense(tile_to_expert=index(device, 2, 0, 1), tile_tokens=16)
    return {"x": make_x(device), "rows": rows, "limit": torch.tensor([0.5, 1, 2], device=device)}


def calls(device: str) -> Iterator[dict[str, Any]]:
    """Every convention with every kind of result, quantized input, one given scale, experts with their own numbers."""
    for name, rows in CONVENTIONS.items():
        for options in OPTIONS.values():
            unknown_padding = name in ("map", "sorted ids, by id")
            if unknown_padding and options.get("out_scale_layout") == "swizzled_128x4":
                continue  # the rows that the layout adds stay uninitialized
            yield {"x": make_x(device, masked=name == "masked")} | rows(device) | options
    for make in (e4m3_call, static_call, model_call, tiled_call):
        yield make(device)


def codes(tensor: Any) -> Any:
    """A tensor whose values torch compares: fp8 as its codes."""
    return tensor.view(torch.uint8) if tensor is not None and tensor.element_size() == 1 else tensor


def zeros_as(tensor: Any) -> Any:
    """Strides and all, which torch.zeros_like closes up."""
    if tensor is None:
        return None
    fresh = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device)
    codes(fresh).zero_()
    return fresh


def assert_same(got: Any, expected: Any) -> None:
    for ours, wanted in zip(got, expected, strict=True):
        assert (ours is None) == (wanted is None)
        if wanted is not None:
            assert (ours.shape, ours.stride(), ours.dtype) == (wanted.shape, wanted.stride(), wanted.dtype)
            assert torch.equal(codes(ours), codes(wanted))


def flattened(call: dict[str, Any]) -> dict[str, Any]:
    """The same call of the operator itself."""
    arguments = {name: value for name, value in call.items() if name not in ("x", "rows", "numerics")}
    if "rows" in call:
        said = call["rows"]._said()._asdict()
        arguments |= {"row_kind": said.pop("kind"), "row_index": said.pop("index"), "row_count": said.pop("count")}
        arguments |= {name: value for name, value in said.items() if name not in ("index_name", "count_name")}
    numerics = call.get("numerics", "flashinfer")
    if isinstance(numerics, moe_act.Numerics):
        arguments |= vars(numerics)
        numerics = arguments.pop("preset")
    arguments["numerics"] = numerics
    for name in ("alpha", "beta", "limit"):
        if isinstance(arguments.get(name), torch.Tensor):
            arguments[f"{name}_of_expert"] = arguments.pop(name)
    return arguments

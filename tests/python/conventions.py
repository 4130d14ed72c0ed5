"""A combination's tensors in watched memory; what is live is known from how they are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cases
import ml_dtypes
import models
import moe_act
import numpy as np
import scale_forms
from axes import Combination
from models import Model
from moe_act import rows as conventions
from moe_act.scales import to_rows
from placed import Placed, back
from scale_forms import ScaleTensor

KNOWING = ("row to expert", "offsets", "ends", "masked")  # whose rows are which expert's
POINTING = ("tile limits", "live tiles", "row to expert", "offsets", "ends")  # at weights by permuted_to_expanded


@dataclass(frozen=True)
class Built:
    x: Placed
    x_scale: ScaleTensor | None
    out: Placed
    out_scale: ScaleTensor | None
    copy: Placed | None  # out_unquantized
    model: Model
    options: dict[str, Any]
    row_arguments: dict[str, Any]  # NumPy arrays, by the name of the argument or the convention's field
    convention: type | None
    live: np.ndarray  # bool [parts, rows]
    scale_rows: np.ndarray  # int [parts, rows]: of live rows, in a swizzled tensor

    def rows(self, place: Any = lambda array: array) -> dict[str, Any]:
        placed = {name: place(v) if isinstance(v, np.ndarray) else v for name, v in self.row_arguments.items()}
        return placed if self.convention is None else {"rows": self.convention(**placed)}


def _rows(case: Combination, rng: np.random.Generator) -> tuple[dict[str, Any], type | None, np.ndarray, np.ndarray]:
    capacity, integer = case.capacity, case.index
    live = np.zeros((1, capacity), bool)
    scale_rows = np.arange(capacity)[None]
    count = capacity // 2 + 1 if capacity > 1 else 1
    some = rng.random(capacity) < 0.6
    tile_of_row = np.arange(capacity) // models.TILE_TOKENS
    arguments: dict[str, Any] = {}
    convention: type | None = None
    if case.rows == "dense":
        live[:] = True
        convention = conventions.Dense if case.needs_experts else None
    elif case.rows == "map":
        entries = np.full(2 * capacity + 1, -1, integer)
        entries[rng.permutation(len(entries))[: some.sum()]] = rng.permutation(np.flatnonzero(some))
        arguments, live[0] = {"expanded_idx_to_permuted_idx": entries}, some
        convention = conventions.ExpandedToPermuted if case.needs_experts else None
    elif case.rows == "prefix":
        arguments, convention = {"valid_rows": np.array([count], integer)}, conventions.ValidPrefix
        live[0, :count] = True
    elif case.rows in ("tile limits", "live tiles"):
        tile, convention = models.TILE_TOKENS, conventions.TileLimits
        tiles = -(-capacity // tile)
        limits = np.minimum(np.arange(tiles) * tile + rng.integers(0, tile + 1, tiles), capacity).astype(integer)
        arguments = {"tile_limits": limits, "tile_tokens": tile}
        used = tiles
        if case.rows == "live tiles":
            used = tiles // 2 + 1
            arguments["num_live_tiles"] = np.array([used], integer)
        for t in range(used):
            live[0, t * tile : limits[t]] = True
    elif case.rows == "row to expert":
        arguments = {"row_to_expert": np.where(some, rng.integers(0, 9, capacity), -1).astype(integer)}
        live[0], convention = some, conventions.RowToExpert
    elif case.rows.startswith("sorted ids"):
        valid, in_use, convention = capacity, max(1, 2 * capacity // 3), conventions.SortedTokenIds
        ids = np.where(some, rng.permutation(capacity), valid + 3).astype(integer)
        ids[rng.random(capacity) < 0.1] = -1
        arguments = {"sorted_token_ids": ids, "num_valid_ids": valid}
        arguments |= {"num_tokens_post_padded": np.array([in_use], integer)}
        named = (np.arange(capacity) < in_use) & (ids >= 0) & (ids < valid)
        if case.rows.endswith("id"):
            arguments["buffer_row"] = "id"
            live[0, ids[named]] = True
            tile_of_row[ids[named]] = np.flatnonzero(named) // models.TILE_TOKENS
        else:
            live[0] = named
    elif case.rows == "masked":
        convention = conventions.Masked
        counts = np.array([count, 0, capacity], integer)
        arguments, live = {"expert_counts": counts}, np.arange(capacity)[None] < counts[:, None]
        scale_rows = np.broadcast_to(scale_rows, live.shape)
    else:
        step = 4 if case.rows == "ends" else 1
        bounds, begin = [], 0
        for share in (0, 3, 0, capacity // 2, capacity // 5):
            end = min(begin + share, capacity)
            bounds.append((min(begin, capacity), end))
            begin = -(-end // step) * step
        scale_rows, first = scale_rows.copy(), 0
        for begin, end in bounds:
            live[0, begin:end] = True
            scale_rows[0, begin:end] = first + np.arange(max(end - begin, 0))
            first += -(-max(end - begin, 0) // 128) * 128
        if case.rows == "ends":
            convention = conventions.ExpertEnds
            arguments = {"expert_ends": np.array([end for _, end in bounds], integer), "expert_alignment": step}
        else:
            convention = conventions.ExpertOffsets
            arguments = {"expert_offsets": np.array([0] + [end for _, end in bounds], integer)}
    if case.needs_experts and case.rows not in KNOWING:
        tiles = models.tiles(rng, capacity, integer)
        arguments |= {"tile_to_expert": tiles, "tile_tokens": models.TILE_TOKENS}
        live = live & (np.append(tiles, -1)[tile_of_row] >= 0)
    if case.weight and case.rows in POINTING:
        arguments["permuted_to_expanded"] = models.permuted_to_expanded(rng, capacity, integer)
    return arguments, convention, live, scale_rows


def build(case: Combination, seed: int = 0) -> Built:
    rng = np.random.default_rng(seed)
    arguments, convention, live, scale_rows = _rows(case, rng)
    experts = len(live) if case.rows == "masked" else None
    segments = None if experts else models.SEGMENTS.get(case.rows)
    columns, capacity, stored = case.columns, case.capacity, case.stored_columns
    lead = () if experts is None else (experts,)

    def placed(dtype: Any, width: int, gap: int) -> Placed:
        stride = width + (gap if case.odd else 0)
        parts = (capacity * stride + (gap if case.odd else 0),) * len(lead)
        first = 16 + np.dtype(dtype).itemsize if case.odd else 16
        return Placed(dtype, (*lead, capacity, width), (*parts, stride, 1), first)

    x = placed(cases.CODES[case.input], stored, 3)
    values = cases.values_of(rng, (int(live.sum()), stored), case.input)
    x.array[live if lead else live[0]] = values  # dead rows stay NaN: nobody may read them
    options: dict[str, Any] = {"padding": case.padding, "expected_rows": case.expected_rows}
    if case.input in ("e4m3", "bf16"):
        options["x_format"] = case.input
    x_scale: ScaleTensor | None = None
    if case.input == "e4m3":
        x_scale = scale_forms.make(case.x_form, stored, capacity, experts, segments, case.odd)
        exponents = rng.uniform(-6, 2, (*x_scale.offsets.shape[:2], x_scale.blocks))
        scales = np.exp2(exponents if case.x_form.format == "fp32" else np.floor(exponents)).astype(np.float32)
        scale_forms.fill(x_scale, scales)
        options |= scale_forms.options("x", case.x_form)
    format, _, scaling = case.output.partition(" ")
    out = placed({**cases.CODES, "e5m2": np.uint8}[format], columns, 3)
    options["out_format"] = format
    out_scale: ScaleTensor | None = None
    if scaling:
        options["out_scaling"] = scaling
    if scaling == "block":
        out_scale = scale_forms.make(case.out_form, columns, capacity, experts, segments, case.odd)
        options |= scale_forms.options("out", case.out_form)
    elif scaling == "row":
        out_scale = scale_forms.make_per_row(capacity, experts, case.odd)
    elif scaling == "tensor":
        options["static_scale"] = np.array([0.037], np.float32)
    if case.rounding is not None:
        options["scale_rounding"] = case.rounding
    copy = None if case.copy == "none" else placed(cases.CODES[case.copy], columns, 5)
    if case.copy == "bf16":
        options["unquantized_format"] = "bf16"
    weights = (*lead, capacity) if case.rows in ("dense", "prefix", "masked") else (2 * capacity + 1,)
    model = models.make(case, rng, weights)
    return Built(
        x, x_scale, out, out_scale, copy, model, options | model.options, arguments, convention, live, scale_rows
    )


@dataclass(frozen=True)
class Memories:
    """Of what a launch writes, on its device."""

    out: Any
    out_scale: Any
    copy: Any

    def back(self) -> Memories:
        return Memories(*(None if memory is None else back(memory) for memory in vars(self).values()))

    def same_bytes(self, other: Memories) -> bool:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return all(mine is its or mine.tobytes() == its.tobytes() for mine, its in pairs)


def arguments(built: Built, device: str, written: Memories) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors on the device, and options."""

    def place(array: np.ndarray) -> Any:
        if device == "cpu":
            return array
        import torch

        return torch.from_numpy(array).cuda()

    tensors: dict[str, Any] = {"x": built.x.on(device, built.x.copy_to(device))} | built.rows(place)
    if built.x_scale is not None:
        tensors["x_scale"] = built.x_scale.placed.on(device, built.x_scale.placed.copy_to(device))
    tensors["out"] = built.out.on(device, written.out)
    if built.out_scale is not None:
        tensors["out_scale"] = built.out_scale.placed.on(device, written.out_scale)
    if built.copy is not None:
        tensors["out_unquantized"] = built.copy.on(device, written.copy)
    tensors |= {name: place(array) for name, array in built.model.arrays.items()}
    bias = built.model.bias
    if bias is not None:
        tensors["bias"] = as_bf16(bias.on(device, bias.copy_to(device)))
    options = dict(built.options)
    if "static_scale" in options:
        tensors["static_scale"] = place(options.pop("static_scale"))
    return tensors, options


def as_bf16(bias: Any) -> Any:
    """Codes of bfloat16 as numbers; fp32 as it is."""
    if isinstance(bias, np.ndarray):
        return bias.view(ml_dtypes.bfloat16) if bias.dtype == np.uint16 else bias
    import torch

    return bias.view(torch.bfloat16) if bias.dtype == torch.int16 else bias


def memories(built: Built, device: str) -> Memories:
    """All NaN."""
    tensors = (built.out, None if built.out_scale is None else built.out_scale.placed, built.copy)
    return Memories(*(None if tensor is None else tensor.copy_to(device) for tensor in tensors))


def plan(built: Built, device: str) -> moe_act.Plan:
    tensors, options = arguments(built, device, memories(built, device))
    return moe_act.plan(**tensors, **options)


def run(built: Built, device: str, plan: moe_act.Plan | None = None) -> Memories:
    """What is there after a launch."""
    written = memories(built, device)
    tensors, options = arguments(built, device, written)
    if plan is None:
        moe_act.gated_act_quant(**tensors, **options)
    else:
        plan.run(**tensors)
    if device != "cpu":
        import torch

        torch.cuda.synchronize()
    return written.back()


def results(built: Built, written: Memories) -> tuple[np.ndarray, np.ndarray | None]:
    """Codes [live rows, H] and scales, float32 [live rows, blocks], out of the memory after a launch."""
    tensor = built.out_scale
    delivered = None
    if tensor is not None and written.out_scale is not None:
        delivered = tensor.as_described(tensor.placed.on("cpu", written.out_scale))
    return of_live_rows(built, built.out.on("cpu", written.out), delivered)


def of_live_rows(built: Built, out: np.ndarray, scale: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """The same out of result tensors."""
    columns = built.out.shape[-1]
    codes = out.reshape(-1, columns)[built.live.ravel()]
    tensor = built.out_scale
    if tensor is None or scale is None:
        return codes, None
    if tensor.form.layout == "row":
        return codes, np.ascontiguousarray(scale.reshape(-1)[built.live.ravel()][:, None])
    dense = to_rows(scale, tensor.form.layout, rows=tensor.height, columns=columns, block=tensor.form.block)
    swizzled = tensor.form.layout == "swizzled_128x4"
    part, row = np.nonzero(built.live)
    scale_row = built.scale_rows[part, row] if swizzled else row
    return codes, np.ascontiguousarray(dense.reshape(tensor.parts, -1, tensor.blocks)[part, scale_row])

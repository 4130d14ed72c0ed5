"""Which rows each convention calls live, worked out the slow way, and where their scales lie."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from .formats import Array


def live_rows(convention: Any, rows: int, experts: int | None) -> tuple[Array, Array]:
    """The live rows, ascending, and the row of each in a swizzled scale tensor.

    rows: of x, of each expert where there are `experts`; the rows of expert e are then e * rows and those after it.
    """
    name = type(convention).__name__
    if name in ("ExpertOffsets", "ExpertEnds", "Masked"):
        return _segments(name, convention, rows, experts)
    live = np.array([row for row in range(rows) if _is_live(name, convention, row, rows)], np.int64)
    if name == "SortedTokenIds" and convention.buffer_row == "id":
        live = _ids(convention, rows)
    return live, live


def _is_live(name: str, convention: Any, row: int, rows: int) -> bool:
    if name == "ValidPrefix":
        return row < _number(convention.valid_rows)
    if name == "RowToExpert":
        return bool(np.asarray(convention.row_to_expert)[row] >= 0)
    if name == "TileLimits":
        limits, tile = np.asarray(convention.tile_limits), row // convention.tile_tokens
        tiles = len(limits) if convention.num_live_tiles is None else _number(convention.num_live_tiles)
        return tile < min(tiles, len(limits)) and row < int(limits[tile])
    if name == "SortedTokenIds":
        ids = np.asarray(convention.sorted_token_ids)
        in_use = row < min(len(ids), _number(convention.num_tokens_post_padded))
        return in_use and 0 <= int(ids[row]) < convention.num_valid_ids
    raise ValueError(f"rows: expected an object of moe_act.rows, got {name}")


def _ids(convention: Any, rows: int) -> Array:
    ids = np.asarray(convention.sorted_token_ids)[: max(0, _number(convention.num_tokens_post_padded))]
    return np.unique(ids[(ids >= 0) & (ids < min(convention.num_valid_ids, rows))]).astype(np.int64)


def _segments(name: str, convention: Any, rows: int, experts: int | None) -> tuple[Array, Array]:
    live, scale_rows = [], []
    if name == "Masked":
        for expert, count in enumerate(np.asarray(convention.expert_counts).tolist()):
            numbers = np.arange(min(max(count, 0), rows))
            live.append(expert * rows + numbers)
            scale_rows.append(expert * -(-rows // 128) * 128 + numbers)
        assert experts == len(live)
    else:
        if name == "ExpertOffsets":
            offsets = np.clip(np.asarray(convention.expert_offsets), 0, rows).tolist()
            bounds = list(pairwise(offsets))
        else:
            ends = np.clip(np.asarray(convention.expert_ends), 0, rows).tolist()
            step = convention.expert_alignment
            starts = [0] + [-(-end // step) * step for end in ends[:-1]]
            bounds = list(zip(starts, ends, strict=False))
        first = 0
        for begin, end in bounds:
            numbers = np.arange(max(end - begin, 0))
            live.append(begin + numbers)
            scale_rows.append(first + numbers)
            first += -(-len(numbers) // 128) * 128
    empty: list[Array] = [np.zeros(0, np.int64)]
    return np.concatenate(live + empty).astype(np.int64), np.concatenate(scale_rows + empty).astype(np.int64)


def _number(scalar: Any) -> int:
    return int(np.asarray(scalar).reshape(-1)[0])

"""Which rows each convention calls live, worked out the slow way; where their scales lie, whose rows they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from .formats import Array

UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class LiveRows:
    """The rows that have a result, ascending, and what is known of each of them."""

    rows: Array
    scale_rows: Array  # the row in a swizzled scale tensor
    experts: Array  # or UNKNOWN
    weights: Array  # which element of the weight tensor, or UNKNOWN

    @staticmethod
    def of(found: list[tuple[int, int, int, int]]) -> LiveRows:
        """found: (row, scale row, expert, weight), in any order; of a row that is there twice, the first."""
        table = np.array(found, np.int64).reshape(-1, 4)
        _, first = np.unique(table[:, 0], return_index=True)
        return LiveRows(*table[first].T)

    def at(self, rows: Array) -> LiveRows:
        chosen = np.searchsorted(self.rows, rows)
        return LiveRows(rows, self.scale_rows[chosen], self.experts[chosen], self.weights[chosen])


def live_rows(convention: Any, rows: int, experts: int | None) -> LiveRows:
    """rows: of x; of each expert where there are `experts`, those of expert e being e * rows and the ones after it."""
    name = type(convention).__name__
    if name == "Masked":
        return _masked(convention, rows, experts)
    if name in ("ExpertOffsets", "ExpertEnds"):
        return _segments(name, convention, rows)
    found = []
    for row, position, weight in _entries(name, convention, rows):
        expert = _expert(name, convention, row, position)
        if expert is None or expert >= 0:
            found.append((row, row, UNKNOWN if expert is None else expert, weight))
    return LiveRows.of(found)


def _entries(name: str, convention: Any, rows: int) -> Iterator[tuple[int, int, int]]:
    """(row, position, weight): the position is what tiles are counted by."""
    if name in ("Dense", "ValidPrefix"):
        count = rows if name == "Dense" else min(rows, _number(convention.valid_rows))
        yield from ((row, row, row) for row in range(count))
    elif name == "ExpandedToPermuted":
        for entry, row in enumerate(np.asarray(convention.expanded_idx_to_permuted_idx).reshape(-1).tolist()):
            if 0 <= row < rows:
                yield row, row, entry
    elif name == "RowToExpert":
        yield from ((row, row, _expanded(convention, row)) for row in range(rows))
    elif name == "TileLimits":
        limits = np.asarray(convention.tile_limits)
        tiles = len(limits) if convention.num_live_tiles is None else _number(convention.num_live_tiles)
        for row in range(rows):
            tile = row // convention.tile_tokens
            if tile < min(tiles, len(limits)) and row < int(limits[tile]):
                yield row, row, _expanded(convention, row)
    elif name == "SortedTokenIds":
        ids = np.asarray(convention.sorted_token_ids).tolist()
        for position in range(min(len(ids), _number(convention.num_tokens_post_padded))):
            row = ids[position] if convention.buffer_row == "id" else position
            if 0 <= ids[position] < convention.num_valid_ids and row < rows:
                yield row, position, ids[position]
    else:
        raise ValueError(f"rows: expected an object of moe_act.rows, got {name}")


def _expert(name: str, convention: Any, row: int, position: int) -> int | None:
    """None: nobody says; negative: the row is not live."""
    if name == "RowToExpert":
        return int(np.asarray(convention.row_to_expert)[row])
    if convention.tile_to_expert is None:
        return None
    tiles, tile = np.asarray(convention.tile_to_expert), position // convention.tile_tokens
    return int(tiles[tile]) if tile < len(tiles) else -1


def _expanded(convention: Any, row: int) -> int:
    """The row's element of the weights; one that is not there is UNKNOWN."""
    if convention.permuted_to_expanded is None:
        return UNKNOWN
    expanded = np.asarray(convention.permuted_to_expanded)
    return int(expanded[row]) if row < len(expanded) else UNKNOWN


def _masked(convention: Any, rows: int, experts: int | None) -> LiveRows:
    counts = np.asarray(convention.expert_counts).tolist()
    assert experts == len(counts)
    return LiveRows.of(
        [
            (expert * rows + row, expert * -(-rows // 128) * 128 + row, expert, expert * rows + row)
            for expert, count in enumerate(counts)
            for row in range(min(max(count, 0), rows))
        ]
    )


def _segments(name: str, convention: Any, rows: int) -> LiveRows:
    if name == "ExpertOffsets":
        bounds = list(pairwise(np.clip(np.asarray(convention.expert_offsets), 0, rows).tolist()))
    else:
        ends = np.clip(np.asarray(convention.expert_ends), 0, rows).tolist()
        step = convention.expert_alignment
        starts = [0] + [-(-end // step) * step for end in ends[:-1]]
        bounds = list(zip(starts, ends, strict=False))
    found, first = [], 0
    for expert, (begin, end) in enumerate(bounds):
        found += [(row, first + row - begin, expert, _expanded(convention, row)) for row in range(begin, end)]
        first += -(-max(end - begin, 0) // 128) * 128
    return LiveRows.of(found)


def _number(scalar: Any) -> int:
    return int(np.asarray(scalar).reshape(-1)[0])

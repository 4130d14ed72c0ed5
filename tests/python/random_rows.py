"""Random live rows of every convention; shapes depend on the capacity alone, so that one graph or plan takes all."""

from __future__ import annotations

from typing import Any

import numpy as np
from moe_act import rows as conventions

TILE, EXPERTS = 8, 5
KINDS = (
    "map", "prefix", "tile limits", "live tiles", "row to expert", "sorted ids", "offsets", "ends", "masked"
)  # fmt: skip


def make(kind: str, capacity: int, seed: int) -> tuple[type, dict[str, Any], np.ndarray]:
    """The convention, its fields as NumPy arrays, and which rows are live: bool [capacity], masked [EXPERTS, capacity].

    capacity: a multiple of TILE.
    """
    rng = np.random.default_rng(seed)
    some = rng.random(capacity) < rng.uniform(0.1, 0.9)
    count = int(rng.integers(0, capacity + 1))
    row = np.arange(capacity)
    if kind == "map":
        entries = np.full(2 * capacity, -1, np.int64)
        entries[rng.permutation(2 * capacity)[: some.sum()]] = rng.permutation(np.flatnonzero(some))
        return conventions.ExpandedToPermuted, {"expanded_idx_to_permuted_idx": entries}, some
    if kind == "prefix":
        return conventions.ValidPrefix, {"valid_rows": np.array([count], np.int32)}, row < count
    if kind in ("tile limits", "live tiles"):
        tiles = capacity // TILE
        limits = np.arange(tiles) * TILE + rng.integers(0, TILE + 1, tiles)
        fields = {"tile_limits": limits.astype(np.int32), "tile_tokens": TILE}
        live = row < np.repeat(limits, TILE)
        if kind == "live tiles":
            fields["num_live_tiles"] = np.array([count // TILE], np.int32)
            live &= row < count // TILE * TILE
        return conventions.TileLimits, fields, live
    if kind == "row to expert":
        experts = np.where(some, rng.integers(0, EXPERTS, capacity), -1)
        return conventions.RowToExpert, {"row_to_expert": experts.astype(np.int32)}, some
    if kind == "sorted ids":
        ids = np.where(some, rng.permutation(capacity), capacity + 7)
        fields = {"sorted_token_ids": ids.astype(np.int32), "num_valid_ids": capacity}
        fields["num_tokens_post_padded"] = np.array([count], np.int32)
        return conventions.SortedTokenIds, fields, some & (row < count)
    if kind == "masked":
        counts = rng.integers(0, capacity + 1, EXPERTS)
        return conventions.Masked, {"expert_counts": counts.astype(np.int32)}, row < counts[:, None]
    step = TILE if kind == "ends" else 1
    ends = np.sort(rng.integers(0, capacity + 1, EXPERTS))
    begins = -(-np.concatenate([[0], ends[:-1]]) // step) * step
    live = ((row >= begins[:, None]) & (row < ends[:, None])).any(axis=0)
    if kind == "ends":
        return conventions.ExpertEnds, {"expert_ends": ends.astype(np.int32), "expert_alignment": step}, live
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    return conventions.ExpertOffsets, {"expert_offsets": offsets}, live

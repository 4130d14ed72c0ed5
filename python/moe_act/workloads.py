"""The main workload: how DeepSeek-V3 routes tokens to experts, and the tensors that reach the activation.

Everything is made by numpy from a seed: the same arguments give the same bytes on every machine.
Sizes: `hidden` is H, the expert intermediate size; x is [rows, 2H] and out is [rows, H].
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .oracle import encode

BLOCK = 128  # columns that share one scale
POOL_ROWS = 256  # distinct rows of codes; a row of x is one of these under scales of its own
POISON = 0xA5  # fills outputs: as a code it is no NaN, as a scale it is negative, so it never passes for a result

Array = np.ndarray[Any, Any]


def blocks(columns: int) -> int:
    """Scale blocks in a row of so many stored columns."""
    return -(-columns // BLOCK)


@dataclass(frozen=True)
class Routing:
    """Which expert takes which token, and where the row lands in the permuted buffer.

    experts: int64 [tokens, top_k], distinct in each row.
    expanded_idx_to_permuted_idx: int32 [tokens, top_k], every value another row of x.
    total_num_padded_tokens: rows of the permuted buffer, the padding of each expert to a whole tile included.
    """

    experts: Array
    expanded_idx_to_permuted_idx: Array
    total_num_padded_tokens: int
    tile: int


@dataclass(frozen=True)
class Workload:
    """Tensors for one call. The keys of `tensors` and `options` are argument names of the public functions.

    tensors: what the call reads, as numpy arrays (`x`, and where used `x_scale`, the map, the padded total).
    options: the options that are no tensors, such as x_format.
    out, out_scale: POISON in every byte, to be uploaded as the caller's result buffers.
    """

    label: str
    tensors: dict[str, Array]
    options: dict[str, Any]
    rows: int
    hidden: int
    tokens: int | None = None
    tile: int | None = None
    out: Array = field(init=False)
    out_scale: Array = field(init=False)

    def __post_init__(self) -> None:
        scale_shape: tuple[int, ...] = (blocks(self.hidden), self.rows)
        if "total_num_padded_tokens" in self.tensors:
            scale_shape = (scale_shape[0] * scale_shape[1],)  # flat: the stride is on the device
        object.__setattr__(self, "out", np.full((self.rows, self.hidden), POISON, np.uint8))
        poison = np.full((*scale_shape, 4), POISON, np.uint8)
        object.__setattr__(self, "out_scale", poison.view(np.float32)[..., 0])

    @property
    def live(self) -> Array:
        """bool [rows]: rows that the call reads and writes; the others are padding."""
        row_map = self.tensors.get("expanded_idx_to_permuted_idx")
        if row_map is None:
            return np.ones(self.rows, bool)
        live = np.zeros(self.rows, bool)
        live[row_map[row_map >= 0]] = True
        return live

    @property
    def valid_rows(self) -> int:
        row_map = self.tensors.get("expanded_idx_to_permuted_idx")
        return self.rows if row_map is None else int(np.count_nonzero(row_map >= 0))

    @property
    def traffic(self) -> tuple[int, int]:
        """Bytes that one call must move: (per valid row, once per call)."""
        per_row = 2 * self.hidden * self.tensors["x"].itemsize + self.hidden + 4 * blocks(self.hidden)
        if "x_scale" in self.tensors:
            per_row += 4 * blocks(2 * self.hidden)
        row_map = self.tensors.get("expanded_idx_to_permuted_idx")
        return per_row, 0 if row_map is None else row_map.nbytes

    @property
    def bytes(self) -> int:
        """Bytes that one call must move: what valid rows read and write, their scales, and the map."""
        per_row, once = self.traffic
        return self.valid_rows * per_row + once


def expert_groups(experts: int) -> tuple[int, int]:
    """(groups, groups per token): 8 and 4 as in DeepSeek-V3 where 8 groups of 2 or more fit, else 1 and 1."""
    return (8, 4) if experts % 8 == 0 and experts >= 16 else (1, 1)


def check_routing(experts: int, top_k: int) -> None:
    """Raises ValueError, with one line to show a user, where no token could get top_k experts."""
    if experts < 1:
        raise ValueError(f"experts: expected at least 1, got {experts}")
    groups, used = expert_groups(experts)
    limit = experts // groups * used
    if not 1 <= top_k <= limit:
        of = f"{used} of {groups} groups of {experts // groups} experts" if groups > 1 else "ungrouped experts"
        raise ValueError(f"top_k: expected 1 to {limit} ({of}), got {top_k}")


def tile_rows(tokens: int, top_k: int, experts: int) -> int:
    """Rows of one GEMM tile: the power of two that holds an expert's average of rows, between 8 and 128.

    Grouped GEMMs take small tiles for few tokens, so that little is spent on padding.
    """
    average = -(-tokens * top_k // experts)
    return min(128, max(8, 1 << (average - 1).bit_length()))


def select_experts(scores: Array, bias: Array, top_k: int) -> Array:
    """int64 [tokens, top_k]: the experts of each token, by scores [tokens, experts] and bias [experts].

    A group's score is the sum of its two best biased scores; a token's experts are the best by biased score
    in its best groups. The bias only selects: it balances load and never enters the routing weights.
    """
    tokens, experts = scores.shape
    groups, used = expert_groups(experts)
    biased = scores + bias
    if groups > 1:
        grouped = biased.reshape(tokens, groups, experts // groups)
        group_score = np.partition(grouped, -2, axis=2)[:, :, -2:].sum(axis=2)
        dropped = np.argpartition(group_score, groups - used, axis=1)[:, : groups - used]
        np.put_along_axis(grouped, dropped[:, :, None], -np.inf, axis=1)  # a view: this masks `biased`
    return np.argpartition(biased, experts - top_k, axis=1)[:, experts - top_k :]


def route(tokens: int, *, experts: int = 256, top_k: int = 8, tile: int | None = None, seed: int = 0) -> Routing:
    """Routes `tokens` random tokens as DeepSeek-V3 does: sigmoid scores, bias, best groups, best experts.

    The rows of one expert lie together in the permuted buffer, in token order, padded to a whole tile.
    Raises ValueError for sizes that cannot be.
    """
    if tokens < 1:
        raise ValueError(f"tokens: expected at least 1, got {tokens}")
    check_routing(experts, top_k)
    tile = tile or tile_rows(tokens, top_k, experts)
    random = np.random.default_rng([seed, tokens, experts, top_k])
    scores = 1 / (1 + np.exp(-random.standard_normal((tokens, experts), np.float32)))
    bias = 0.05 * random.standard_normal(experts, np.float32)
    chosen = select_experts(scores, bias, top_k)

    flat = chosen.ravel()
    counts = np.bincount(flat, minlength=experts)
    padded = -(-counts // tile) * tile
    first_row = np.cumsum(padded) - padded
    first_rank = np.cumsum(counts) - counts
    order = np.argsort(flat, kind="stable")
    row_of = np.empty(flat.size, np.int32)
    row_of[order] = np.arange(flat.size) - first_rank[flat[order]] + first_row[flat[order]]
    return Routing(chosen, row_of.reshape(chosen.shape), int(padded.sum()), tile)


def quantized_rows(rows: int, columns: int, random: np.random.Generator) -> tuple[Array, Array]:
    """Normal values in e4m3, scaled per block: uint8 codes [rows, columns], fp32 scales [rows, blocks]."""
    values = random.standard_normal((rows, columns), np.float32)
    amax = np.maximum.reduceat(np.abs(values), np.arange(0, columns, BLOCK), axis=1)
    scale = np.maximum(amax / 448, np.finfo(np.float32).tiny)
    return encode(values / np.repeat(scale, BLOCK, axis=1)[:, :columns], "e4m3"), scale


def deepseek_v3(
    tokens: int,
    *,
    hidden: int = 2048,
    experts: int = 256,
    top_k: int = 8,
    tile: int | None = None,
    seed: int = 0,
) -> Workload:
    """The main workload: e4m3 [rows, 2H] in permuted order with column-major 1x128 scales.

    Padding rows hold NaN codes under NaN scales, so that a result that depends on them shows it.
    Raises ValueError for sizes that cannot be.
    """
    if hidden < 1:
        raise ValueError(f"hidden: expected at least 1, got {hidden}")
    routing = route(tokens, experts=experts, top_k=top_k, tile=tile, seed=seed)
    rows = routing.total_num_padded_tokens
    random = np.random.default_rng([seed, tokens, hidden])
    pool, pool_scale = quantized_rows(POOL_ROWS, 2 * hidden, random)
    picked = random.integers(0, POOL_ROWS, rows)
    row_scale = np.exp(0.5 * random.standard_normal(rows, np.float32))
    x = pool[picked]
    x_scale = np.ascontiguousarray((pool_scale[picked] * row_scale[:, None]).T)

    padding = np.ones(rows, bool)
    padding[routing.expanded_idx_to_permuted_idx.ravel()] = False
    x[padding] = 0x7F
    x_scale[:, padding] = np.nan
    return Workload(
        label=f"{tokens} token{'s' if tokens > 1 else ''}",
        tensors={
            "x": x,
            "x_scale": x_scale.ravel(),  # flat: the stride between blocks is the padded total
            "expanded_idx_to_permuted_idx": routing.expanded_idx_to_permuted_idx,
            "total_num_padded_tokens": np.array([rows], np.int32),
        },
        options={"x_format": "e4m3"},
        rows=rows,
        hidden=hidden,
        tokens=tokens,
        tile=routing.tile,
    )

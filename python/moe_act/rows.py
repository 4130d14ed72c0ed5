"""Which rows there are: one class for each convention that inference engines use.

An instance is the ``rows`` of :func:`moe_act.gated_act_quant`. Index tensors are int32 or int64, lie on the device of
``x`` and are read there; nothing waits for them. Counts below 0 are 0, and none reaches beyond ``x``.

Every class takes two more, by keyword:

tile_to_expert: ``[tiles]``: the expert of every ``tile_tokens`` rows (of sorted ids: positions), where the convention
    does not say it and bias or parameters need it. Rows of a tile whose expert is negative are not done.
permuted_to_expanded: ``[rows]``: which element of ``weight`` is a row's, where the convention does not say it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ._frameworks import RowConvention, Said

__all__ = [
    "Dense",
    "ExpandedToPermuted",
    "ExpertEnds",
    "ExpertOffsets",
    "Masked",
    "RowToExpert",
    "SortedTokenIds",
    "TileLimits",
    "ValidPrefix",
]


@dataclass(frozen=True, eq=False, kw_only=True)
class _WithExperts(RowConvention):
    tile_to_expert: Any = None
    permuted_to_expanded: Any = None

    def _with_experts(self, said: Said, tile_tokens: int) -> Said:
        return said._replace(
            tile_tokens=tile_tokens,
            tile_to_expert=self.tile_to_expert,
            permuted_to_expanded=self.permuted_to_expanded,
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class _Tiled(_WithExperts):
    """The conventions that have no tiles but those of ``tile_to_expert``."""

    tile_tokens: int = 0

    def _said(self) -> Said:
        return self._with_experts(self._rows(), self.tile_tokens)

    def _rows(self) -> Said:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Dense(_Tiled):
    """Every row: for ``tile_to_expert`` beside it; without, no convention says the same."""

    def _rows(self) -> Said:
        return Said("dense")


@dataclass(frozen=True, eq=False)
class ExpandedToPermuted(_Tiled):
    """The rows that a map names: FlashInfer, TensorRT-LLM.

    expanded_idx_to_permuted_idx: ``[n]`` or ``[tokens, top_k]``: rows, each at most once; -1 is skipped.
    """

    expanded_idx_to_permuted_idx: Any

    def _rows(self) -> Said:
        return Said(
            "expanded_to_permuted",
            index_name="expanded_idx_to_permuted_idx",
            index=self.expanded_idx_to_permuted_idx,
        )


@dataclass(frozen=True, eq=False)
class ValidPrefix(_Tiled):
    """The first rows: DeepGEMM with a device-side count, DeepEP v2, gpt-oss kernels.

    valid_rows: one element; rows ``[0, valid_rows)`` are done.
    """

    valid_rows: Any

    def _rows(self) -> Said:
        return Said("valid_prefix", count_name="valid_rows", count=self.valid_rows)


@dataclass(frozen=True, eq=False)
class TileLimits(_WithExperts):
    """Tiles of rows, each with its first invalid row: TensorRT-LLM's batched GEMMs (``mn_limit``).

    tile_limits: ``[tiles]``; of tile ``t``, rows ``[t * tile_tokens, tile_limits[t])`` are done.
    tile_tokens: rows of a tile.
    num_live_tiles: one element: only so many tiles count; all of them if it is left out.
    """

    tile_limits: Any
    tile_tokens: int
    num_live_tiles: Any = None

    def _said(self) -> Said:
        said = Said(
            "tile_limits",
            index_name="tile_limits",
            index=self.tile_limits,
            count_name="num_live_tiles",
            count=self.num_live_tiles,
        )
        return self._with_experts(said, self.tile_tokens)


@dataclass(frozen=True, eq=False)
class RowToExpert(_Tiled):
    """The expert of every row, negative for padding: DeepGEMM's contiguous layout (``m_indices``), TileKernels.

    row_to_expert: ``[rows]``.
    """

    row_to_expert: Any

    def _rows(self) -> Said:
        return Said("row_to_expert", index_name="row_to_expert", index=self.row_to_expert)


@dataclass(frozen=True, eq=False)
class SortedTokenIds(_Tiled):
    """Positions sorted by expert, padded to blocks: vLLM's ``moe_align_block_size``.

    sorted_token_ids: ``[positions]``: the expanded id at each position; ids from ``num_valid_ids`` on, or below 0, are
        padding.
    num_valid_ids: how many expanded ids there are.
    num_tokens_post_padded: one element: positions from there on are not in use.
    buffer_row: where a position's row lies in the buffers: at the "position" (permuted activations), or at the "id"
        (vLLM's own fused kernel).
    """

    sorted_token_ids: Any
    num_valid_ids: int
    num_tokens_post_padded: Any
    buffer_row: Literal["position", "id"] = "position"

    def _rows(self) -> Said:
        return Said(
            "sorted_token_ids",
            index_name="sorted_token_ids",
            index=self.sorted_token_ids,
            count_name="num_tokens_post_padded",
            count=self.num_tokens_post_padded,
            num_valid_ids=self.num_valid_ids,
            buffer_row=self.buffer_row,
        )


@dataclass(frozen=True, eq=False)
class ExpertOffsets(_Tiled):
    """Rows one expert after the other: torch ``grouped_mm``, CUTLASS.

    expert_offsets: ``[experts + 1]``, never decreasing; expert ``e`` has rows ``[offsets[e], offsets[e + 1])``.
    """

    expert_offsets: Any

    def _rows(self) -> Said:
        return Said("expert_offsets", index_name="expert_offsets", index=self.expert_offsets)


@dataclass(frozen=True, eq=False)
class ExpertEnds(_Tiled):
    """Rows one expert after the other, each beginning at a multiple: DeepGEMM's prefix sums (psum).

    expert_ends: ``[experts]``, never decreasing; expert ``e`` has rows from ``expert_ends[e - 1]``, aligned up, to
        ``expert_ends[e]``.
    expert_alignment: rows that beginnings are aligned up to; 1 for none.
    """

    expert_ends: Any
    expert_alignment: int = 1

    def _rows(self) -> Said:
        return Said(
            "expert_ends",
            index_name="expert_ends",
            index=self.expert_ends,
            expert_alignment=self.expert_alignment,
        )


@dataclass(frozen=True, eq=False)
class Masked(_Tiled):
    """Every expert has room for as many rows: DeepGEMM's masked layout, DeepEP low latency.

    ``x`` is ``[experts, rows, 2H]``, ``out`` ``[experts, rows, H]``, and scales have a leading ``[experts]``, too; the
    experts' parts may lie any distance apart.

    expert_counts: ``[experts]``; of expert ``e``, its first ``expert_counts[e]`` rows are done.
    """

    expert_counts: Any

    def _rows(self) -> Said:
        return Said("masked", index_name="expert_counts", index=self.expert_counts)

"""The operation's arguments as an operator of torch takes them: tensors, numbers and words, but no Python objects.

What is taken apart: ``rows``, ``numerics``, and ``alpha``, ``beta`` and ``limit``, which are numbers or tensors.
"""

from __future__ import annotations

from typing import Any

import torch

from . import rows as conventions
from ._frameworks import RowConvention, Said
from .numerics import Numerics

_NUMBERS_OR_TENSORS = ("alpha", "beta", "limit")
_PARTS = ("product_rounding", "smallest_amax", "smallest_scale", "quantization", "clamp_rounding")
_ROWS = ("tile_tokens", "expert_alignment", "num_valid_ids", "buffer_row", "tile_to_expert", "permuted_to_expanded")
_APART = {"row_kind", "row_index", "row_count", *_ROWS, *_PARTS, *(f"{name}_of_expert" for name in _NUMBERS_OR_TENSORS)}

# What each convention calls its tensors.
_CONVENTIONS = {
    said.kind: said
    for said in (
        conventions.Dense()._said(),
        conventions.ExpandedToPermuted(None)._said(),
        conventions.ValidPrefix(None)._said(),
        conventions.TileLimits(None, 0)._said(),
        conventions.RowToExpert(None)._said(),
        conventions.SortedTokenIds(None, 0, None)._said(),
        conventions.ExpertOffsets(None)._said(),
        conventions.ExpertEnds(None)._said(),
        conventions.Masked(None)._said(),
    )
}


class _Named(RowConvention):
    """The convention of a name."""

    def __init__(self, kind: str, **fields: Any) -> None:
        self._answer = _CONVENTIONS.get(kind, Said(kind))._replace(**fields)

    def _said(self) -> Said:
        return self._answer


def take_apart(options: dict[str, Any]) -> dict[str, Any]:
    """The operators' arguments for those of :func:`moe_act.gated_act_quant`."""
    arguments = dict(options)
    rows = arguments.pop("rows", None)
    if rows is not None:
        if not isinstance(rows, RowConvention):
            raise TypeError(f"rows: expected an object of moe_act.rows, got {type(rows).__name__}")
        said = rows._said()
        arguments |= {"row_kind": said.kind, "row_index": said.index, "row_count": said.count}
        arguments |= {name: getattr(said, name) for name in _ROWS}
    numerics = arguments.get("numerics")
    if isinstance(numerics, Numerics):
        arguments |= {"numerics": numerics.preset} | {name: getattr(numerics, name) for name in _PARTS}
    for name in _NUMBERS_OR_TENSORS:
        if isinstance(arguments.get(name), torch.Tensor):
            arguments[f"{name}_of_expert"] = arguments.pop(name)
    return arguments


def put_together(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of :func:`moe_act.gated_act_quant` for the operators'."""
    if _APART.isdisjoint(arguments):
        return arguments
    options = dict(arguments)
    kind = options.pop("row_kind", None)
    fields = {name: options.pop(name) for name in _ROWS if name in options}
    index, count = options.pop("row_index", None), options.pop("row_count", None)
    if kind is not None:
        options["rows"] = _Named(kind, index=index, count=count, **fields)
    elif index is not None or count is not None:
        raise ValueError("row_kind: expected the name of a convention, as its tensors are given")
    parts = {name: options.pop(name) for name in _PARTS if name in options}
    if parts:
        options["numerics"] = Numerics(options.get("numerics", "flashinfer"), **parts)
    for name in _NUMBERS_OR_TENSORS:
        if f"{name}_of_expert" in options:
            options[name] = options.pop(f"{name}_of_expert")
    return options

"""The operation's arguments as an operator of torch takes them: tensors, numbers and words, but no Python objects.

What is taken apart: ``rows``, ``numerics``, and ``alpha``, ``beta`` and ``limit``, which are numbers or tensors.
The compiled module puts them together again.
"""

from __future__ import annotations

from typing import Any

import torch

from ._frameworks import RowConvention, Said
from .numerics import Numerics

_NUMBERS_OR_TENSORS = ("alpha", "beta", "limit")
_PARTS = ("product_rounding", "smallest_amax", "smallest_scale", "quantization", "clamp_rounding")
_ROWS = ("tile_tokens", "expert_alignment", "num_valid_ids", "buffer_row", "tile_to_expert", "permuted_to_expanded")
_ROW_DEFAULTS = tuple((name, Said._field_defaults[name]) for name in _ROWS)
# Of the run alone: results look the same whatever they are.
_OF_THE_RUN = {"row_kind", *_ROWS, "padding", "pdl", "expected_rows", "validate", "unquantized_format"}


def take_apart(options: dict[str, Any]) -> dict[str, Any]:
    """The operators' arguments for those of :func:`moe_act.gated_act_quant`: as few as say the same."""
    arguments = dict(options)
    rows = arguments.pop("rows", None)
    if rows is not None:
        if not isinstance(rows, RowConvention):
            raise TypeError(f"rows: expected an object of moe_act.rows, got {type(rows).__name__}")
        said = rows._said()
        arguments |= {"row_kind": said.kind, "row_index": said.index, "row_count": said.count}
        for name, default in _ROW_DEFAULTS:
            value = getattr(said, name)
            if value is not default:
                arguments[name] = value
    numerics = arguments.get("numerics")
    if isinstance(numerics, Numerics):
        arguments |= {"numerics": numerics.preset} | {name: getattr(numerics, name) for name in _PARTS}
    for name in _NUMBERS_OR_TENSORS:
        if isinstance(arguments.get(name), torch.Tensor):
            arguments[f"{name}_of_expert"] = arguments.pop(name)
    return arguments


def of_the_results(arguments: dict[str, Any]) -> dict[str, Any]:
    """The options of :func:`moe_act.gated_act_quant` among the operators' arguments that results depend on."""
    words = {name: value for name, value in arguments.items() if isinstance(value, (str, float, int))}
    options: dict[str, Any] = {name: value for name, value in words.items() if name not in _OF_THE_RUN}
    parts: dict[str, Any] = {name: options.pop(name) for name in _PARTS if name in options}
    if parts:
        options["numerics"] = Numerics(options.get("numerics", "flashinfer"), **parts)
    return options

"""The operation as a custom operator of torch: it may stand in compiled graphs, with any number of tokens.

    >>> import torch, moe_act.torch
    >>> block = torch.compile(lambda x: moe_act.torch.gated_act_quant(x), fullgraph=True)
    >>> out, out_scale = block(torch.randn(4, 512))  # float8_e4m3fn [4, 256], float32 [2, 4]

Importing this module registers ``torch.ops.moe_act.gated_act_quant``, which allocates its results, and
``torch.ops.moe_act.gated_act_quant.out``, which writes given ones, for tensors on the CPU and on CUDA devices. Their
arguments are those of :func:`moe_act.gated_act_quant` on torch's current stream, with Python objects taken apart:
docs/torch.md. The overloads ``plain`` and ``plain_out`` are the same for calls of a few arguments.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from . import _core, _face, _frameworks, scales
from ._frameworks import Result
from ._operator_arguments import of_the_results, take_apart
from .rows import Masked

__all__ = ["gated_act_quant"]


def gated_act_quant(
    x: torch.Tensor,
    x_scale: torch.Tensor | None = None,
    *,
    out: torch.Tensor | None = None,
    out_scale: torch.Tensor | None = None,
    out_unquantized: torch.Tensor | None = None,
    **options: Any,
) -> Result:
    """:func:`moe_act.gated_act_quant` for torch tensors, eager or inside a compiled graph.

    Args:
        x: ``[rows, 2H]`` as there; its gradient is not computed.
        x_scale: as there.
        out: written, and ``out_scale`` with it where there are scales: either both are given or both are allocated.
        out_scale: as there.
        out_unquantized: as there, beside ``out``.
        options: the other arguments, as there. There is no ``stream``: it is torch's current one.

    Returns:
        ``(out, out_scale)``, as there.

    Raises:
        The errors of :func:`moe_act.gated_act_quant`; ValueError, too, for tensors that require grad, unless gradients
        are off (``torch.no_grad``, ``torch.inference_mode``).
    """
    if out is None:
        for name, result in (("out_scale", out_scale), ("out_unquantized", out_unquantized)):
            if result is not None:
                raise ValueError(f"out: expected a tensor, as {name} is given")
    if out_unquantized is None and options.keys() <= _PLAIN.keys():
        plain = map(options.get, _PLAIN, _PLAIN.values())
        if out is None:
            return Result(*_run_plain(x, x_scale, *plain))
        _run_plain_out(x, x_scale, out, out_scale, *plain)
        return Result(out, out_scale)
    arguments = take_apart(options)
    if out is None:
        return Result(*_run(x, x_scale, **arguments))
    _run_out(x, x_scale, out=out, out_scale=out_scale, out_unquantized=out_unquantized, **arguments)
    return Result(out, out_scale)


_RESULTS = "Tensor(a!) out, Tensor(b!)? out_scale=None, Tensor(c!)? out_unquantized=None, str? unquantized_format=None"
_OPTIONS = """
    Tensor? static_scale=None, Tensor? expanded_idx_to_permuted_idx=None, Tensor? total_num_padded_tokens=None,
    str? row_kind=None, Tensor? row_index=None, Tensor? row_count=None, SymInt tile_tokens=0,
    SymInt expert_alignment=0, SymInt num_valid_ids=0, str buffer_row="position",
    Tensor? tile_to_expert=None, Tensor? permuted_to_expanded=None,
    str? x_format=None, str x_scale_layout="column_major", str? x_scale_format=None, int? x_block=None,
    str out_format="e4m3", str? out_scaling=None, str out_scale_layout="column_major", str? out_scale_format=None,
    int? out_block=None, str? scale_rounding=None, str activation="swiglu", str gate="second_half",
    Tensor? bias=None, float? alpha=None, float? beta=None, float? limit=None,
    Tensor? alpha_of_expert=None, Tensor? beta_of_expert=None, Tensor? limit_of_expert=None,
    float? gate_bound=None, float? up_bound=None, int? interleave=None, Tensor? weight=None,
    str numerics="flashinfer", str? product_rounding=None, float? smallest_amax=None, float? smallest_scale=None,
    str? quantization=None, str? clamp_rounding=None,
    str? padding=None, str pdl="off", SymInt? expected_rows=None, bool validate=False
"""
# What most calls have, with its defaults. By position: of five tensors torch takes 2.8 us so, 4.9 by their names.
_PLAIN = {
    "expanded_idx_to_permuted_idx": None,
    "total_num_padded_tokens": None,
    "out_scale_layout": "column_major",
    "out_scale_format": None,
}
_PLAIN_OPTIONS = """
    Tensor? expanded_idx_to_permuted_idx=None, Tensor? total_num_padded_tokens=None,
    str out_scale_layout="column_major", str? out_scale_format=None
"""


def _count_writes_singly(written: list[torch.Tensor]) -> None:
    for tensor in written:
        if not tensor.is_inference():
            torch.autograd.graph.increment_version(tensor)


def _choose_count_writes() -> Callable[[list[torch.Tensor]], None]:
    """How autograd is told, as by any operation in place: at once where torch takes a list, which saves 0.5 us."""
    count_writes: Callable[[list[torch.Tensor]], None] = torch.autograd.graph.increment_version
    try:
        count_writes([])
    except TypeError:
        return _count_writes_singly
    return count_writes


def _fake(x: torch.Tensor, x_scale: torch.Tensor | None = None, **arguments: Any) -> tuple[Any, Any]:
    """Results without data: shapes may be symbolic."""
    _require_no_gradient(x=x, x_scale=x_scale, **arguments)
    problem = _delivered(x, arguments)
    *lead, rows, columns = x.shape
    columns = columns // (_STAND_IN_COLUMNS // problem["columns"])
    out = _frameworks.empty_like(x, (*lead, rows, columns), problem["out_format"])
    if problem["out_scaling"] not in ("block", "row"):
        return out, None
    layout = problem["out_scale_layout"]
    if problem["out_scaling"] == "row":
        layout = "row"
    elif layout == "column_major" and arguments.get("total_num_padded_tokens") is not None and not lead:
        layout = "flat"
    elif layout == "swizzled_128x4":
        rows = scales.padded_rows(rows, _segments(**arguments))
    blocks = -(-columns // problem["out_block"]) if layout != "row" else 1
    experts = lead[0] if lead else None
    return out, _frameworks.empty_scale_like(x, layout, problem["out_scale_format"], rows, blocks, experts)


def _fake_out(x: torch.Tensor, x_scale: torch.Tensor | None = None, **arguments: Any) -> None:
    _require_no_gradient(x=x, x_scale=x_scale, **arguments)
    _delivered(x, arguments)


def _fake_plain(x: torch.Tensor, x_scale: torch.Tensor | None = None, *plain: Any) -> tuple[Any, Any]:
    return _fake(x, x_scale, **dict(zip(_PLAIN, plain, strict=False)))


def _fake_plain_out(x: torch.Tensor, x_scale: torch.Tensor | None, out: Any, out_scale: Any, *plain: Any) -> None:
    _fake_out(x, x_scale, out=out, out_scale=out_scale, **dict(zip(_PLAIN, plain, strict=False)))


def _require_no_gradient(**arguments: Any) -> None:
    for name, value in arguments.items():
        if torch.is_grad_enabled() and isinstance(value, torch.Tensor) and value.requires_grad:
            raise ValueError(
                f"{name}: expected a tensor that does not require grad (the operation has no gradient); pass .detach()"
            )


def _segments(row_kind: str | None = None, row_index: Any = None, **_: Any) -> Any:
    """How many experts' rows the swizzled layout pads, each to its tile."""
    if row_kind == "expert_offsets":
        return row_index.shape[0] - 1
    return row_index.shape[0] if row_kind == "expert_ends" else None


_STAND_IN_COLUMNS = 256
_FORMATS = {getattr(torch, _frameworks._TORCH_DTYPES[format]): format for format in ("fp32", "fp16", "bf16", "e4m3")}


def _delivered(x: torch.Tensor, arguments: dict[str, Any]) -> dict[str, Any]:
    """What the operation delivers: the description of the problem with one row of few columns in the place of x."""
    options = of_the_results(arguments)
    options.setdefault("x_format", _FORMATS.get(x.dtype))
    masked, static = arguments.get("row_kind") == "masked", arguments.get("static_scale") is not None
    return _describe(x.ndim, masked, static, tuple(options.items()))


@functools.lru_cache
def _describe(rank: int, masked: bool, static: bool, options: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    named = dict(options)
    x = _frameworks.empty_like(np.empty(0), (*(1,) * (rank - 1), _STAND_IN_COLUMNS), named["x_format"] or "fp32")
    x_scale = None
    if named["x_format"] == "e4m3":
        x_scale = scales.empty(
            named.get("x_scale_layout", "column_major"),
            rows=1,
            columns=_STAND_IN_COLUMNS,
            block=named.get("x_block") or 128,
            format=named.get("x_scale_format"),
            experts=1 if masked else None,
        )
    static_scale = np.ones(1, np.float32) if static else None
    rows = Masked(np.zeros(1, np.int32)) if masked else None
    return _face.plan(x, x_scale, static_scale=static_scale, rows=rows, **named).problem


def _register() -> torch.library.Library:
    library = torch.library.Library("moe_act", "FRAGMENT")
    # Strides of scales carry meaning: a compiler must not choose others.
    exact_strides = getattr(torch.Tag, "needs_exact_strides", torch.Tag.needs_fixed_stride_order)
    tags = (torch.Tag.pt2_compliant_tag, exact_strides)
    run, run_out, run_plain, run_plain_out = _core.operator_kernels(_choose_count_writes(), torch.is_grad_enabled)
    allocates, writes = "(Tensor, Tensor?)", "()"
    inputs, plain_results = "Tensor x, Tensor? x_scale", "Tensor(a!) out, Tensor(b!)? out_scale"
    for name, arguments, returns, kernel, fake in (
        ("gated_act_quant", f"{inputs}=None, *, {_OPTIONS}", allocates, run, _fake),
        ("gated_act_quant.out", f"{inputs}=None, *, {_RESULTS}, {_OPTIONS}", writes, run_out, _fake_out),
        ("gated_act_quant.plain", f"{inputs}=None, {_PLAIN_OPTIONS}", allocates, run_plain, _fake_plain),
        (
            "gated_act_quant.plain_out",
            f"{inputs}, {plain_results}, {_PLAIN_OPTIONS}",
            writes,
            run_plain_out,
            _fake_plain_out,
        ),
    ):
        library.define(f"{name}({arguments}) -> {returns}", tags=tags)
        for device in ("CPU", "CUDA"):
            library.impl(name, kernel, device)
        torch.library.register_fake(f"moe_act::{name}", fake, lib=library)
    return library


_library = _register()  # held: what it registered goes when it does
_run, _run_out = torch.ops.moe_act.gated_act_quant.default, torch.ops.moe_act.gated_act_quant.out
_run_plain, _run_plain_out = torch.ops.moe_act.gated_act_quant.plain, torch.ops.moe_act.gated_act_quant.plain_out

"""The operation inside JAX programs: one call that XLA makes, under ``jit`` and ``vmap``, on the CPU and on CUDA.

    >>> import jax, jax.numpy as jnp, moe_act.jax
    >>> block = jax.jit(moe_act.jax.gated_act_quant)
    >>> out, out_scale = block(jnp.ones((4, 512)))  # float8_e4m3fn [4, 256], float32 [2, 4]

It needs jax, and a package that was built where jax was: docs/jax.md.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

try:
    import jax
    import jax.numpy as jnp
    import jaxlib.version
except ImportError as error:
    raise ImportError("moe_act.jax: expected jax >= 0.6: pip install 'jax>=0.6'", name=error.name) from error

try:
    from . import _jax
except ImportError as error:
    raise ImportError(
        "moe_act.jax: this package was built without jax; build it where jax is: "
        "MOE_ACT_JAX=ON pip install --no-build-isolation . (docs/jax.md)",
        name=error.name,
    ) from error

from . import _face, _frameworks, rows
from ._frameworks import Result, RowConvention, Said
from .numerics import Numerics

__all__ = ["ResultWithCopy", "gated_act_quant"]


class ResultWithCopy(NamedTuple):
    """What a call with ``unquantized_format`` delivers.

    out: as without.
    out_scale: as without.
    out_unquantized: what was quantized, of the shape of ``out``, in that format.
    """

    out: Any
    out_scale: Any
    out_unquantized: Any


def gated_act_quant(
    x: Any, x_scale: Any = None, *, rows: RowConvention | None = None, **arguments: Any
) -> Result | ResultWithCopy:
    """:func:`moe_act.gated_act_quant` as a part of a JAX program.

    Nothing is written but the results, which are new arrays: memory that XLA provides. Everything that shapes and
    options can show is checked when the program is traced.

    Under ``jax.vmap`` a batch of dense rows, of valid prefixes or of masked rows, with weights or without, becomes one
    call, with the batch as the experts of masked rows; anything else, as a batched ``static_scale``, is called once for
    each element.

    Args:
        x: ``[rows, 2H]``, or ``[experts, rows, 2H]`` where rows are masked.
        x_scale: as there; scales for TMA lie as in memory, see below.
        rows: an object of :mod:`moe_act.rows`, whose tensors may be traced.
        arguments: the others, as there, tensors and options. There is no ``out``, ``out_scale``, ``out_unquantized``
            and ``stream``, as memory and streams are XLA's own, nor ``validate``, which would wait for the device.
            ``unquantized_format``, "bf16", "fp16" or "fp32", asks for the unquantized copy as a third result. ``pdl``
            is "off" or "on", for CUDA alone: only who launches knows when metadata is ready.

    Returns:
        ``(out, out_scale)``, or ``(out, out_scale, out_unquantized)`` where that is asked for, as there, in JAX's own
        dtypes: float8_e4m3fn, float8_e8m0fnu for ue8m0 scales. Arrays have no strides here: scales of
        "tma_column_major" are ``[blocks, align(rows, 4)]`` and those of "packed_ue8m0" ``[ceil(blocks / 4),
        align(rows, 4)]``, the columns behind ``rows`` unspecified. So are rows that are not done, unless padding is
        "zero", which is the default where it is possible.

    Raises:
        TypeError, ValueError, NotImplementedError: while tracing, as there.
        jax.errors.JaxRuntimeError: while running; what only the device of the call can say, and errors of CUDA.
    """
    for name, why in _NOT_HERE.items():
        if name in arguments:
            raise TypeError(f"{name}: expected none, as {why}")
    if arguments.get("pdl", "off") not in ("off", "on"):
        raise ValueError(f"pdl: expected 'off' or 'on' inside a JAX program, got {arguments['pdl']!r}")
    return _call(x, x_scale, rows, arguments)


_NEW_ARRAYS = "results are new arrays on the device of x"
_NOT_HERE = {
    "out": _NEW_ARRAYS,
    "out_scale": _NEW_ARRAYS,
    "out_unquantized": f"{_NEW_ARRAYS}; unquantized_format asks for one",
    "device": _NEW_ARRAYS,
    "stream": "a JAX program runs on XLA's stream",
    "validate": "a JAX program does not wait for what it would read from the device",
}
_TARGET = "moe_act_gated_act_quant"
_ATTRIBUTE_TYPES = {str: str, int: np.int64, float: np.float32}
_OPTIONS = {name: _ATTRIBUTE_TYPES[type] for name, type in _jax.option_types().items()}
# Operands of the rows of a call; with no others, rows of these kinds become masked rows.
_FOLDED_OPERANDS = frozenset({"x", "x_scale", "row_index", "row_count", "weight"})
_FOLDED_KINDS = frozenset({"dense", "valid_prefix", "masked"})


def _call(
    x: Any, x_scale: Any, convention: RowConvention | None, arguments: Mapping[str, Any]
) -> Result | ResultWithCopy:
    tensors = {name: value for name, value in arguments.items() if _is_tensor(value)}
    options = {name: value for name, value in arguments.items() if name not in tensors and value is not None}
    tensors = {name: _array(name, value) for name, value in {"x": x, "x_scale": x_scale, **tensors}.items()}
    convention = _with_tensors(convention, _array)
    # Refuses what cannot be, and knows what the results are.
    stand_ins = {name: _stand_in(name, value) for name, value in tensors.items()}
    # Programmatic launches are the device's matter, which is not known yet.
    of_results = {name: value for name, value in options.items() if name != "pdl"}
    problem = _face.plan(**stand_ins, rows=_with_tensors(convention, _stand_in), **of_results).problem
    _require_a_copy_that_can_be(options.get("unquantized_format"), problem)

    said = Said(problem["row_kind"]) if convention is None else convention._said()
    map_ = tensors.pop("expanded_idx_to_permuted_idx", None)
    operands = tensors | {"row_index": said.index if map_ is None else map_, "row_count": said.count}
    operands |= {"tile_to_expert": said.tile_to_expert, "permuted_to_expanded": said.permuted_to_expanded}
    operands = {name: value for name, value in operands.items() if value is not None}
    attributes = _attributes(options, said, problem)
    shapes = _result_shapes(problem, options.get("unquantized_format"))

    def run(operands: dict[str, Any]) -> tuple[Any, ...]:
        call = jax.ffi.ffi_call(_TARGET, list(shapes.values()), vmap_method="sequential")
        return tuple(call(*operands.values(), operands=" ".join(operands), results=" ".join(shapes), **attributes))

    call = run
    if said.kind in _FOLDED_KINDS and operands.keys() <= _FOLDED_OPERANDS | {"static_scale"}:
        call = jax.custom_batching.custom_vmap(run)
        call.def_vmap(_batching_rule(run, said.kind, options))
    results = dict(zip(shapes, call(operands), strict=True))
    if "out_unquantized" in results:
        return ResultWithCopy(results["out"], results.get("out_scale"), results["out_unquantized"])
    return Result(results["out"], results.get("out_scale"))


def _batching_rule(run: Any, kind: str, options: Mapping[str, Any]) -> Any:
    """How a batch of calls becomes one: its elements are experts of masked rows."""

    def rule(size: int, batched: list[dict[str, bool]], operands: dict[str, Any]) -> tuple[Any, Any]:
        (is_batched,) = batched
        if is_batched.get("static_scale"):
            results = jax.vmap(run, in_axes=({name: 0 if is_batched[name] else None for name in operands},))(operands)
            return results, (True,) * len(results)
        whole = {
            name: value if is_batched[name] else jnp.broadcast_to(value, (size, *value.shape))
            for name, value in operands.items()
            if name in _FOLDED_OPERANDS
        }
        if kind == "masked":
            whole = {name: value.reshape(-1, *value.shape[2:]) for name, value in whole.items()}
        rows_of_one = operands["x"].shape[-2]
        counts = whole.get("row_index", whole.get("row_count", jnp.full(size, rows_of_one, jnp.int32)))
        others = {name: whole[name] for name in whole.keys() & {"weight"}}
        others |= {name: operands[name] for name in operands.keys() - _FOLDED_OPERANDS}
        result = _call(whole["x"], whole.get("x_scale"), rows.Masked(counts.reshape(-1)), {**options, **others})
        results = tuple(value for value in result if value is not None)
        if kind == "masked":
            results = tuple(value.reshape(size, -1, *value.shape[1:]) for value in results)
        return results, (True,) * len(results)

    return rule


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype") and not isinstance(value, np.generic)


def _array(name: str, value: Any) -> Any:
    return jnp.asarray(value) if _is_tensor(value) else value


_NO_MEMORY = np.empty(64, np.uint8)


def _stand_in(name: str, value: Any) -> Any:
    """A NumPy array of the same dtype and shape without memory for it: plans look at descriptions alone."""
    if not _is_tensor(value):
        return value
    if not all(isinstance(size, int) for size in value.shape):
        raise NotImplementedError(f"{name}: expected a static shape, got {list(value.shape)}")
    dtype = np.dtype(value.dtype)
    strides = [dtype.itemsize * math.prod(value.shape[axis + 1 :]) for axis in range(value.ndim)]
    return np.lib.stride_tricks.as_strided(_NO_MEMORY[: dtype.itemsize].view(dtype), value.shape, strides)


def _with_tensors(convention: Any, change: Callable[[str, Any], Any]) -> Any:
    """The convention with its tensors changed. Anything else as it is: the plan refuses it."""
    if not isinstance(convention, RowConvention) or not dataclasses.is_dataclass(convention):
        return convention
    fields = {field.name: getattr(convention, field.name) for field in dataclasses.fields(convention)}
    return dataclasses.replace(convention, **{name: change(name, value) for name, value in fields.items()})


def _attributes(options: Mapping[str, Any], said: Said, problem: Mapping[str, Any]) -> dict[str, Any]:
    """What the call is told beside its operands: words and numbers under the names of the C interface's options."""
    named = {**options, "padding": problem["padding"], "row_kind": problem["row_kind"]}
    named |= {name: getattr(said, name) for name in ("tile_tokens", "expert_alignment", "num_valid_ids", "buffer_row")}
    numerics = named.pop("numerics", None)
    named |= dataclasses.asdict(numerics) if isinstance(numerics, Numerics) else {"preset": numerics}
    for name in named.keys() - _OPTIONS:
        raise NotImplementedError(f"{name}: expected none, as a call inside a JAX program has no such option")
    return {name: _OPTIONS[name](value) for name, value in named.items() if value is not None}


def _require_a_copy_that_can_be(format: str | None, problem: Mapping[str, Any]) -> None:
    """The library judges copies by their tensors, which there are none of before the program runs."""
    if format is not None and format not in ("bf16", "fp16", "fp32"):
        raise ValueError(f"unquantized_format: expected 'bf16', 'fp16' or 'fp32', got {format!r}")
    if format is not None and problem["out_scaling"] == "none":
        raise ValueError(
            f"unquantized_format: expected None: the result in {problem['out_format']} is not quantized itself"
        )


def _result_shapes(problem: Mapping[str, Any], unquantized_format: str | None) -> dict[str, Any]:
    """The results of the call in their order."""
    experts = problem["experts"] if problem["row_kind"] == "masked" else None
    leading = () if experts is None else (experts,)
    shapes = {"out": _shape((*leading, problem["rows"], problem["columns"]), problem["out_format"])}
    scaling, layout, rows = problem["out_scaling"], problem["out_scale_layout"], problem["rows"]
    if scaling == "row":
        layout = "row"
    elif problem["out_scale_stride"] == -1:
        layout = "flat"
    elif layout == "swizzled_128x4":
        rows = problem["out_scale_stride"]
    if scaling in ("block", "row"):
        blocks = -(-problem["columns"] // problem["out_block"])
        memory = _frameworks.scale_memory(layout, rows, blocks, experts)
        shapes["out_scale"] = _shape(memory, "int32" if layout == "packed_ue8m0" else problem["out_scale_format"])
    if unquantized_format is not None:
        shapes["out_unquantized"] = _shape(shapes["out"].shape, unquantized_format)
    if problem["row_kind"] == "expanded_to_permuted":
        # Large maps run faster with 16 bytes, and four for each row: docs/contract.md.
        shapes["workspace"] = jax.ShapeDtypeStruct((16 + 4 * problem["rows"],), np.uint8)
    return shapes


def _shape(shape: tuple[int, ...], format: str) -> Any:
    return jax.ShapeDtypeStruct(shape, jnp.dtype(_frameworks._TORCH_DTYPES[format]))


def _register() -> None:
    built_with = tuple(int(part) for part in _jax.jaxlib_version().split("."))
    if jaxlib.version.__version_info__ < built_with:
        raise ImportError(
            f"moe_act.jax: expected jaxlib >= {_jax.jaxlib_version()}, with whose headers this package was built, "
            f"got {jaxlib.version.__version__}"
        )
    jax.ffi.register_ffi_target(_TARGET, _jax.cpu_handler(), platform="cpu")
    jax.ffi.register_ffi_target(_TARGET, _jax.cuda_handler(), platform="CUDA")


_register()

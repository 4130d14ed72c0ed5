"""Tensors of the user's own, from an .npz file."""

from __future__ import annotations

import numpy as np

from ..workloads import Array, Workload

TENSORS = ("x", "x_scale", "expanded_idx_to_permuted_idx")
OPTIONS = ("x_format", "gate", "source")
FORMAT_OF = {"float32": "fp32", "float16": "fp16", "uint16": "bf16", "uint8": "e4m3"}


class UsageError(Exception):
    """One line about what was asked for and cannot be."""


def load(path: str) -> tuple[Workload, str, str]:
    """The workload in a file, the format of its x, and where it says that it comes from ("" if it does not).

    x [rows, 2H]: float32, float16, uint16 (bf16) or uint8 (e4m3); x_format may say so. x_scale: float32
    [ceil(2H / 128), rows], with e4m3. expanded_idx_to_permuted_idx: int32, -1 skipped. gate, source: strings.
    Raises UsageError.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays: dict[str, Array] = dict(archive)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # numpy and zipfile raise many kinds for a damaged file
        raise UsageError(f"{path}: is no .npz file of plain arrays: {error}") from error

    known = TENSORS + OPTIONS
    if unknown := sorted(set(arrays) - set(known)):
        raise UsageError(f"{path}: unknown array {unknown[0]!r}; known are {', '.join(known)}")
    if "x" not in arrays:
        raise UsageError(f"{path}: no array 'x', only {', '.join(sorted(arrays)) or 'nothing'}")
    options = {}
    for name in set(OPTIONS) & set(arrays):
        if arrays[name].shape != () or arrays[name].dtype.kind != "U":
            raise UsageError(f"{path}: {name}: expected one string, got {_describe(arrays[name])}")
        options[name] = str(arrays[name])
    source = options.pop("source", "")

    x = arrays["x"]
    format = FORMAT_OF.get(x.dtype.name)
    if x.ndim != 2 or 0 in x.shape or x.shape[1] % 2 or format is None:
        kinds = "float32, float16, uint16 (bf16) or uint8 (e4m3)"
        raise UsageError(f"{path}: x: expected [rows, 2H] of {kinds}, got {_describe(x)}")
    if options.setdefault("x_format", format) != format:
        raise UsageError(f"{path}: x_format: {x.dtype} holds {format}, not {options['x_format']!r}")
    if format in ("fp32", "fp16"):
        del options["x_format"]  # their dtype says it
    if ("x_scale" in arrays) != (format == "e4m3"):
        raise UsageError(f"{path}: x_scale: goes with e4m3 input and only with it; x holds {format}")
    row_map = arrays.get("expanded_idx_to_permuted_idx")
    if row_map is not None and (row_map.dtype != np.int32 or row_map.max(initial=-1) < 0):
        got = _describe(row_map) if row_map.dtype != np.int32 else "no row"
        raise UsageError(f"{path}: expanded_idx_to_permuted_idx: expected int32 that names rows, got {got}")
    tensors = {name: np.ascontiguousarray(arrays[name]) for name in TENSORS if name in arrays}
    return Workload(path, tensors, options, rows=x.shape[0], hidden=x.shape[1] // 2), format, source


def _describe(array: Array) -> str:
    return f"{array.dtype} {list(array.shape)}"

"""What cannot be is refused: the right exception, one line that names the argument, and nothing is written.

One line of a table per bad input: what it is, how it changes a good call, and what the error must say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import cases
import ml_dtypes
import moe_act
import numpy as np
import pytest
from refusals import check_refused, ones
from tensors import DEVICES, put

ROWS, COLUMNS = 6, 192  # 3 blocks of input, 2 of output
FLOATS = np.ones((ROWS, 2 * COLUMNS), np.float32)
MAP = np.array([[3, -1], [0, 5], [-1, 1]], np.int32)
TOTAL = np.array([ROWS], np.int32)
STATIC = np.ones(1, np.float32)
X_FLAT, OUT_FLAT = np.ones(3 * ROWS, np.float32), cases.poisoned((2 * ROWS,), np.float32)

Changes = dict[str, Any]

# Good calls, which one change each makes bad. Block: e4m3 to block-scaled e4m3.
PLAIN: Changes = {"x": FLOATS, "x_scale": None, "x_format": None, "out_scale": None, "out_format": "fp16"}
PLAIN |= {"out": cases.poisoned((ROWS, COLUMNS), np.float16)}
TENSOR: Changes = {"out_scale": None, "static_scale": STATIC}
PADDED: Changes = {"x_scale": X_FLAT, "out_scale": OUT_FLAT, "total_num_padded_tokens": TOTAL}


def block_call() -> Changes:
    return {
        "x": np.full((ROWS, 2 * COLUMNS), 0x38, np.uint8),
        "x_scale": np.ones((3, ROWS), np.float32),
        "out": cases.poisoned((ROWS, COLUMNS), np.uint8),
        "out_scale": cases.poisoned((2, ROWS), np.float32),
        "x_format": "e4m3",
    }


class Bad(NamedTuple):
    name: str
    changes: Changes | Callable[[Changes], Changes]  # a function is given the call with its tensors on the device
    error: type[Exception]
    argument: str
    says: tuple[str, ...]  # words of the message: what is expected, and what was given
    where: str = "cpu cuda"


def broadcast(tensor: Any) -> Any:
    shape = tuple(tensor.shape)
    return np.broadcast_to(tensor[:1], shape) if isinstance(tensor, np.ndarray) else tensor[:1].expand(shape)


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def unaligned(shape: tuple[int, int]) -> np.ndarray:
    """float32 at an address that is no multiple of 4."""
    bytes_ = np.zeros(4 * shape[0] * shape[1] + 8, np.uint8)
    return bytes_[1 + -bytes_.ctypes.data % 4 :][: bytes_.size - 8].view(np.float32).reshape(shape)


def in_memory_of_x(offset: int) -> Callable[[Changes], Changes]:
    """out as a part of x, which is ROWS * 2 * COLUMNS codes of the same size."""
    size = ROWS * COLUMNS
    return lambda call: {"out": call["x"].reshape(-1)[offset : offset + size].reshape(ROWS, COLUMNS)}


OTHER_INPUTS = "expected float32, float16, bfloat16 or float8_e4m3fn"
DTYPES = [
    Bad("x is int64", {"x": ones(ROWS, 384, dtype=np.int64)}, TypeError, "x", ("expected e4m3", "int64 [6, 384]")),
    Bad("x is float64", PLAIN | {"x": FLOATS.astype(float)}, TypeError, "x", (OTHER_INPUTS, "got float64 [6, 384]")),
    Bad("x is uint8 alone", {"x_format": None}, TypeError, "x", (OTHER_INPUTS, "x_format naming", "uint8 [6, 384]")),
    Bad("x is too wide for its format", {"x_format": "bf16"}, TypeError, "x", ("expected bf16", "x_format='bf16'")),
    Bad("x is not of its format", PLAIN | {"x_format": "fp16"}, TypeError, "x", ("expected fp16", "float32 [6, 384]")),
    Bad("x is big-endian", PLAIN | {"x": FLOATS.astype(">f4")}, TypeError, "x", (OTHER_INPUTS,), "cpu"),
    Bad("x is complex", PLAIN | {"x": FLOATS.astype(np.complex64)}, TypeError, "x", ("got complex64",)),
    Bad("x is bool", PLAIN | {"x": FLOATS.astype(bool)}, TypeError, "x", ("got bool",)),
    Bad("x holds objects", PLAIN | {"x": FLOATS.astype(object)}, TypeError, "x", (OTHER_INPUTS,), "cpu"),
    Bad("x holds nothing", PLAIN | {"x": np.empty((6, 384), "V0")}, TypeError, "x", ("of no size",), "cpu"),
    Bad("x holds dates", PLAIN | {"x": FLOATS.astype("M8[s]")}, ValueError, "x", ("__dlpack__ failed",), "cpu"),
    Bad("x is a date", PLAIN | {"x": np.datetime64(7, "s")}, TypeError, "x", ("a tensor", "got datetime64"), "cpu"),
    Bad("x_scale is float64", {"x_scale": ones(3, ROWS, dtype=float)}, TypeError, "x_scale", ("float32", "float64")),
    Bad("static_scale is float64", TENSOR | {"static_scale": ones(1, dtype=float)}, TypeError, "static_scale",
        ("expected float32", "got float64 [1]")),
    Bad("map is int16", {"expanded_idx_to_permuted_idx": MAP.astype(np.int16)}, TypeError,
        "expanded_idx_to_permuted_idx", ("expected int32 or int64", "got int16 [3, 2]")),
    Bad("total is int64", PADDED | {"total_num_padded_tokens": TOTAL.astype(np.int64)}, TypeError,
        "total_num_padded_tokens", ("expected int32", "got int64 [1]")),
    Bad("out is of another format", {"out": ones(ROWS, COLUMNS, dtype=np.float16)}, TypeError, "out",
        ("expected e4m3", "got float16 [6, 192]")),
    Bad("out_scale is float16", {"out_scale": ones(2, ROWS, dtype=np.float16)}, TypeError, "out_scale",
        ("expected float32", "got float16 [2, 6]")),
]  # fmt: skip

SHAPES = [
    Bad("x is flat", {"x": ones(ROWS * 384, dtype=np.uint8)}, ValueError, "x", ("[rows, 2H]", "uint8 [2304]")),
    Bad("x has three axes", {"x": ones(2, 3, 384, dtype=np.uint8)}, ValueError, "x", ("[rows, 2H]", "[2, 3, 384]")),
    Bad("x has nine axes", {"x": ones(*[1] * 9, dtype=np.uint8)}, ValueError, "x", ("at most 8 dimensions", "got 9")),
    Bad("x is a scalar", PLAIN | {"x": ones()}, ValueError, "x", ("expected [rows, 2H]", "got float32 []")),
    Bad("2H is odd", {"x": ones(ROWS, 383, dtype=np.uint8)}, ValueError, "x", ("even", "uint8 [6, 383]")),
    Bad("2H is 0", {"x": ones(ROWS, 0, dtype=np.uint8)}, ValueError, "x", ("positive", "uint8 [6, 0]")),
    Bad("out has other rows", {"out": ones(5, COLUMNS, dtype=np.uint8)}, ValueError, "out", ("[6, 192]", "[5, 192]")),
    Bad("out is as wide as x", {"out": ones(ROWS, 384, dtype=np.uint8)}, ValueError, "out", ("[6, 192]", "[6, 384]")),
    Bad("out is flat", {"out": ones(1152, dtype=np.uint8)}, ValueError, "out", ("expected [6, 192]", "[1152]")),
    Bad("x_scale of one half", {"x_scale": ones(2, ROWS)}, ValueError, "x_scale", ("[3, 6]", "[2, 6]")),
    Bad("x_scale of fewer rows", {"x_scale": ones(3, 5)}, ValueError, "x_scale", ("[3, 6]", "[3, 5]")),
    Bad("x_scale is flat", {"x_scale": ones(18)}, ValueError, "x_scale", ("float32 [3, 6] (column major)", "[18]")),
    Bad("x_scale is the other layout's", {"x_scale": ones(ROWS, 3)}, ValueError, "x_scale",
        ("expected float32 [3, 6] (column major), got float32 [6, 3]",)),
    Bad("x_scale_layout is the other one", {"x_scale_layout": "row_major"}, ValueError, "x_scale",
        ("expected float32 [6, 3] (row major), got float32 [3, 6]",)),
    Bad("row-major x_scale is wider", {"x_scale_layout": "row_major", "x_scale": ones(ROWS, 4)}, ValueError, "x_scale",
        ("[6, 3] (row major)", "[6, 4]")),
    Bad("out_scale is the other layout's", {"out_scale": ones(ROWS, 2)}, ValueError, "out_scale",
        ("expected float32 [2, 6] (column major), got float32 [6, 2]",)),
    Bad("out_scale_layout is the other one", {"out_scale_layout": "row_major"}, ValueError, "out_scale",
        ("expected float32 [6, 2] (row major), got float32 [2, 6]",)),
    Bad("flat x_scale is too small", PADDED | {"x_scale": ones(17)}, ValueError, "x_scale",
        ("at least 3 x 6 elements", "got float32 [17]")),
    Bad("flat out_scale is too small", PADDED | {"out_scale": ones(11)}, ValueError, "out_scale",
        ("at least 2 x 6 elements", "got float32 [11]")),
    Bad("two static scales", TENSOR | {"static_scale": ones(2)}, ValueError, "static_scale", ("one element", "[2]")),
    Bad("two totals", PADDED | {"total_num_padded_tokens": np.array([6, 6], np.int32)}, ValueError,
        "total_num_padded_tokens", ("one element", "int32 [2]")),
    Bad("map has three axes", {"expanded_idx_to_permuted_idx": MAP.reshape(3, 2, 1)}, ValueError,
        "expanded_idx_to_permuted_idx", ("[expanded_rows] or [tokens, top_k]", "int32 [3, 2, 1]")),
    Bad("map is a scalar", {"expanded_idx_to_permuted_idx": np.array(1, np.int32)}, ValueError,
        "expanded_idx_to_permuted_idx", ("[expanded_rows] or [tokens, top_k]", "int32 []")),
]  # fmt: skip

PRESENCE = [
    Bad("no x", {"x": None}, TypeError, "x", ("expected a tensor", "got none")),
    Bad("no x_scale", {"x_scale": None}, ValueError, "x_scale", ("expected a tensor", "e4m3 input needs its scales")),
    Bad("x_scale for plain input", PLAIN | {"x_scale": ones(3, 6)}, ValueError, "x_scale", ("expected none", "fp32")),
    Bad("no static_scale", {"out_scaling": "tensor", "out_scale": None}, ValueError, "static_scale",
        ("expected a tensor", "out_scaling='tensor'")),
    Bad("static_scale for blocks", {"static_scale": STATIC, "out_scaling": "block"}, ValueError, "static_scale",
        ("expected none", "out_scaling='tensor'")),
    Bad("static_scale for plain", PLAIN | {"static_scale": STATIC}, ValueError, "static_scale", ("expected none",)),
    Bad("out_scale for a static scale", {"static_scale": STATIC}, ValueError, "out_scale",
        ("expected none", "out_scaling='block'")),
    Bad("out_scale for plain", PLAIN | {"out_scale": ones(2, 6)}, ValueError, "out_scale", ("expected none",)),
    Bad("total without column-major scales", PLAIN | {"total_num_padded_tokens": TOTAL}, ValueError,
        "total_num_padded_tokens", ("expected none", "column_major")),
    Bad("total for row-major scales", {"x_scale": ones(6, 3), "x_scale_layout": "row_major", "out_scale": ones(6, 2),
        "out_scale_layout": "row_major", "total_num_padded_tokens": TOTAL}, ValueError, "total_num_padded_tokens",
        ("expected none", "column_major")),
    Bad("no total for flat scales", {"x_scale": X_FLAT, "out_scale": OUT_FLAT}, ValueError, "x_scale",
        ("expected float32 [3, 6]", "got float32 [18]")),
]  # fmt: skip

MEMORY = [
    Bad("x is transposed", lambda call: {"x": call["x"].reshape(384, ROWS).T}, ValueError, "x",
        ("adjacent elements", "got stride 6")),
    Bad("x is upside down", lambda call: {"x": call["x"][::-1]}, ValueError, "x", ("apart", "got stride -384"), "cpu"),
    Bad("x is backwards", lambda call: {"x": call["x"][:, ::-1]}, ValueError, "x", ("adjacent", "stride -1"), "cpu"),
    Bad("x is broadcast", lambda call: {"x": broadcast(call["x"])}, ValueError, "x", ("384 elements apart",)),
    Bad("out is broadcast", lambda call: {"out": broadcast(call["out"])}, ValueError, "out", ("192 elements apart",)),
    Bad("out is transposed", lambda call: {"out": call["out"].reshape(COLUMNS, ROWS).T}, ValueError, "out",
        ("adjacent elements", "got stride 6")),
    Bad("x_scale is transposed", lambda call: {"x_scale": call["x_scale"].reshape(ROWS, 3).T}, ValueError, "x_scale",
        ("adjacent elements", "got stride 3 of float32 [3, 6]")),
    Bad("out_scale is broadcast", lambda call: {"out_scale": broadcast(call["out_scale"])}, ValueError, "out_scale",
        ("6 elements apart", "got stride 0")),
    Bad("map is strided", lambda call: {"expanded_idx_to_permuted_idx": call["map"].reshape(-1)[::2]}, ValueError,
        "expanded_idx_to_permuted_idx", ("contiguous", "stride 2 along axis 0")),
    Bad("flat x_scale is strided", lambda call: PADDED | {"x_scale": call["floats"][::2], "out_scale": None,
        "total_num_padded_tokens": call["total"]}, ValueError, "x_scale", ("contiguous", "stride 2")),
    Bad("x is not aligned", PLAIN | {"x": unaligned((ROWS, 384))}, ValueError, "x", ("at least 4", "got 1"), "cpu"),
    Bad("x_scale is not aligned", {"x_scale": unaligned((3, ROWS))}, ValueError, "x_scale", ("4 bytes",), "cpu"),
    Bad("out is read-only", {"out": read_only(ones(ROWS, COLUMNS, dtype=np.uint8))}, ValueError, "out",
        ("expected a writable tensor", "read-only"), "cpu"),
    Bad("out_scale is read-only", {"out_scale": read_only(ones(2, ROWS))}, ValueError, "out_scale",
        ("expected a writable tensor", "read-only"), "cpu"),
    Bad("out begins as x", in_memory_of_x(0), ValueError, "out", ("overlaps x", "memory of its own")),
    Bad("out is the end of x", in_memory_of_x(ROWS * COLUMNS), ValueError, "out", ("overlaps x",)),
    Bad("out lies inside x", in_memory_of_x(100), ValueError, "out", ("overlaps x",)),
    Bad("out_scale is x_scale", lambda call: {"out_scale": call["x_scale"][:2]}, ValueError, "out_scale",
        ("overlaps x_scale", "memory of its own")),
    Bad("out_scale is the end of x_scale", lambda call: {"out_scale": call["x_scale"][1:]}, ValueError, "out_scale",
        ("overlaps x_scale",)),
]  # fmt: skip

FORMATS = "supported: 'fp32', 'fp16', 'bf16', 'e4m3'"
NAMES = {
    "x_format": "'fp32', 'fp16', 'bf16', 'e4m3'",
    "out_format": "'fp32', 'fp16', 'bf16', 'e4m3'",
    "out_scaling": "'none', 'block', 'tensor', 'row'",
    "x_scale_layout": "'column_major', 'row_major', 'tma_column_major', 'packed_ue8m0', 'swizzled_128x4'",
    "out_scale_layout": "'column_major', 'row_major', 'tma_column_major', 'packed_ue8m0', 'swizzled_128x4'",
    "x_scale_format": "'fp32', 'ue8m0'",
    "out_scale_format": "'fp32', 'ue8m0'",
    "scale_rounding": "'none', 'power_of_two'",
    "activation": "'swiglu'",
    "gate": "'second_half', 'first_half'",
    "padding": "'skip', 'zero'",
    "pdl": "'off', 'on', 'metadata_ready'",
}
OPTIONS = [
    *(Bad(f"unknown {option}", {option: "sideways"}, ValueError, option, (f"expected one of {names}", "got 'sideways'"))
      for option, names in NAMES.items()),
    *(Bad(f"{option} is a number", {option: 3}, TypeError, option, ("expected a str", "got int")) for option in NAMES),
    Bad("x is e2m1 by name", {"x_format": "e2m1"}, NotImplementedError, "x", ("e2m1 input has no kernel", FORMATS)),
    Bad("x is e5m2 by name", {"x_format": "e5m2"}, NotImplementedError, "x", ("e5m2 input has no kernel", FORMATS)),
    Bad("x is e2m1 by dtype", {"x": ones(6, 384, dtype=ml_dtypes.float4_e2m1fn), "x_format": None},
        NotImplementedError, "x", ("e2m1 input has no kernel", FORMATS), "cpu"),
    Bad("x is e5m2 by dtype", {"x": ones(6, 384, dtype=ml_dtypes.float8_e5m2), "x_format": None, "x_scale": None},
        NotImplementedError, "x", ("e5m2 input has no kernel", FORMATS), "cpu"),
    Bad("out is e2m1", {"out_format": "e2m1"}, NotImplementedError, "out_format", ("e2m1 output", FORMATS)),
    Bad("e4m3 without a scale", {"out_scaling": "none"}, ValueError, "out_scale", ("expected none", "'block'")),
    Bad("e4m3 without any scale", {"out_scaling": "none", "out_scale": None}, ValueError, "out_scaling",
        ("'block', 'tensor' or 'row'", "got 'none'")),
    Bad("plain with block scales", PLAIN | {"out_scaling": "block"}, ValueError, "out_scaling",
        ("plain fp16 output expects 'none'", "got 'block'")),
    Bad("pdl on the CPU", {"pdl": "on"}, NotImplementedError, "pdl", ("'off' on the CPU", "got 'on'"), "cpu"),
    Bad("pdl metadata on the CPU", {"pdl": "metadata_ready"}, NotImplementedError, "pdl", ("'metadata_ready'",), "cpu"),
    Bad("zero padding with a map", {"padding": "zero", "expanded_idx_to_permuted_idx": MAP}, NotImplementedError,
        "padding", ("'zero' needs rows whose padding can be identified", "use 'skip'")),
    Bad("expected_rows below -1", {"expected_rows": -2}, ValueError, "expected_rows", ("at least -1", "got -2")),
    Bad("expected_rows is a float", {"expected_rows": 2.5}, TypeError, "expected_rows", ("an int", "got float")),
    Bad("expected_rows past 63 bits", {"expected_rows": 2**63}, ValueError, "expected_rows", ("at most 2^63 - 1",)),
    Bad("a stream for the CPU", {"stream": 0}, ValueError, "stream", ("expected None", "on the CPU"), "cpu"),
    Bad("stream is a str", {"stream": "s"}, TypeError, "stream", ("expected None, an int", "got str"), "cuda"),
    Bad("stream is negative", {"stream": -1}, ValueError, "stream", ("expected a cudaStream_t", "got -1"), "cuda"),
]  # fmt: skip

NO_TENSOR = [
    *(Bad(f"{name} is a list", {name: [1.0, 2.0]}, TypeError, name, ("expected a tensor", "got list"))
      for name in ("x", "x_scale", "out", "out_scale", "static_scale", "expanded_idx_to_permuted_idx",
                   "total_num_padded_tokens")),
    Bad("static_scale is a number", {"static_scale": 0.5}, TypeError, "static_scale", ("expected a tensor", "float")),
]  # fmt: skip

TABLE = [
    pytest.param(bad, device, marks=[pytest.mark.gpu] if device == "cuda" else [], id=f"{bad.name}-{device}")
    for bad in (*DTYPES, *SHAPES, *PRESENCE, *MEMORY, *OPTIONS, *NO_TENSOR)
    for device in bad.where.split()
]


@pytest.mark.parametrize(("bad", "device"), TABLE)
def test_refused(bad: Bad, device: str) -> None:
    moe_act.gated_act_quant(**{name: put(value, device) for name, value in block_call().items()})  # may be remembered
    call = {name: put(value, device) for name, value in block_call().items()}
    if callable(bad.changes):
        spare = {"map": MAP, "floats": ones(36), "total": TOTAL}
        call |= bad.changes(call | {name: put(value, device) for name, value in spare.items()})
    else:
        call |= {name: put(value, device) for name, value in bad.changes.items()}
    check_refused(bad, call)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("changes", [{}, PLAIN, TENSOR, PADDED], ids=["block", "plain", "tensor", "padded"])
def test_what_the_table_starts_from_is_good(changes: Changes, device: str) -> None:
    call = {name: put(value, device) for name, value in (block_call() | changes).items()}
    result = moe_act.gated_act_quant(**call, validate=True)
    assert result.out is call["out"] and result.out_scale is call["out_scale"]


@pytest.mark.parametrize("device", DEVICES)
def test_the_text_of_swapped_scales(device: str) -> None:
    x, x_scale = put(ones(1024, 4096, dtype=np.uint8), device), put(ones(1024, 32), device)
    with pytest.raises(ValueError) as raised:
        moe_act.gated_act_quant(x, x_scale, x_format="e4m3")
    assert str(raised.value) == "x_scale: expected float32 [32, 1024] (column major), got float32 [1024, 32]"

"""Numbers and pointers that only the C interface can be given."""

from __future__ import annotations

import ctypes
from typing import Any

import c_interface as c
import cases
import numpy as np
import pytest

INVALID, UNSUPPORTED, WRONG_TYPE = (
    c.constants["MOE_ACT_" + name] for name in ("INVALID_PROBLEM", "UNSUPPORTED", "WRONG_TYPE")
)
DENSE, MAP = c.constants["MOE_ACT_ROWS_DENSE"], c.constants["MOE_ACT_ROWS_EXPANDED_TO_PERMUTED"]
ROW_MAJOR, CUDA = c.constants["MOE_ACT_SCALE_LAYOUT_ROW_MAJOR"], c.constants["MOE_ACT_DEVICE_CUDA"]
ENUMS = (
    "x_format",
    "x_scale_layout",
    "out_format",
    "out_scaling",
    "out_scale_layout",
    "activation",
    "gate",
    "row_kind",
)

# What is set in a good problem of [6, 2 x 192] e4m3; the status; what the error begins with.
PROBLEMS = [
    ({"rows": -1}, INVALID, "rows: expected at least 0, got -1"),
    ({"rows": -(2**63)}, INVALID, "rows: expected at least 0"),
    ({"rows": 2**62}, INVALID, "x"),
    ({"rows": 2**62, "x_scale_stride": 2**62, "out_scale_stride": 2**62}, INVALID, "x: its extent of "),
    ({"columns": 0}, INVALID, "columns: expected at least 1, got 0"),
    ({"columns": -5}, INVALID, "columns: expected at least 1, got -5"),
    ({"columns": 2**40}, INVALID, "columns: expected at most "),
    ({"columns": 2**62}, INVALID, "columns: expected at most "),
    ({"entries": -1}, INVALID, "entries: expected 0 for these rows, got -1"),
    ({"entries": 7}, INVALID, "entries: expected 0 for these rows, got 7"),
    ({"entries": 2**62, "row_kind": MAP}, INVALID, "entries: expected at most 2^53, got "),
    ({"expected_rows": -2}, INVALID, "expected_rows: expected at least -1, got -2"),
    ({"x_row_stride": 383}, INVALID, "x: expected at least 384, got 383"),
    ({"x_row_stride": -384}, INVALID, "x: expected at least 384, got -384"),
    ({"x_row_stride": 2**62}, INVALID, "x: its extent of 6 x 4611686018427387904 elements exceeds the address space"),
    ({"out_row_stride": 191}, INVALID, "out: expected at least 192, got 191"),
    ({"out_row_stride": 2**62}, INVALID, "out: its extent of "),
    ({"x_scale_stride": 5}, INVALID, "x_scale: expected a stride of at least 6 elements (rows), got 5"),
    ({"x_scale_stride": -2}, INVALID, "x_scale: expected a stride of at least 6 elements (rows), got -2"),
    ({"x_scale_stride": 2**62}, INVALID, "x_scale: its extent of "),
    ({"x_scale_stride": -1, "x_scale_layout": ROW_MAJOR}, INVALID, "x_scale: a stride that lies on the device needs "),
    (
        {"x_scale_stride": 2, "x_scale_layout": ROW_MAJOR},
        INVALID,
        "x_scale: expected a stride of at least 3 elements (bl",
    ),
    ({"out_scale_stride": 0}, INVALID, "out_scale: expected a stride of at least 6 elements (rows), got 0"),
    ({"out_scale_stride": 2**62}, INVALID, "out_scale: its extent of "),
    ({"x_alignment": 0}, INVALID, "x: expected an alignment that is a power of two of at least 1 bytes, got 0"),
    ({"x_alignment": 24}, INVALID, "x: expected an alignment that is a power of two"),
    ({"x_alignment": -(2**31)}, INVALID, "x: expected an alignment that is a power of two"),
    ({"x_alignment": 256}, INVALID, "x: the promised alignment of 256 bytes does not hold 384 elements apart"),
    ({"out_alignment": -16}, INVALID, "out: expected an alignment that is a power of two"),
    ({"device_type": 0}, UNSUPPORTED, "device: expected CPU (1) or CUDA (2), got DLPack device type 0"),
    ({"device_id": -1}, INVALID, "device: expected at least 0, got -1"),
    *(({name: value}, INVALID, f"{name}: expected one of '") for name in ENUMS for value in (0, 99, -1)),
    *(({name: value}, INVALID, f"{name}: expected one of '") for name in ("padding", "pdl") for value in (0, 99)),
    ({"pdl": 2}, UNSUPPORTED, "pdl: expected 'off' on the CPU, got 'on'"),
    ({"padding": 2, "row_kind": MAP}, UNSUPPORTED, "padding: 'zero' needs rows whose padding can be identified"),
    *(({"x_format": value}, UNSUPPORTED, "x: e") for value in (5, 6)),
    ({"struct_size": 0}, INVALID, "problem: struct_size is 0"),
    ({"struct_size": 7}, INVALID, "problem: struct_size is 7"),
    ({"struct_size": 2**63}, INVALID, "problem: struct_size is 9223372036854775808"),
]


def assert_failed(status: int, expected: int, begins: str) -> None:
    assert status == expected, c.last_error()
    assert c.last_error().startswith(begins), c.last_error()
    assert "\n" not in c.last_error()


@pytest.mark.parametrize(("changes", "status", "begins"), PROBLEMS, ids=lambda value: str(value)[:50])
def test_problems_that_cannot_be(changes: dict[str, int], status: int, begins: str) -> None:
    described = c.problem(6, 192)
    assert c.Plan(described).status == 0
    for name, value in changes.items():
        setattr(described, name, value)
    plan = c.Plan(described)
    assert_failed(plan.status, status, begins)
    assert plan.handle.value is None


def test_the_structs_are_those_of_the_library() -> None:
    assert c.problem(1, 1).struct_size == ctypes.sizeof(c.Problem)
    info = c.sized(c.PlanInfo)
    plan = c.Plan(c.problem(1, 1))
    assert c.library.moe_act_plan_get_info(plan.handle, ctypes.byref(info)) == 0
    assert c.library.moe_act_plan_get_info(plan.handle, None) == INVALID


def arguments() -> dict[str, np.ndarray]:
    return {
        "x": np.full((6, 384), 0x38, np.uint8),
        "x_scale": np.ones((3, 6), np.float32),
        "out": cases.poisoned((6, 192), np.uint8),
        "out_scale": cases.poisoned((2, 6), np.float32),
        "static_scale": np.ones(1, np.float32),
        "row_index": np.arange(6, dtype=np.int32),
        "total_num_padded_tokens": np.array([6], np.int32),
    }


# Which fields make a problem of which buffers.
KINDS: dict[str, tuple[dict[str, int], tuple[str, ...]]] = {
    "block": ({}, ("x", "x_scale", "out", "out_scale")),
    "tensor": ({"out_scaling": c.constants["MOE_ACT_SCALING_TENSOR"]}, ("x", "x_scale", "out", "static_scale")),
    "map": (
        {"row_kind": MAP, "entries": 6},
        ("x", "x_scale", "out", "out_scale", "row_index"),
    ),
    "padded": (
        {"x_scale_stride": -1, "out_scale_stride": -1},
        ("x", "x_scale", "out", "out_scale", "total_num_padded_tokens"),
    ),
}


def prepared(kind: str) -> tuple[c.Plan, dict[str, Any]]:
    """A plan, and the buffers that it needs."""
    fields, needed = KINDS[kind]
    described = c.problem(6, 192)
    described.x_alignment = described.out_alignment = 1
    for name, value in fields.items():
        setattr(described, name, value)
    plan = c.Plan(described)
    assert plan.status == 0, c.last_error()
    return plan, {name: array for name, array in arguments().items() if name in needed}


@pytest.mark.parametrize(("kind", "missing"), [(kind, name) for kind in KINDS for name in KINDS[kind][1]])
def test_null_pointers(kind: str, missing: str) -> None:
    plan, arrays = prepared(kind)
    status = plan.launch(c.buffers(**(arrays | {missing: None})))
    name = "expanded_idx_to_permuted_idx" if missing == "row_index" else missing
    assert_failed(status, INVALID, f"{name}: expected data, got null")
    assert_untouched(arrays)
    assert plan.launch(c.buffers(**arrays)) == 0


@pytest.mark.parametrize(
    ("kind", "superfluous"), [(kind, name) for kind in KINDS for name in arguments() if name not in KINDS[kind][1]]
)
def test_pointers_that_nothing_is_done_with(kind: str, superfluous: str) -> None:
    plan, arrays = prepared(kind)
    spare = arguments()[superfluous]
    status = plan.launch(c.buffers(**arrays, **{superfluous: spare}))
    assert_failed(status, INVALID, f"{superfluous}: the plan has no use for it, expected null")
    assert_untouched(arrays)


def test_pointers_below_the_promised_alignment() -> None:
    described = c.problem(6, 192)
    plan = c.Plan(described)
    for name in ("x", "out", "x_scale", "out_scale"):
        arrays = {key: array for key, array in arguments().items() if key in KINDS["block"][1]}
        pointers = {key: array.ctypes.data & ~15 for key, array in arrays.items()}
        pointers[name] += 1 if name.endswith("scale") else 8
        promised = 4 if name.endswith("scale") else 16
        status = plan.launch(c.buffers(**pointers))
        assert_failed(status, INVALID, f"{name}: the plan was promised data aligned to {promised} bytes, got address")
        assert_untouched(arrays)


def assert_untouched(arrays: dict[str, Any]) -> None:
    for name in {"out", "out_scale"} & arrays.keys():
        assert (arrays[name].view(np.uint8) == cases.POISON).all(), f"{name} was written"


def test_null_structs() -> None:
    plan = c.Plan(c.problem(6, 192))
    byref = ctypes.byref
    assert_failed(c.library.moe_act_plan_create(None, None, byref(ctypes.c_void_p())), INVALID, "problem: ")
    assert_failed(c.library.moe_act_plan_create(byref(c.problem(6, 192)), None, None), INVALID, "plan: ")
    assert_failed(c.library.moe_act_launch(None, byref(c.buffers()), None, None), INVALID, "plan: ")
    assert_failed(c.library.moe_act_launch(plan.handle, None, None, None), INVALID, "buffers: ")
    assert_failed(c.library.moe_act_validate(None, byref(c.buffers()), None), INVALID, "plan: ")
    options = byref(c.sized(c.Options))
    assert_failed(c.library.moe_act_describe(None, options, None, None), INVALID, "tensors: ")
    assert_failed(c.library.moe_act_describe(byref(c.sized(c.Tensors)), None, None, None), INVALID, "options: ")
    sizes = ctypes.c_uint64(ctypes.sizeof(c.Problem)), 1, 1, ctypes.c_int64(1), ctypes.c_int64(1)
    assert_failed(c.library.moe_act_problem_init_sized(None, *sizes), INVALID, "problem: ")
    c.library.moe_act_plan_destroy(None)


@pytest.mark.parametrize(
    ("options", "begins"),
    [
        ({"x_format": 99}, "x_format: expected one of "),
        ({"x_format": -7}, "x_format: expected one of "),
        ({"out_format": 99}, "out_format: expected one of "),
        ({"out_scaling": 99}, "out_scaling: expected one of "),
        ({"gate": -1}, "gate: expected one of "),
        ({"has_expected_rows": 1, "expected_rows": -9}, "expected_rows: expected at least -1, got -9"),
    ],
    ids=str,
)
def test_options_that_cannot_be(options: dict[str, int], begins: str) -> None:
    x = np.ones((6, 384), np.float32)
    shape = (ctypes.c_int64 * 2)(*x.shape)
    tensor = c.Tensor(
        data=x.ctypes.data,
        device_type=1,
        dtype_code=2,
        dtype_bits=32,
        dtype_lanes=1,
        ndim=2,
        shape=ctypes.addressof(shape),
    )
    tensors = c.sized(c.Tensors, x=ctypes.addressof(tensor))
    described, buffers = c.sized(c.Problem), c.sized(c.Buffers)
    call = [ctypes.byref(tensors), None, ctypes.byref(described), ctypes.byref(buffers)]
    call[1] = ctypes.byref(c.sized(c.Options))
    assert c.library.moe_act_describe(*call) == 0, c.last_error()
    call[1] = ctypes.byref(c.sized(c.Options, **options))
    assert_failed(c.library.moe_act_describe(*call), INVALID, begins)


def test_devices_that_cannot_be() -> None:
    described = c.problem(6, 192)
    described.device_type = CUDA
    plan = ctypes.c_void_p()
    for multiprocessors, capability, status, begins in [
        (0, 9, INVALID, "device: expected 1 to 65536 multiprocessors, got 0"),
        (-1, 9, INVALID, "device: expected 1 to 65536 multiprocessors, got -1"),
        (1 << 30, 9, INVALID, "device: expected 1 to 65536 multiprocessors, got 1073741824"),
        (100, 7, UNSUPPORTED, "device: expected compute capability 8.0 or above, got 7.0"),
    ]:
        device = c.sized(c.DeviceInfo, multiprocessors=multiprocessors, compute_capability_major=capability)
        made = c.library.moe_act_plan_create(ctypes.byref(described), ctypes.byref(device), ctypes.byref(plan))
        assert_failed(made, status, begins)

"""Tensors of any framework in, the same framework's tensors out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cases
import devices
import ml_dtypes
import moe_act
import numpy as np
import pytest
from cases import Case
from tensors import DEVICES, Exporter, get, same_bytes

TORCH_DTYPES = {"e4m3": "float8_e4m3fn", "bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
DLPACK_DTYPES = {np.dtype(np.uint8): (1, 8, 1), np.dtype(np.uint16): (1, 16, 1), np.dtype(np.int32): (0, 32, 1)}
DLPACK_DTYPES |= {np.dtype(np.float32): (2, 32, 1), np.dtype(np.float16): (2, 16, 1)}
E4M3_DTYPE, BF16_DTYPE = (10, 8, 1), (4, 16, 1)


def problem_of(input: str, output: str) -> cases.Problem:
    return cases.build(Case(input, output, row_kind="map", rows=9, columns=192))


def run_with(problem: cases.Problem, of: Callable[[np.ndarray], Any], **changes: Any) -> moe_act.Result:
    """The operation for tensors made from NumPy arrays; results are allocated unless changes say otherwise."""
    tensors, options = devices.split(problem)
    return moe_act.gated_act_quant(**{name: of(array) for name, array in tensors.items()} | options | changes)


def assert_as_numpy(problem: cases.Problem, result: moe_act.Result) -> None:
    expected, expected_scale = devices.run(problem, "cpu")
    assert same_bytes(get(result.out)[problem.live], expected[problem.live])
    if expected_scale is None:
        assert result.out_scale is None
    else:
        assert same_bytes(get(result.out_scale)[:, problem.live], expected_scale[:, problem.live])


# --- NumPy


@pytest.mark.parametrize("output", cases.OUTPUTS)
@pytest.mark.parametrize("input", ["e4m3", "bf16"])
def test_ml_dtypes_arrays(input: str, output: str) -> None:
    """Formats are known by dtype; results have ml_dtypes as well."""
    problem = problem_of(input, output)
    x = problem.arguments["x"].view(cases.DTYPES[input])
    result = run_with(problem, lambda array: array, x=x, x_format=None)
    assert_as_numpy(problem, result)
    wanted = {"block": "e4m3", "tensor": "e4m3"}.get(output, output)
    assert result.out.dtype == cases.DTYPES[wanted]


@pytest.mark.parametrize("output", ["block", "bf16"])
def test_ml_dtypes_results(output: str) -> None:
    problem = problem_of("fp32", output)
    dtype = ml_dtypes.bfloat16 if output == "bf16" else ml_dtypes.float8_e4m3fn
    out = np.zeros((9, 192), dtype)
    result = run_with(problem, lambda array: array, out=out)
    assert result.out is out
    assert_as_numpy(problem, result)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_integer_views(dtype: Any) -> None:
    problem = problem_of("e4m3", "block")
    out = np.zeros((9, 192), dtype)
    result = run_with(problem, lambda array: array.view(dtype) if array.dtype == np.uint8 else array, out=out)
    assert result.out is out
    assert_as_numpy(problem, moe_act.Result(out.view(np.uint8), result.out_scale))


def test_read_only_inputs() -> None:
    problem = problem_of("e4m3", "block")
    for array in devices.split(problem)[0].values():
        array.flags.writeable = False
    assert_as_numpy(problem, run_with(problem, lambda array: array))


def test_a_subclass_and_a_memory_map(tmp_path: Any) -> None:
    class Subclass(np.ndarray):
        pass

    problem = problem_of("fp32", "block")
    assert_as_numpy(problem, run_with(problem, lambda array: array.view(Subclass)))
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=(9, 384))
    mapped[...] = problem.arguments["x"]
    assert_as_numpy(problem, run_with(problem, lambda array: array, x=mapped))


def test_a_scalar_of_numpy_is_one_element() -> None:
    problem = problem_of("fp32", "tensor")
    scale = problem.arguments["static_scale"][0]
    assert isinstance(scale, np.float32)
    assert_as_numpy(problem, run_with(problem, lambda array: array, static_scale=scale))


# --- DLPack alone


@pytest.mark.parametrize("version", [(1, 0), (1, 3), None], ids=["1.0", "1.3", "before 1.0"])
@pytest.mark.parametrize("strides", [True, False], ids=["strides", "compact"])
def test_nothing_but_dlpack(version: tuple[int, int] | None, strides: bool) -> None:
    """Old producers know no `max_version`; compact tensors may leave their strides out."""
    problem = problem_of("e4m3", "block")
    told: dict[str, Any] = {} if strides else {"strides": None}

    def of(array: np.ndarray) -> Exporter:
        return Exporter(array, dtype=DLPACK_DTYPES[array.dtype], version=version, byte_offset=64, **told)

    out, out_scale = np.zeros((9, 192), np.uint8), np.zeros((2, 9), np.float32)
    result = run_with(problem, of, out=of(out), out_scale=of(out_scale))
    assert isinstance(result.out, Exporter)
    assert_as_numpy(problem, moe_act.Result(out, out_scale))


@pytest.mark.parametrize("version", [(1, 3), None], ids=["1.3", "before 1.0"])
def test_plain_capsules(version: tuple[int, int] | None) -> None:
    """What `__dlpack__` returned, without the producer: looked at and left as it is, so that it serves many calls."""
    problem = problem_of("e4m3", "block")
    out, out_scale = np.zeros((9, 192), np.uint8), np.zeros((2, 9), np.float32)
    exporters: list[Exporter] = []  # they own what the capsules point to

    def of(array: np.ndarray) -> Any:
        exporters.append(Exporter(array, dtype=DLPACK_DTYPES[array.dtype], version=version))
        return exporters[-1].__dlpack__()

    tensors, options = devices.split(problem)
    capsules = {name: of(array) for name, array in (tensors | {"out": out, "out_scale": out_scale}).items()}
    for _ in range(2):
        out[...], out_scale[...] = 0, 0
        assert moe_act.gated_act_quant(**capsules, **options).out is capsules["out"]
        assert_as_numpy(problem, moe_act.Result(out, out_scale))
    allocated = moe_act.gated_act_quant(**{name: of(array) for name, array in tensors.items()}, **options)
    assert isinstance(allocated.out, np.ndarray)
    assert_as_numpy(problem, allocated)


def test_capsules_of_frameworks() -> None:
    torch = pytest.importorskip("torch")
    x = torch.randn(6, 384)
    out = torch.zeros(6, 192, dtype=torch.uint8)
    result = moe_act.gated_act_quant(x.__dlpack__(), out=torch.utils.dlpack.to_dlpack(out))
    expected = moe_act.gated_act_quant(x)
    assert torch.equal(out, expected.out.view(torch.uint8))
    assert same_bytes(result.out_scale, get(expected.out_scale))


@pytest.mark.parametrize(("input", "dtype"), [("e4m3", E4M3_DTYPE), ("bf16", BF16_DTYPE), ("e4m3", (2, 8, 1))])
def test_formats_by_dlpack_dtype(input: str, dtype: tuple[int, int, int]) -> None:
    """The last is what producers say that have an fp8 but not its name: it needs `x_format`."""
    problem = problem_of(input, "block")
    x = Exporter(problem.arguments["x"], dtype=dtype)
    result = run_with(problem, lambda array: array, x=x, x_format="e4m3" if dtype == (2, 8, 1) else None)
    assert isinstance(result.out, np.ndarray), "what has no framework gets NumPy arrays"
    assert_as_numpy(problem, result)


# --- torch


def of_torch(array: np.ndarray, device: str = "cpu") -> Any:
    import torch

    return torch.from_numpy(array.copy()).to(device)


def typed(torch: Any, array: np.ndarray, format: str, device: str) -> Any:
    """A torch tensor of the format's own dtype from its codes."""
    codes = array.view({1: np.uint8, 2: np.int16, 4: np.float32}[array.itemsize])
    return of_torch(codes, device).view(getattr(torch, TORCH_DTYPES[format]))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("output", cases.OUTPUTS)
@pytest.mark.parametrize("input", cases.INPUTS)
def test_torch(input: str, output: str, device: str) -> None:
    """Every dtype; results are torch's, in the format's own dtype, on the same device."""
    torch = pytest.importorskip("torch")
    problem = problem_of(input, output)
    x = typed(torch, problem.arguments["x"], input, device)
    result = run_with(problem, lambda array: of_torch(array, device), x=x, x_format=None)
    wanted = {"block": "e4m3", "tensor": "e4m3"}.get(output, output)
    assert result.out.dtype == getattr(torch, TORCH_DTYPES[wanted])
    assert result.out.device == x.device
    if output == "block":
        assert result.out_scale.dtype == torch.float32 and result.out_scale.device == x.device
    if device == "cpu":
        assert_as_numpy(problem, result)
    else:
        devices_agree(problem, result)


def devices_agree(problem: cases.Problem, result: moe_act.Result) -> None:
    """A result of another device: what `devices.run` gives there, to the last bit."""
    expected, expected_scale = devices.run(problem, "cuda")
    assert same_bytes(get(result.out)[problem.live], expected[problem.live])
    if expected_scale is not None:
        assert same_bytes(get(result.out_scale)[:, problem.live], expected_scale[:, problem.live])


@pytest.mark.parametrize("device", DEVICES)
def test_torch_results_in_place(device: str) -> None:
    torch = pytest.importorskip("torch")
    problem = problem_of("bf16", "block")
    x = typed(torch, problem.arguments["x"], "bf16", device)
    out = torch.empty(9, 192, dtype=torch.float8_e4m3fn, device=device)
    out_scale = torch.empty(2, 9, device=device)
    given = {"out": out, "out_scale": out_scale, "x_format": None}
    result = run_with(problem, lambda array: of_torch(array, device), x=x, **given)
    assert result.out is out and result.out_scale is out_scale
    assert_as_numpy(problem, result) if device == "cpu" else devices_agree(problem, result)


@pytest.mark.parametrize("device", DEVICES)
def test_torch_slices_and_views(device: str) -> None:
    """A slice of rows, a slice of columns, a parameter's data: no copy is made, offsets are kept."""
    torch = pytest.importorskip("torch")
    whole = torch.randn(12, 600, device=device)
    x = whole[2:8, 40:424]
    expected = moe_act.gated_act_quant(x.contiguous())
    for same in (x, torch.nn.Parameter(x).detach(), torch.nn.Parameter(whole).data[2:8, 40:424]):
        result = moe_act.gated_act_quant(same)
        assert torch.equal(result.out.view(torch.uint8), expected.out.view(torch.uint8))
        assert torch.equal(result.out_scale, expected.out_scale)


def test_mixed_frameworks() -> None:
    """On one device; what is allocated follows x."""
    torch = pytest.importorskip("torch")
    problem = problem_of("e4m3", "block")
    result = run_with(problem, of_torch, x=problem.arguments["x"])
    assert isinstance(result.out, np.ndarray)
    assert_as_numpy(problem, result)
    result = run_with(problem, lambda array: array, x=of_torch(problem.arguments["x"]))
    assert isinstance(result.out, torch.Tensor)
    assert_as_numpy(problem, result)

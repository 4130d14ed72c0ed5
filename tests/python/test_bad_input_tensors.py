"""Tensors that lie, break, or live elsewhere."""

from __future__ import annotations

from typing import Any

import cases
import moe_act
import numpy as np
import pytest
from moe_act import rows as conventions
from refusals import assert_refused, good_call
from tensors import DEVICES, Exporter, get, new_capsule

FLOATS = np.ones((6, 384), np.float32)


# What a producer may say of x that cannot be: the exporter's arguments, the error, its words.
EXPORTS = {
    "null data": ({"data": 0}, ValueError, "data pointer is null, expected float32 [6, 384]"),
    "null data of before DLPack 1.0": ({"data": 0, "version": None}, ValueError, "data pointer is null"),
    "null shape": ({"shape": None}, ValueError, "its shape is missing"),
    "negative rank": ({"ndim": -1}, ValueError, "its shape is missing"),
    "nine axes": ({"ndim": 9, "shape": (1,) * 9}, ValueError, "at most 8 dimensions, got 9"),
    "negative size": ({"shape": (-6, 384)}, ValueError, "negative size -6"),
    "size past 63 bits": ({"shape": (1 << 40, 1 << 40)}, ValueError, "its size exceeds 63 bits"),
    "rows past the address space": ({"strides": (1 << 60, 1)}, ValueError, "exceeds the address space"),
    "columns past 32-bit offsets": ({"shape": (1, 2**63 - 2)}, ValueError, "at most 268435456 output columns"),
    "two lanes": ({"dtype": (2, 32, 2), "shape": (6, 192)}, TypeError, "got float32x2 [6, 192]"),
    "unknown dtype": ({"dtype": (99, 32, 1)}, TypeError, "got dtype code 99 of 32 bits [6, 384]"),
    "e2m1, two a byte": ({"dtype": (17, 4, 2)}, NotImplementedError, "e2m1 input has no kernel; supported: 'fp32'"),
    "e2m1": ({"dtype": (17, 4, 1)}, NotImplementedError, "supported: 'fp32', 'fp16', 'bf16', 'e4m3'"),
    "another device": ({"device": (10, 0)}, NotImplementedError, "expected CPU (1) or CUDA (2), got DLPack"),
    "DLPack 2": ({"version": (2, 0)}, ValueError, "expected DLPack 1.x, got major version 2"),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_exports_that_cannot_be(name: str) -> None:
    told, error, says = EXPORTS[name]
    argument = "device" if name == "another device" else "x"
    assert_refused(error, argument, says, lambda: moe_act.gated_act_quant(Exporter(FLOATS, **told)))


def test_lanes_do_not_hide_behind_a_format() -> None:
    """Four codes to an element would be read as one."""
    x = Exporter(FLOATS, dtype=(1, 8, 4))
    assert_refused(TypeError, "x", "got uint8x4 [6, 384]", lambda: moe_act.gated_act_quant(x, x_format="e4m3"))


def test_read_only_exports_are_not_written() -> None:
    out = cases.poisoned((6, 192), np.uint8)
    read_only = Exporter(out, dtype=(1, 8, 1), flags=1)
    assert_refused(ValueError, "out", "read-only", lambda: moe_act.gated_act_quant(FLOATS, out=read_only))
    assert (out == cases.POISON).all()


class Answers:
    """__dlpack__ and __dlpack_device__ as told: an exception is raised, anything else returned."""

    def __init__(self, capsule: Any, device: Any = (1, 0)) -> None:
        self.capsule, self.device = capsule, device

    def answer(self, told: Any) -> Any:
        if isinstance(told, BaseException):
            raise told
        return told

    def __dlpack_device__(self) -> Any:
        return self.answer(self.device)

    def __dlpack__(self, **arguments: Any) -> Any:
        return self.answer(self.capsule)


class NotCallable(Answers):
    __dlpack__ = 3  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__(None)


def consumed_capsule() -> Any:
    """What is left of a capsule when another library has taken its tensor."""
    return new_capsule(1, b"used_dltensor", None)


@pytest.mark.parametrize(
    ("producer", "error", "says"),
    [
        (Answers(RuntimeError("no\nway")), ValueError, "its __dlpack__ failed: no"),
        (Answers(TypeError("of its own")), ValueError, "its __dlpack__ failed: of its own"),
        (Answers(3), TypeError, "its __dlpack__ returned int, expected a DLPack capsule"),
        (Answers(None), TypeError, "its __dlpack__ returned NoneType, expected a DLPack capsule"),
        (
            Answers(consumed_capsule()),
            TypeError,
            "expected a DLPack capsule, 'dltensor' or 'dltensor_versioned', got 'used",
        ),
        (NotCallable(), ValueError, "its __dlpack__ failed: 'int' object is not callable"),
        (Answers(3, RuntimeError("lost")), ValueError, "its __dlpack_device__ failed: lost"),
        (Answers(3, "ab"), TypeError, "its __dlpack_device__ returned 'ab', expected (device type, device id)"),
        (Answers(3, (1,)), TypeError, "returned (1,), expected (device type, device id)"),
        (Answers(3, (1 << 40, 0)), TypeError, "expected (device type, device id)"),
        (Answers(3, None), TypeError, "returned None, expected (device type, device id)"),
    ],
)
@pytest.mark.parametrize("argument", ["x", "x_scale", "out", "out_scale", "expanded_idx_to_permuted_idx"])
def test_producers_that_break(argument: str, producer: Answers, error: type[Exception], says: str) -> None:
    call = good_call("cpu")
    kept = call["out"], call["out_scale"]
    call[argument] = producer
    assert_refused(error, argument, says, lambda: moe_act.gated_act_quant(**call, x_format="e4m3"))
    for result in kept:
        assert (result.view(np.uint8) == cases.POISON).all()


@pytest.mark.parametrize("argument", ["x", "out", "expanded_idx_to_permuted_idx"])
def test_capsules_that_are_used_up(argument: str) -> None:
    call = good_call("cpu") | {argument: consumed_capsule()}
    says = "'dltensor' or 'dltensor_versioned', got 'used_dltensor'"
    assert_refused(TypeError, argument, says, lambda: moe_act.gated_act_quant(**call, x_format="e4m3"))
    assert (call["out_scale"].view(np.uint8) == cases.POISON).all()


@pytest.mark.parametrize("version", [(2, 0), (1, 1)])
def test_capsules_of_another_version_or_device(version: tuple[int, int]) -> None:
    """A capsule says all that a producer does."""
    exporter = Exporter(FLOATS, version=version, device=(10, 0))
    argument, error = ("x", ValueError) if version == (2, 0) else ("device", NotImplementedError)
    assert_refused(error, argument, "expected", lambda: moe_act.gated_act_quant(exporter.__dlpack__()))


def test_a_capsule_on_cuda_has_no_framework() -> None:
    """Who allocates its results? Said by its producer alone: the memory is never looked at."""
    exporter = Exporter(FLOATS, device=(2, 0))
    says = "expected memory for the result: a DLPack capsule on CUDA has no framework to allocate it"
    assert_refused(TypeError, "out", says, lambda: moe_act.gated_act_quant(exporter.__dlpack__()))


def test_what_a_producer_raised_is_the_cause() -> None:
    cause = RuntimeError("no way")
    with pytest.raises(ValueError) as raised:
        moe_act.gated_act_quant(Answers(cause))
    assert raised.value.__cause__ is cause


def test_an_interrupt_is_no_bad_input() -> None:
    with pytest.raises(KeyboardInterrupt):
        moe_act.gated_act_quant(Answers(KeyboardInterrupt()))


DTYPES = {np.dtype(np.uint8): (1, 8, 1), np.dtype(np.int32): (0, 32, 1), np.dtype(np.float32): (2, 32, 1)}


@pytest.mark.parametrize("argument", [name for name in good_call("cpu") if name != "x"])
def test_another_device_than_that_of_x(argument: str) -> None:
    """Said by its producer alone: the memory is never looked at."""
    call = good_call("cpu")
    array = call[argument]
    call[argument] = Exporter(array, dtype=DTYPES[array.dtype], device=(2, 1))
    says = "expected a tensor on cpu (the device of x), got one on cuda:1"
    assert_refused(ValueError, argument, says, lambda: moe_act.gated_act_quant(**call, x_format="e4m3"))


def elsewhere(*values: int) -> Exporter:
    return Exporter(np.array(values, np.int32), dtype=(0, 32, 1), device=(2, 1))


def here(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


@pytest.mark.parametrize(
    ("argument", "rows"),
    [
        ("valid_rows", conventions.ValidPrefix(elsewhere(3))),
        ("tile_limits", conventions.TileLimits(elsewhere(3), 6)),
        ("num_live_tiles", conventions.TileLimits(here(3), 6, elsewhere(1))),
        ("row_to_expert", conventions.RowToExpert(elsewhere(0, 0, 0, 0, 0, 0))),
        ("sorted_token_ids", conventions.SortedTokenIds(elsewhere(3), 6, here(1))),
        ("num_tokens_post_padded", conventions.SortedTokenIds(here(3), 6, elsewhere(1))),
        ("expert_offsets", conventions.ExpertOffsets(elsewhere(0, 6))),
        ("expert_ends", conventions.ExpertEnds(elsewhere(6))),
        ("tile_to_expert", conventions.Dense(tile_to_expert=elsewhere(0), tile_tokens=6)),
        ("permuted_to_expanded", conventions.ExpertEnds(here(6), permuted_to_expanded=elsewhere(0, 1, 2, 3, 4, 5))),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_rows_on_another_device_than_that_of_x(argument: str, rows: Any) -> None:
    call = {"x": FLOATS, "out": cases.poisoned((6, 192), np.uint8), "rows": rows}
    says = "expected a tensor on cpu (the device of x), got one on cuda:1"
    assert_refused(ValueError, argument, says, lambda: moe_act.gated_act_quant(**call))
    assert (call["out"] == cases.POISON).all()


@pytest.mark.gpu
@pytest.mark.parametrize("argument", good_call("cpu"))
def test_a_tensor_on_the_cpu_among_cuda_tensors(argument: str) -> None:
    call = good_call("cuda")
    kept = call["out"], call["out_scale"]
    call[argument] = good_call("cpu")[argument]
    named, on, got = ("x_scale", "cpu", "cuda:0") if argument == "x" else (argument, "cuda:0", "cpu")
    says = f"expected a tensor on {on} (the device of x), got one on {got}"
    assert_refused(ValueError, named, says, lambda: moe_act.gated_act_quant(**call, x_format="e4m3"))
    for result in kept:
        assert (get(result).view(np.uint8) == cases.POISON).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("argument", ["x", "out_scale", "out_unquantized", "bias", "alpha", "limit", "weight"])
@pytest.mark.parametrize("by_plan", [False, True], ids=["call", "plan"])
def test_tensors_that_require_grad(argument: str, by_plan: bool, device: str) -> None:
    torch = pytest.importorskip("torch")
    written = {"out_scale": torch.full((2, 6), 7.0), "out_unquantized": torch.full((6, 192), 7.0)}
    of_experts = {"bias": torch.ones(1, 384), "alpha": torch.ones(1), "limit": torch.ones(1), "weight": torch.ones(6)}
    call = {name: tensor.to(device) for name, tensor in {"x": torch.ones(6, 384), **written, **of_experts}.items()}
    zeros = torch.zeros(6, dtype=torch.int32, device=device)
    call["rows"] = conventions.RowToExpert(zeros, permuted_to_expanded=zeros)
    run = moe_act.plan(**call).run if by_plan else moe_act.gated_act_quant
    call[argument].requires_grad_()
    says = "does not require grad (the operation has no gradient); pass .detach()"
    assert_refused(ValueError, argument, says, lambda: run(**call))
    assert all((call[name] == 7).all() for name in written)
    run(**call | {argument: call[argument].detach()})


def test_torch_tensors_without_memory() -> None:
    torch = pytest.importorskip("torch")
    for tensor in (torch.ones(6, 384, device="meta"), torch.ones(6, 384).to_sparse()):
        assert_refused(ValueError, "x", "failed: ", lambda tensor=tensor: moe_act.gated_act_quant(tensor))


def test_torch_e2m1() -> None:
    torch = pytest.importorskip("torch")
    if not hasattr(torch, "float4_e2m1fn_x2"):
        pytest.skip("this torch has no float4_e2m1fn_x2")
    x = torch.zeros(6, 192, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    assert_refused(NotImplementedError, "x", "supported: 'fp32', ", lambda: moe_act.gated_act_quant(x))


def test_a_torch_tensor_that_changes_while_it_is_asked() -> None:
    """It is taken as it was exported, though what says whether it requires grad gives it other lengths."""
    torch = pytest.importorskip("torch")

    class Changing(torch.Tensor):
        @property
        def requires_grad(self) -> bool:
            self.as_strided_((2,) * 5 + (256,), (0,) * 5 + (1,))
            return False

    x = torch.randn(4, 512)
    out, out_scale = moe_act.gated_act_quant(x)
    results = {"out": torch.empty_like(out), "out_scale": torch.empty_like(out_scale)}
    moe_act.gated_act_quant(x.clone().as_subclass(Changing), **results)
    assert torch.equal(results["out"].view(torch.uint8), out.view(torch.uint8))
    assert torch.equal(results["out_scale"], out_scale)

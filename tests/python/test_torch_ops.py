"""The operation as torch operators, called, traced and refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import moe_act
import pytest
from tensors import DEVICES

torch = pytest.importorskip("torch")
from moe_act.torch import gated_act_quant  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402
from torch_calls import (  # noqa: E402
    COLUMNS,
    CONVENTIONS,
    LAYOUTS,
    ROWS,
    assert_same,
    calls,
    codes,
    e4m3_call,
    flattened,
    make_x,
    model_call,
    static_call,
    tiled_call,
    zeros_as,
)

OPERATOR = torch.ops.moe_act.gated_act_quant
RESULTS = {"out", "out_scale"}


@pytest.fixture(autouse=True)
def nothing_compiled() -> None:
    torch.compiler.reset()


@pytest.mark.parametrize("device", DEVICES)
def test_the_operators_are_the_operation(device: str) -> None:
    """Face, functional and out variant: the same bytes, shapes and strides as the plain call."""
    for call in calls(device):
        expected = moe_act.gated_act_quant(**call)
        assert_same(gated_act_quant(**call), expected)
        assert_same(OPERATOR(call["x"], **flattened(call)), expected)
        plain, ours = ([zeros_as(result) for result in expected] for _ in range(2))
        moe_act.gated_act_quant(**call, out=plain[0], out_scale=plain[1])
        given = gated_act_quant(**call, out=ours[0], out_scale=ours[1])
        assert given.out is ours[0] and given.out_scale is ours[1]
        assert_same(given, plain)


@pytest.mark.parametrize("device", DEVICES)
def test_fake_results_have_the_real_shapes(device: str) -> None:
    """And strides, dtypes and devices: of every convention with every layout."""
    for call in calls(device):
        expected = OPERATOR(call["x"], **flattened(call))
        with FakeTensorMode() as mode:
            fakes = {
                name: mode.from_tensor(value) if isinstance(value, torch.Tensor) else value
                for name, value in ({"x": call["x"]} | flattened(call)).items()
            }
            results = OPERATOR(fakes.pop("x"), **fakes)
        for fake, real in zip(results, expected, strict=True):
            assert (fake is None) == (real is None)
            if real is not None:
                described = [(t.shape, t.stride(), t.dtype, t.device) for t in (fake, real)]
                assert described[0] == described[1], (call, described)


def test_the_schema_has_the_arguments_of_the_call() -> None:
    """With objects taken apart, without a stream; the defaults are the call's."""
    plain = dict(inspect.signature(moe_act.gated_act_quant).parameters)
    results = {name: plain.pop(name) for name in ("out", "out_scale", "out_unquantized", "unquantized_format")}
    del plain["rows"], plain["stream"]
    taken_apart = {"row_kind", "row_index", "row_count", "tile_tokens", "expert_alignment", "num_valid_ids"}
    taken_apart |= {"buffer_row", "tile_to_expert", "permuted_to_expanded"}
    taken_apart |= {"alpha_of_expert", "beta_of_expert", "limit_of_expert"}
    taken_apart |= set(moe_act.Numerics.__dataclass_fields__) - {"preset"}
    for overload, given in ((OPERATOR.default, {}), (OPERATOR.out, results)):
        arguments = {argument.name: argument for argument in overload._schema.arguments}
        assert set(arguments) == set(plain) | taken_apart | set(given)
        for name, parameter in plain.items():
            if name != "x":
                assert arguments[name].default_value == parameter.default, name
    for overload, expected in ((OPERATOR.out, {"out", "out_scale", "out_unquantized"}), (OPERATOR.plain_out, RESULTS)):
        written = {a.name for a in overload._schema.arguments if a.alias_info is not None and a.alias_info.is_write}
        assert written == expected
    for overload in (OPERATOR.default, OPERATOR.plain):
        assert not any(argument.alias_info for argument in overload._schema.arguments)


def test_the_plain_overloads_have_some_of_the_arguments() -> None:
    """As the others have them, but by position."""
    for plain, full in ((OPERATOR.plain, OPERATOR.default), (OPERATOR.plain_out, OPERATOR.out)):
        all_of = {argument.name: argument for argument in full._schema.arguments}
        for argument in plain._schema.arguments:
            same = all_of[argument.name]
            assert (argument.type, argument.default_value) == (same.type, same.default_value)
            assert not argument.kwarg_only


def test_kernels_by_position_take_nothing_else() -> None:
    """Nor more arguments than there are, nor none: torch does not call them so, but a kernel must not read past any."""
    *_, run_plain, run_plain_out = moe_act._core.operator_kernels(lambda written: None, torch.is_grad_enabled)
    x = make_x("cpu")
    for kernel, most in ((run_plain, 6), (run_plain_out, 8)):
        for given, names in (((), {}), ((x,) * (most + 1), {}), ((x,), {"x_scale": None})):
            with pytest.raises(TypeError, match=f"expected 1 to {most} arguments, by position"):
                kernel(*given, **names)
    out, out_scale = run_plain(x, None, None, None, "row_major")
    expected = moe_act.gated_act_quant(x, out_scale_layout="row_major")
    assert torch.equal(codes(out), codes(expected.out)) and torch.equal(out_scale, expected.out_scale)


@pytest.mark.parametrize("device", DEVICES)
def test_calls_of_a_few_arguments_take_the_plain_overloads(device: str) -> None:
    """And those of others do not."""
    x = make_x(device)
    overloads = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            overloads.append(func)
            return func(*args, **(kwargs or {}))

    def called(**options: Any) -> list[Any]:
        overloads.clear()
        with Watch():
            gated_act_quant(x, **options)
        return [each for each in overloads if each._schema.name.startswith("moe_act")]

    results = dict(zip(("out", "out_scale"), moe_act.gated_act_quant(x, out_scale_layout="row_major"), strict=True))
    assert called(out_scale_layout="row_major") == [OPERATOR.plain]
    assert called(out_scale_layout="row_major", **results) == [OPERATOR.plain_out]
    assert called(activation="geglu") == [OPERATOR.default]
    assert called(activation="geglu", out_scale_layout="row_major", **results) == [OPERATOR.out]
    copy = torch.zeros(ROWS, COLUMNS, dtype=torch.bfloat16, device=device)
    assert called(out_scale_layout="row_major", out_unquantized=copy, **results) == [OPERATOR.out]


OPCHECKS = [
    *({"out_scale_layout": layout} for layout in LAYOUTS),
    {"out_format": "bf16"},
    {"out_scaling": "row", "out_format": "e5m2"},
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("options", OPCHECKS, ids=lambda options: "-".join(options.values()))
def test_opcheck(options: dict[str, Any], device: str) -> None:
    """Results in fp8 are given as integer views: opcheck compares arguments, and torch compares no fp8. It also copies
    them without the gaps in their strides, so that there are none: a multiple of 4 rows."""
    x = make_x(device)[: ROWS // 4 * 4]
    torch.library.opcheck(OPERATOR.default, (x,), options)
    results = [codes(result) for result in OPERATOR.default(x, **options)]
    given = options | {"out": results[0], "out_scale": results[1]}
    torch.library.opcheck(OPERATOR.out, (x,), given)
    if set(options) == {"out_scale_layout"}:
        torch.library.opcheck(OPERATOR.plain, (x,), options)
        torch.library.opcheck(OPERATOR.plain_out, (x, None), given)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", CONVENTIONS)
def test_opcheck_of_every_convention(name: str, device: str) -> None:
    call = {"x": make_x(device, masked=name == "masked")} | CONVENTIONS[name](device)
    # What a map of the valid rows leaves out is not written, and then two runs differ: these name every row.
    torch.library.opcheck(OPERATOR.default, (call["x"],), flattened(call))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("make", [e4m3_call, static_call, model_call, tiled_call])
def test_opcheck_of_other_inputs(make: Callable[[str], dict[str, Any]], device: str) -> None:
    call = make(device)
    arguments = flattened(call) | ({"x_format": "e4m3"} if make is e4m3_call else {})
    torch.library.opcheck(OPERATOR.default, (codes(call["x"]), arguments.pop("x_scale", None)), arguments)


@pytest.mark.parametrize("device", DEVICES)
def test_the_unquantized_copy(device: str) -> None:
    """Written beside given results."""
    x = make_x(device)
    results = [zeros_as(result) for result in moe_act.gated_act_quant(x)]
    copy = torch.zeros(ROWS, COLUMNS, dtype=torch.bfloat16, device=device)
    version = copy._version
    assert_same(
        gated_act_quant(x, out=results[0], out_scale=results[1], out_unquantized=copy), moe_act.gated_act_quant(x)
    )
    assert torch.equal(copy, moe_act.gated_act_quant(x, out_format="bf16").out) and copy._version == version + 1
    given = {"out": codes(results[0]), "out_scale": results[1], "out_unquantized": copy}
    torch.library.opcheck(OPERATOR.out, (x,), given)


@pytest.mark.parametrize("take_lists", [True, False])
def test_writes_are_counted_by_any_torch(take_lists: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older ones count a tensor at a time, and none that was made for inference."""
    increment = torch.autograd.graph.increment_version

    def increment_one(tensor: Any) -> None:
        if isinstance(tensor, list) or tensor.is_inference():
            raise TypeError("increment_version expects a tensor")
        increment(tensor)

    if not take_lists:
        monkeypatch.setattr(torch.autograd.graph, "increment_version", increment_one)
    with torch.inference_mode():
        for_inference = torch.zeros(3)
    tensor = torch.zeros(3)
    moe_act.torch._choose_count_writes()([tensor, for_inference])
    assert tensor._version == 1


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "half of the results": ({"out_scale": torch.zeros(3, ROWS)}, ValueError, "out: expected a tensor, as out_scale"),
    "the other half": (
        {"out": torch.zeros(ROWS, COLUMNS).byte()},
        ValueError,
        "out_scale: expected a tensor, as out is",
    ),
    "a copy alone": ({"out_unquantized": torch.zeros(ROWS, COLUMNS)}, ValueError, "out: expected a tensor, as out_unq"),
    "no convention": ({"rows": "masked"}, TypeError, "rows: expected an object of moe_act.rows, got str"),
    "an unknown convention": ({"row_kind": "odd"}, ValueError, "row_kind: expected one of"),
    "a nameless convention": ({"row_index": torch.zeros(3)}, ValueError, "row_kind: expected the name of a conv"),
    "two conventions": (
        {"row_kind": "dense", "expanded_idx_to_permuted_idx": torch.zeros(3, dtype=torch.int32)},
        ValueError,
        "row_kind: expected None: expanded_idx_to_permuted_idx says which rows there are",
    ),
    "an unknown preset": ({"numerics": "odd"}, ValueError, "preset: expected one of|numerics: expected one of"),
    "an unknown format": ({"out_format": "e9m9"}, ValueError, "out_format: expected one of"),
    "rank": ({"x": torch.zeros(8)}, ValueError, r"x: expected \[rows, 2H\], got float32 \["),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_is_written(name: str) -> None:
    """Eager and traced."""
    change, error, says = REFUSED[name]
    call = {"x": make_x("cpu")} | change
    with pytest.raises(error, match=f"^({says})"):
        gated_act_quant(**call)
    assert not any(change[result].any() for result in ("out", "out_scale") if result in change)
    with pytest.raises(Exception, match=says):
        torch.compile(gated_act_quant, fullgraph=True, backend="aot_eager")(**call)


@pytest.mark.filterwarnings("ignore:.*[Qq]uantize.*:UserWarning", "ignore:Sparse CSR:UserWarning")
@pytest.mark.parametrize("argument", ["x", "out"])
def test_tensors_without_plain_memory(argument: str) -> None:
    """Sparse ones and quantized ones, by the operator and by the plain call."""
    for spoil in (
        lambda tensor: tensor.to_sparse(),
        lambda tensor: tensor.to_sparse_csr(),
        lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.quint8),
    ):
        out, out_scale = torch.full((ROWS, COLUMNS), 7.0), torch.full((3, ROWS), 7.0)
        call = {"x": make_x("cpu").float(), "out": out, "out_format": "fp32"}
        call[argument] = spoil(call[argument])
        with pytest.raises(NotImplementedError, match="Could not run 'moe_act::gated_act_quant"):
            gated_act_quant(**call)
        with pytest.raises(ValueError, match=f"^{argument}: its DLPack export failed: "):
            moe_act.gated_act_quant(**call)
        assert (out == 7).all() and (out_scale == 7).all()


@pytest.mark.parametrize("argument", ["x", "out", "out_scale"])
def test_fake_tensors_outside_of_tracing(argument: str) -> None:
    """They have no memory: the plain call refuses them, the operator answers with fakes."""
    out = torch.zeros(ROWS, COLUMNS, dtype=torch.float8_e4m3fn)
    call = {"x": make_x("cpu"), "out": out, "out_scale": torch.zeros(3, ROWS)}
    kept = {name: tensor for name, tensor in call.items() if name != argument}
    call[argument] = FakeTensorMode().from_tensor(call[argument])
    with pytest.raises(ValueError, match=f"^{argument}: its data pointer is null, expected "):
        moe_act.gated_act_quant(**call)
    for name in {"out", "out_scale"} & set(kept):
        assert not codes(kept[name]).any()


def test_meta_tensors() -> None:
    out, out_scale = gated_act_quant(make_x("meta"))
    assert out.device.type == out_scale.device.type == "meta"
    assert out.shape == (ROWS, COLUMNS) and out_scale.shape == (3, ROWS)

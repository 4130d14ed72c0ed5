"""The operation as torch operators: eager, traced, compiled, captured."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import moe_act
import pytest
from tensors import DEVICES

torch = pytest.importorskip("torch")
from moe_act import rows as conventions  # noqa: E402
from moe_act.torch import gated_act_quant  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

# Of torch's own imports, and of what Inductor would advise.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:TensorFloat32:UserWarning"),
]

OPERATOR = torch.ops.moe_act.gated_act_quant
ROWS, COLUMNS = 37, 320  # of results: three blocks, the last one partial
LAYOUTS = ("column_major", "row_major", "tma_column_major", "packed_ue8m0", "swizzled_128x4")


@pytest.fixture(autouse=True)
def nothing_compiled() -> None:
    torch.compiler.reset()


def index(device: str, *values: int) -> Any:
    return torch.tensor(values, dtype=torch.int32, device=device)


# A convention's arguments on a device.
CONVENTIONS: dict[str, Callable[[str], dict[str, Any]]] = {
    "dense": lambda device: {},
    "map": lambda device: {"expanded_idx_to_permuted_idx": index(device, *range(ROWS - 1, -1, -1))},
    "prefix": lambda device: {"rows": conventions.ValidPrefix(index(device, 20))},
    "tile limits": lambda device: {"rows": conventions.TileLimits(index(device, 3, 8, 20, 30, 33), 8)},
    "live tiles": lambda device: {"rows": conventions.TileLimits(index(device, 3, 8, 20, 30, 33), 8, index(device, 3))},
    "row to expert": lambda device: {"rows": conventions.RowToExpert(index(device, *range(-1, ROWS - 1)))},
    "sorted ids": lambda device: {
        "rows": conventions.SortedTokenIds(index(device, *range(ROWS - 1, -1, -1)), 30, index(device, 32))
    },
    "sorted ids, by id": lambda device: {
        "rows": conventions.SortedTokenIds(index(device, *range(ROWS)), ROWS, index(device, ROWS), buffer_row="id")
    },
    "offsets": lambda device: {"rows": conventions.ExpertOffsets(index(device, 0, 3, 3, 36))},
    "ends": lambda device: {"rows": conventions.ExpertEnds(index(device, 3, 4, 30), expert_alignment=4)},
    "masked": lambda device: {"rows": conventions.Masked(index(device, 5, 0, ROWS))},
}
OPTIONS: dict[str, dict[str, Any]] = {
    **{layout: {"out_scale_layout": layout} for layout in LAYOUTS},
    "blocks of 32, swizzled": {"out_scale_layout": "swizzled_128x4", "out_block": 32},
    "ue8m0, row major": {"out_scale_layout": "row_major", "out_scale_format": "ue8m0"},
    "power of two": {"scale_rounding": "power_of_two", "out_block": 64},
    "per row": {"out_scaling": "row"},
    "e5m2": {"out_format": "e5m2"},
    "bf16": {"out_format": "bf16", "gate": "first_half"},
    "fp16": {"out_format": "fp16"},
    "fp32": {"out_format": "fp32"},
    "interleaved, clamped": {"gate": "interleaved", "interleave": 8, "alpha": 1.702, "beta": 1.0, "limit": 7.0},
    "ungated": {"activation": "gelu_tanh"},
    "situ": {"activation": "situ", "gate_bound": 2.0, "up_bound": 3.0},
    "a preset": {"numerics": "te_mxfp8"},
    "parts of numerics": {"numerics": moe_act.Numerics("deepgemm", smallest_amax=0.5, clamp_rounding="none")},
}


def make_x(device: str, masked: bool = False, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    shape = (3, ROWS, 2 * COLUMNS) if masked else (ROWS, 2 * COLUMNS)
    return torch.randn(shape, generator=generator).to(device, torch.bfloat16)


def e4m3_call(device: str) -> dict[str, Any]:
    """Quantized input, and a padded total that only the device knows."""
    x = make_x(device).float().to(torch.float8_e4m3fn)
    scales = torch.full((5 * ROWS,), 0.5, device=device)
    return {"x": x, "x_scale": scales, "total_num_padded_tokens": index(device, ROWS)}


def static_call(device: str) -> dict[str, Any]:
    return {"x": make_x(device), "static_scale": torch.tensor([0.25], device=device)}


def model_call(device: str) -> dict[str, Any]:
    """What experts have of their own, and what rows are weighted with."""
    numbers = torch.linspace(0.5, 2, 3, device=device)
    return {
        "x": make_x(device),
        "rows": conventions.ExpertOffsets(
            index(device, 0, 3, 3, 36), permuted_to_expanded=index(device, *range(ROWS - 1, -1, -1))
        ),
        "bias": torch.linspace(-1, 1, 3 * 2 * COLUMNS, device=device).view(3, 2 * COLUMNS),
        "alpha": numbers,
        "beta": numbers,
        "limit": numbers,
        "weight": torch.linspace(0.1, 1, ROWS, device=device),
    }


def tiled_call(device: str) -> dict[str, Any]:
    """Experts by tile, beside rows that have none of their own."""
    rows = conventions.Dense(tile_to_expert=index(device, 2, 0, 1), tile_tokens=16)
    return {"x": make_x(device), "rows": rows, "limit": torch.tensor([0.5, 1, 2], device=device)}


def calls(device: str) -> Iterator[dict[str, Any]]:
    """Every convention with every kind of result, quantized input, one given scale, experts with their own numbers."""
    for name, rows in CONVENTIONS.items():
        for options in OPTIONS.values():
            unknown_padding = name in ("map", "sorted ids, by id")
            if unknown_padding and options.get("out_scale_layout") == "swizzled_128x4":
                continue  # the rows that the layout adds stay uninitialized
            yield {"x": make_x(device, masked=name == "masked")} | rows(device) | options
    for make in (e4m3_call, static_call, model_call, tiled_call):
        yield make(device)


def codes(tensor: Any) -> Any:
    """A tensor whose values torch compares: fp8 as its codes."""
    return tensor.view(torch.uint8) if tensor is not None and tensor.element_size() == 1 else tensor


def zeros_as(tensor: Any) -> Any:
    """Strides and all, which torch.zeros_like closes up."""
    if tensor is None:
        return None
    fresh = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device)
    codes(fresh).zero_()
    return fresh


def assert_same(got: Any, expected: Any) -> None:
    for ours, wanted in zip(got, expected, strict=True):
        assert (ours is None) == (wanted is None)
        if wanted is not None:
            assert (ours.shape, ours.stride(), ours.dtype) == (wanted.shape, wanted.stride(), wanted.dtype)
            assert torch.equal(codes(ours), codes(wanted))


def flattened(call: dict[str, Any]) -> dict[str, Any]:
    """The same call of the operator itself."""
    arguments = {name: value for name, value in call.items() if name not in ("x", "rows", "numerics")}
    if "rows" in call:
        said = call["rows"]._said()._asdict()
        arguments |= {"row_kind": said.pop("kind"), "row_index": said.pop("index"), "row_count": said.pop("count")}
        arguments |= {name: value for name, value in said.items() if name not in ("index_name", "count_name")}
    numerics = call.get("numerics", "flashinfer")
    if isinstance(numerics, moe_act.Numerics):
        arguments |= vars(numerics)
        numerics = arguments.pop("preset")
    arguments["numerics"] = numerics
    for name in ("alpha", "beta", "limit"):
        if isinstance(arguments.get(name), torch.Tensor):
            arguments[f"{name}_of_expert"] = arguments.pop(name)
    return arguments


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
    taken_apart |= {"sorted_rows", "tile_to_expert", "permuted_to_expanded"}
    taken_apart |= {"alpha_of_expert", "beta_of_expert", "limit_of_expert"}
    taken_apart |= set(moe_act.Numerics.__dataclass_fields__) - {"preset"}
    for overload, given in ((OPERATOR.default, {}), (OPERATOR.out, results)):
        arguments = {argument.name: argument for argument in overload._schema.arguments}
        assert set(arguments) == set(plain) | taken_apart | set(given)
        for name, parameter in plain.items():
            if name != "x":
                assert arguments[name].default_value == parameter.default, name
    written = {a.name for a in OPERATOR.out._schema.arguments if a.alias_info is not None and a.alias_info.is_write}
    assert written == {"out", "out_scale", "out_unquantized"}
    assert not any(argument.alias_info for argument in OPERATOR.default._schema.arguments)


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
    results = [codes(result) for result in OPERATOR(x, **options)]
    torch.library.opcheck(OPERATOR.out, (x,), options | {"out": results[0], "out_scale": results[1]})


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


def block(x: Any, ends: Any, layout: str) -> tuple[Any, Any]:
    """Something before, something after, and a result that leaves the graph as it is."""
    out, out_scale = gated_act_quant(x * 2, rows=conventions.ExpertEnds(ends), out_scale_layout=layout)
    return out.float() + 1, out_scale


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_once_for_any_number_of_tokens(backend: str, device: str) -> None:
    """Inductor asks whether scales for TMA are contiguous, and so compiles once more where they are."""
    compiled = torch.compile(block, fullgraph=True, backend=backend)
    for layout in ("tma_column_major", "swizzled_128x4") if backend == "aot_eager" else ("column_major",):
        stance = "default"
        for rows in (ROWS, 64, 9, 128):
            x, ends = torch.randn(rows, 2 * COLUMNS, device=device), index(device, 2, 4, 9)
            torch._dynamo.mark_dynamic(x, 0)
            with torch.compiler.set_stance(stance):
                got = compiled(x, ends, layout)
            stance = "fail_on_recompile"
            assert_same(got, block(x, ends, layout))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layout", ["column_major", "tma_column_major"])
def test_compiled_writes_what_is_given(layout: str, device: str) -> None:
    def step(x: Any, out: Any, out_scale: Any) -> Any:
        gated_act_quant(x, out=out, out_scale=out_scale, out_scale_layout=layout)
        return out_scale * 2

    x = make_x(device)
    expected = moe_act.gated_act_quant(x, out_scale_layout=layout)
    out, out_scale = (zeros_as(result) for result in expected)
    doubled = torch.compile(step, fullgraph=True, backend="aot_eager")(x, out, out_scale)
    assert_same((out, out_scale), expected)
    assert torch.equal(doubled, 2 * out_scale)


def test_autograd_hears_of_what_is_written() -> None:
    x, out = make_x("cpu"), torch.zeros(ROWS, COLUMNS)
    weight = torch.ones(COLUMNS, requires_grad=True)
    product = (out * weight).sum()
    gated_act_quant(x, out_format="fp32", out=out)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_without_gradients(off: Any, device: str) -> None:
    """Parameters are tensors that require grad: where gradients are off, they serve as any other."""
    x = make_x(device)
    expected = moe_act.gated_act_quant(x)
    parameter = torch.nn.Parameter(x)
    with off():
        assert_same(gated_act_quant(parameter), expected)
        results = [zeros_as(result) for result in expected]
        assert_same(gated_act_quant(parameter, out=results[0], out_scale=results[1]), expected)
        compiled = torch.compile(gated_act_quant, fullgraph=True, backend="aot_eager")
        assert_same(compiled(parameter), expected)


@pytest.mark.parametrize("device", DEVICES)
def test_a_gradient_is_refused(device: str) -> None:
    x = make_x(device).requires_grad_()
    out, out_scale = torch.zeros(ROWS, COLUMNS, device=device), None
    says = "x: expected a tensor that does not require grad"
    with pytest.raises(ValueError, match=f"^{says}"):
        gated_act_quant(x)
    with pytest.raises(ValueError, match=f"^{says}"):
        gated_act_quant(x, out_format="fp32", out=out, out_scale=out_scale)
    with pytest.raises(Exception, match=says):
        torch.compile(gated_act_quant, fullgraph=True, backend="aot_eager")(x)
    assert not out.any()


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "half of the results": ({"out_scale": torch.zeros(3, ROWS)}, ValueError, "out: expected a tensor, as out_scale"),
    "the other half": ({"out": torch.zeros(ROWS, COLUMNS)}, ValueError, "out_scale: expected a tensor, as out is"),
    "a copy alone": ({"out_unquantized": torch.zeros(ROWS, COLUMNS)}, ValueError, "out: expected a tensor, as out_unq"),
    "no convention": ({"rows": "masked"}, TypeError, "rows: expected an object of moe_act.rows, got str"),
    "an unknown convention": ({"row_kind": "odd"}, ValueError, "row_kind: expected one of"),
    "a nameless convention": ({"row_index": torch.zeros(3)}, ValueError, "row_kind: expected the name of a conv"),
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


@pytest.mark.gpu
@pytest.mark.parametrize("given", [False, True], ids=["allocated", "given"])
def test_captured_in_a_cuda_graph(given: bool) -> None:
    """A replay reads what lies in x now."""
    x = make_x("cuda")
    results = [zeros_as(result) for result in moe_act.gated_act_quant(x)]
    arguments = {"out": results[0], "out_scale": results[1]} if given else {}
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = gated_act_quant(x, **arguments)
    x.copy_(make_x("cuda", seed=1))
    graph.replay()
    assert_same(captured, moe_act.gated_act_quant(x))


@pytest.mark.gpu
def test_compiled_into_cuda_graphs() -> None:
    def step(x: Any) -> Any:
        out, out_scale = gated_act_quant(x * 2)
        return out.float(), out_scale + 1

    compiled = torch.compile(step, fullgraph=True, mode="reduce-overhead")
    for seed in range(4):
        x = make_x("cuda", seed=seed)
        got = [tensor.clone() for tensor in compiled(x)]
        assert_same(got, step(x))


@pytest.mark.gpu
def test_on_the_current_stream() -> None:
    """The operator follows torch's stream: behind work that is still running there."""
    x = make_x("cuda")
    expected = moe_act.gated_act_quant(x)
    target = torch.zeros_like(x)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        target.copy_(x)
        got = gated_act_quant(target)
    stream.synchronize()
    assert_same(got, expected)

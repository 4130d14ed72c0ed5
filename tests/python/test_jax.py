"""The operation inside JAX programs: the bits of moe_act.gated_act_quant, under jit and under vmap."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import cases
import conventions
import moe_act
import numpy as np
import pytest
from axes import LAYOUTS, OUTPUTS, ROWS, Combination, sensible
from jax_arrays import codes, jax, moe_act_jax, same
from moe_act import rows

jnp = jax.numpy

X = np.random.default_rng(0).standard_normal((6, 512), dtype=np.float32)


def as_in_memory(array: np.ndarray) -> np.ndarray:
    """Without strides: scales whose rows are adjacent as [columns, align(rows, 4)]."""
    if array.ndim < 2 or array.strides[-1] == array.itemsize or array.shape[-1] == 1:
        return np.ascontiguousarray(array)
    columns = np.ascontiguousarray(array.swapaxes(-1, -2))
    return np.pad(columns, [(0, 0)] * (array.ndim - 1) + [(0, -columns.shape[-1] % 4)])


def traced(built: conventions.Built) -> tuple[Callable[[dict[str, Any]], moe_act.Result], dict[str, np.ndarray]]:
    """The call as a function of its tensors alone, those of row conventions among them."""
    arguments, options = conventions.arguments(built, "cpu", conventions.memories(built, "cpu"))
    row_tensors = {name: v for name, v in built.row_arguments.items() if isinstance(v, np.ndarray)}
    numbers = {name: v for name, v in built.row_arguments.items() if name not in row_tensors}
    written = ("out", "out_scale", "out_unquantized")
    others = {name: v for name, v in arguments.items() if name not in ("rows", *written, *row_tensors)}
    if built.copy is not None:
        options["unquantized_format"] = {"uint16": "bf16", "float16": "fp16", "float32": "fp32"}[
            np.dtype(built.copy.dtype).name
        ]

    def call(tensors: dict[str, Any]) -> moe_act.Result:
        row_arguments = {name: tensors[name] for name in row_tensors} | numbers
        if built.convention is not None:
            row_arguments = {"rows": built.convention(**row_arguments)}
        return moe_act_jax.gated_act_quant(**{name: tensors[name] for name in others}, **row_arguments, **options)

    return call, {name: as_in_memory(array) for name, array in others.items()} | row_tensors


E4M3 = {"input": "e4m3", "columns": 640}
SCALES = [
    {"x_layout": layout, "out_layout": layout, "x_block": block, "out_block": block}
    for layout, block in zip(LAYOUTS, (128, 64, 32, 128, 64, 32, 128), strict=True)
]
COMBINATIONS = [
    *(Combination(rows=rows, padding="zero") for rows in ROWS),
    *(Combination(rows=rows, capacity=150, **E4M3, **SCALES[6]) for rows in ROWS),
    *(Combination(rows=rows, **E4M3, **scales) for scales in SCALES for rows in ("dense", "masked")),
    *(Combination(rows="offsets", output=output) for output in OUTPUTS),
    *(Combination(rows="map", input=input, output="fp32") for input in cases.INPUTS),
    Combination(gate="first_half", rounding="power_of_two", expected_rows=3, columns=1, capacity=1),
    Combination(gate="interleaved 8", numerics="deepgemm", parameters="numbers", weight=True),
    Combination(rows="map", activation="situ", weight=True, numerics="custom"),
    Combination(rows="row to expert", parameters="per expert", bias="bf16", weight=True, gate="interleaved 32"),
    Combination(rows="masked", parameters="per expert", bias="fp32", weight=True, activation="swiglu_step"),
    Combination(rows="tile limits", input="fp32", bias="bf16", activation="gelu_tanh"),
    Combination(rows="dense", bias="fp32", activation="relu2", numerics="custom"),
]


COPIES = [
    Combination(copy="bf16", rows="masked", padding="zero"),
    Combination(copy="fp16", rows="map", input="fp16"),
    Combination(copy="fp32", rows="offsets", output="e4m3 tensor", weight=True, bias="fp32"),
    Combination(copy="bf16", output="e4m3 row", parameters="numbers"),
]


@pytest.mark.parametrize("case", COPIES, ids=str)
def test_the_unquantized_copy(case: Combination, jax_device: str) -> None:
    """A third result, where its format is given."""
    assert case == sensible(case)
    built = conventions.build(case)
    written = conventions.run(built, jax_device)
    expected = conventions.results(built, written)
    call, tensors = traced(built)
    result = jax.jit(call)({name: array for name, array in tensors.items() if name != "out_unquantized"})
    assert isinstance(result, moe_act_jax.ResultWithCopy)
    scale = None if result.out_scale is None else codes(result.out_scale)
    assert same(conventions.of_live_rows(built, codes(result.out), scale)[0], expected[0])
    assert built.copy is not None
    copies = [codes(array) for array in (result.out_unquantized, built.copy.on("cpu", written.copy))]
    assert same(*(copy.reshape(-1, copy.shape[-1])[built.live.ravel()] for copy in copies))


def test_a_batch_with_a_copy_is_one_call(jax_device: str) -> None:
    def call(x: Any) -> Any:
        return moe_act_jax.gated_act_quant(x, unquantized_format="bf16")

    x = np.stack([X, 2 * X, 3 * X])
    assert programs(jax.vmap(call), x) == (1, False)
    together = jax.jit(jax.vmap(call))(x)
    for one in range(3):
        alone = jax.jit(call)(x[one])
        assert all(same(codes(whole)[one], codes(each)) for whole, each in zip(together, alone, strict=True))


def test_programmatic_launches(jax_device: str) -> None:
    """The same bits on CUDA, one call after the other; nothing else has such launches."""

    def call(x: Any, **options: Any) -> Any:
        first = moe_act_jax.gated_act_quant(x, **options)
        return moe_act_jax.gated_act_quant(jnp.tile(first.out, 2), jnp.tile(first.out_scale, (2, 1)), **options)

    if jax_device == "cpu":
        with pytest.raises(jax.errors.JaxRuntimeError, match="pdl: expected 'off' on the CPU, got 'on'"):
            jax.block_until_ready(jax.jit(lambda x: call(x, pdl="on"))(X))
    else:
        assert all(map(same, jax.jit(lambda x: call(x, pdl="on"))(X), jax.jit(call)(X)))
    assert all(map(same, jax.jit(lambda x: call(x, pdl="off"))(X), jax.jit(call)(X)))


@pytest.mark.parametrize("case", dict.fromkeys(map(sensible, COMBINATIONS)), ids=str)
def test_bits_under_jit(case: Combination, jax_device: str) -> None:
    """Every convention, scale layout and format, and some of each that is asked of activations."""
    built = conventions.build(case)
    expected = conventions.results(built, conventions.run(built, jax_device))
    call, tensors = traced(built)
    result = jax.jit(call)(tensors)
    scale = None if result.out_scale is None else codes(result.out_scale)
    delivered = conventions.of_live_rows(built, codes(result.out), scale)
    assert same(delivered[0], expected[0])
    assert (delivered[1] is None) == (expected[1] is None)
    assert delivered[1] is None or same(delivered[1], expected[1])


def test_results_have_the_dtypes_of_jax(jax_device: str) -> None:
    result = jax.jit(lambda x: moe_act_jax.gated_act_quant(x, out_scale_layout="swizzled_128x4", out_block=32))(X)
    assert result.out.dtype == jnp.float8_e4m3fn and result.out_scale.dtype == jnp.dtype("float8_e8m0fnu")
    again = jax.jit(lambda q, s: moe_act_jax.gated_act_quant(q, s, x_block=32, x_scale_layout="swizzled_128x4"))
    assert again(result.out, result.out_scale).out.shape == (6, 128)
    assert jax.jit(lambda x: moe_act_jax.gated_act_quant(x, out_format="bf16"))(X).out_scale is None


def test_padding_is_zero_by_default(jax_device: str) -> None:
    call = jax.jit(lambda x, n: moe_act_jax.gated_act_quant(x, rows=rows.ValidPrefix(n)))
    out, out_scale = map(codes, call(X, np.array([2], np.int32)))
    assert out[:2].any() and not out[2:].any() and (out_scale[:, 2:] == 1).all()


def test_without_jit_and_without_rows(jax_device: str) -> None:
    expected = jax.jit(moe_act_jax.gated_act_quant)(X)
    assert all(map(same, moe_act_jax.gated_act_quant(jnp.asarray(X)), expected))
    assert moe_act_jax.gated_act_quant(X[:0]).out.shape == (0, 256)


def test_int64_indices(jax_device: str) -> None:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        call = jax.jit(lambda x, index: moe_act_jax.gated_act_quant(x, expanded_idx_to_permuted_idx=index))
        out = codes(call(X, np.array([4, -1], np.int64)).out)
        assert same(out[4], codes(call(X, np.array([4, -1], np.int32)).out)[4])
        with pytest.raises(TypeError, match=r"^x: expected float32, .*, got float64 \[6, 512\]"):
            moe_act_jax.gated_act_quant(X.astype(np.float64))
    finally:
        jax.config.update("jax_enable_x64", before)


def test_many_calls_in_one_program(jax_device: str) -> None:
    """XLA may lay them into one CUDA graph; plans and workspaces are shared or not as it likes."""
    index = np.array([5, 3, -1, 0], np.int32)

    def chain(x: Any, index: Any) -> list[Any]:
        results = []
        for _ in range(8):
            out, scale = moe_act_jax.gated_act_quant(x)
            results += [out, scale]
            mapped = moe_act_jax.gated_act_quant(x, expanded_idx_to_permuted_idx=index, out_format="fp32").out
            results.append(mapped[jnp.array([0, 3, 5])])
            x = x.at[:, :256].multiply(out.astype(jnp.float32)) + 1
        return results

    program = jax.jit(chain)
    first = program(X, index)
    for _ in range(5):
        assert all(map(same, program(X, index), first))
    with jax.disable_jit():
        eager = chain(jnp.asarray(X), jnp.asarray(index))
    assert all(map(same, eager[:3], first[:3]))  # later ones follow the rounding of XLA's fusions


def test_large_maps_have_the_workspace_that_their_plan_asks_for() -> None:
    torch = pytest.importorskip("torch")  # whose tensors have one in the plain call
    tokens, held = 4096, 47232
    x, x_scale, map = ((held, 4096), (32, held), (tokens, 8))
    h100 = moe_act.DeviceInfo(multiprocessors=132, compute_capability=(9, 0), memory_gigabytes_per_second=3352)
    plan = moe_act.plan(
        torch.empty(x, dtype=torch.float8_e4m3fn),
        torch.empty(x_scale),
        expanded_idx_to_permuted_idx=torch.empty(map, dtype=torch.int32),
        device=h100,
    )
    assert plan.workspace_bytes > 0

    def call(x: Any, x_scale: Any, map: Any) -> Any:
        return moe_act_jax.gated_act_quant(x, x_scale, expanded_idx_to_permuted_idx=map)

    operands = ((x, "float8_e4m3fn"), (x_scale, "float32"), (map, "int32"))
    program = str(jax.make_jaxpr(call)(*(jax.ShapeDtypeStruct(*each) for each in operands)))
    assert f"uint8[{plan.workspace_bytes}]" in program


def test_inputs_are_left_alone(jax_device: str) -> None:
    x = jnp.asarray(X)
    kept = np.array(x)
    jax.block_until_ready(jax.jit(moe_act_jax.gated_act_quant)(x))
    assert same(x, kept)
    donated = jax.jit(lambda x: moe_act_jax.gated_act_quant(x, out_format="fp32"), donate_argnums=0)
    expected = jax.jit(lambda x: moe_act_jax.gated_act_quant(x, out_format="fp32"))(x)
    with pytest.warns(UserWarning, match="donated"):
        assert same(donated(jnp.array(X)).out, expected.out)


def test_each_device_does_its_part() -> None:
    shard_map = getattr(jax, "shard_map", None) or importlib.import_module("jax.experimental.shard_map").shard_map
    devices = jax.devices()[:2]
    mesh, part = jax.sharding.Mesh(np.array(devices), ("rows",)), jax.sharding.PartitionSpec("rows")

    def call(x: Any) -> tuple[Any, Any]:
        return tuple(moe_act_jax.gated_act_quant(x, out_scale_layout="row_major"))

    results = jax.jit(shard_map(call, mesh=mesh, in_specs=part, out_specs=part))(X)
    assert all(set(result.sharding.device_set) == set(devices) for result in results)
    assert all(map(same, results, call(jax.device_put(X, devices[0]))))


# --- vmap


def batch(case: Combination) -> tuple[Callable[[dict[str, Any]], moe_act.Result], dict[str, np.ndarray]]:
    """Three problems of the same description."""
    problems = [traced(conventions.build(case, seed)) for seed in range(3)]
    return problems[0][0], {name: np.stack([tensors[name] for _, tensors in problems]) for name in problems[0][1]}


def programs(call: Callable[..., Any], *arguments: Any) -> tuple[int, bool]:
    """How many calls the compiled program has, and whether it has a loop."""
    text = jax.jit(call).lower(*arguments).as_text()
    return text.count("@moe_act_gated_act_quant("), "stablehlo.while" in text


FOLDED = [
    *(Combination(padding="zero", **E4M3, **scales) for scales in SCALES),
    Combination(output="e4m3 row", rows="prefix", padding="zero", weight=True),
    Combination(output="bf16", rows="masked", padding="zero", weight=True, numerics="custom"),
    Combination(rows="masked", padding="zero", **E4M3, **SCALES[6]),
    Combination(parameters="numbers", weight=True),
]


@pytest.mark.parametrize("case", FOLDED, ids=str)
def test_a_batch_is_one_call(case: Combination, jax_device: str) -> None:
    call, tensors = batch(case)
    assert programs(jax.vmap(call), tensors) == (1, False)
    assert_each_as_alone(call, tensors, case.capacity)


@pytest.mark.parametrize(
    "case",
    [
        Combination(rows="row to expert", padding="zero"),
        Combination(rows="masked", padding="zero", bias="fp32"),
        Combination(output="e4m3 tensor"),
    ],
    ids=str,
)
def test_other_batches_are_loops(case: Combination, jax_device: str) -> None:
    call, tensors = batch(case)
    assert programs(jax.vmap(call), tensors) == (1, True)
    assert_each_as_alone(call, tensors, case.capacity)


def assert_each_as_alone(call: Callable[..., Any], tensors: dict[str, np.ndarray], capacity: int) -> None:
    together = jax.jit(jax.vmap(call))(tensors)
    for one in range(3):
        alone = jax.jit(call)({name: array[one] for name, array in tensors.items()})
        assert same(codes(together.out)[one], alone.out)
        if alone.out_scale is not None:
            # Scales for TMA have columns of no row.
            of_rows = slice(None, capacity if alone.out_scale.shape[-1] == capacity + -capacity % 4 else None)
            assert same(codes(together.out_scale)[one][..., of_rows], codes(alone.out_scale)[..., of_rows])


def test_a_batch_within_a_batch(jax_device: str) -> None:
    x = np.stack([X, 2 * X, 3 * X, 4 * X]).reshape(2, 2, 6, 512)
    twice = jax.vmap(jax.vmap(moe_act_jax.gated_act_quant))
    assert programs(twice, x) == (1, False)
    out, out_scale = jax.jit(twice)(x)
    for i, j in np.ndindex(2, 2):
        alone = jax.jit(moe_act_jax.gated_act_quant)(x[i, j])
        assert same(out[i, j], alone.out) and same(out_scale[i, j], alone.out_scale)


def test_a_batch_of_some_operands(jax_device: str) -> None:
    """Along another axis, with operands that all share."""
    call = jax.jit(moe_act_jax.gated_act_quant)
    quantized, scale = call(np.concatenate([X, X], axis=1))
    both = jnp.stack([scale, scale * 2], axis=1)
    together = jax.jit(jax.vmap(moe_act_jax.gated_act_quant, in_axes=(None, 1)))(quantized, both)
    for one in range(2):
        assert same(together.out[one], call(quantized, both[:, one]).out)

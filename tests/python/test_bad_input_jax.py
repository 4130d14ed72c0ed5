"""What JAX programs are refused, while they are traced or when they run; and JAX arrays outside of programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import moe_act
import numpy as np
import pytest
from jax_arrays import codes, jax, moe_act_jax, same
from moe_act import rows

jnp = jax.numpy

X = np.random.default_rng(0).standard_normal((6, 512), dtype=np.float32)

TRACED = {
    "a list": (lambda: moe_act_jax.gated_act_quant([[1.0, 2.0]]), TypeError, "x: expected a tensor"),
    "odd columns": (lambda: moe_act_jax.gated_act_quant(X[:, :511]), ValueError, "x: "),
    "bool": (lambda: moe_act_jax.gated_act_quant(X > 0), TypeError, "x: expected float32"),
    "no scale": (
        lambda: moe_act_jax.gated_act_quant(jnp.asarray(X).astype(jnp.float8_e4m3fn)),
        ValueError,
        "x_scale: ",
    ),
    "shape of scales": (
        lambda: moe_act_jax.gated_act_quant(jnp.asarray(X).astype(jnp.float8_e4m3fn), np.ones((6, 4), np.float32)),
        ValueError,
        "x_scale: expected float32 [4, 6] (column major), got float32 [6, 4]",
    ),
    "unknown word": (lambda: moe_act_jax.gated_act_quant(X, gate="middle"), ValueError, "gate: "),
    "unknown option": (lambda: moe_act_jax.gated_act_quant(X, gates=1), TypeError, "gates"),
    "no kernel": (lambda: moe_act_jax.gated_act_quant(X, out_format="e2m1"), NotImplementedError, "e2m1 output"),
    "no convention": (lambda: moe_act_jax.gated_act_quant(X, rows="masked"), TypeError, "rows: expected an object of"),
    "two conventions": (
        lambda: moe_act_jax.gated_act_quant(
            X, rows=rows.ValidPrefix(np.ones(1, np.int32)), expanded_idx_to_permuted_idx=np.zeros(1, np.int32)
        ),
        ValueError,
        "rows: expected None",
    ),
    "index": (
        lambda: moe_act_jax.gated_act_quant(X, rows=rows.RowToExpert(np.zeros(5, np.int32))),
        ValueError,
        "row_to_expert: ",
    ),
    "out": (lambda: moe_act_jax.gated_act_quant(X, out=np.empty((6, 256), np.uint8)), TypeError, "out: expected none"),
    "out_unquantized": (
        lambda: moe_act_jax.gated_act_quant(X, out_unquantized=np.empty((6, 256), np.float16)),
        TypeError,
        "out_unquantized: expected none, as results are new arrays on the device of x; unquantized_format asks for one",
    ),
    "a copy in fp8": (
        lambda: moe_act_jax.gated_act_quant(X, unquantized_format="e5m2"),
        ValueError,
        "unquantized_format: expected 'bf16', 'fp16' or 'fp32', got 'e5m2'",
    ),
    "a copy in no format": (
        lambda: moe_act_jax.gated_act_quant(X, unquantized_format="odd"),
        ValueError,
        "unquantized_format: expected one of ",
    ),
    "a copy of what is plain": (
        lambda: moe_act_jax.gated_act_quant(X, out_format="bf16", unquantized_format="fp32"),
        ValueError,
        "unquantized_format: expected None: the result in bf16 is not quantized itself",
    ),
    "pdl": (
        lambda: moe_act_jax.gated_act_quant(X, pdl="metadata_ready"),
        ValueError,
        "pdl: expected 'off' or 'on' inside a JAX program, got 'metadata_ready'",
    ),
    "stream": (
        lambda: moe_act_jax.gated_act_quant(X, stream=1),
        TypeError,
        "stream: expected none, as a JAX program runs on XLA's stream",
    ),
    "validate": (
        lambda: moe_act_jax.gated_act_quant(X, validate=True),
        TypeError,
        "validate: expected none, as a JAX program does not wait for what it would read from the device",
    ),
}


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("name", TRACED)
def test_refused_while_tracing(name: str, jit: bool) -> None:
    call, error, says = TRACED[name]
    with pytest.raises(error) as raised:
        (jax.jit(call) if jit else call)()
    assert says in str(raised.value) and "\n" not in str(raised.value)


def test_symbolic_shapes() -> None:
    export = pytest.importorskip("jax.export", exc_type=ImportError)
    x = jax.ShapeDtypeStruct(export.symbolic_shape("rows, 512"), jnp.float32)
    with pytest.raises(NotImplementedError, match=r"^x: expected a static shape, got \[rows, 512\]"):
        export.export(jax.jit(moe_act_jax.gated_act_quant))(x)


def test_no_gradient() -> None:
    with pytest.raises(ValueError, match="cannot be differentiated"):
        jax.grad(lambda x: moe_act_jax.gated_act_quant(x, out_format="fp32").out.sum())(X)


CALLS = {
    "operand": ({"operands": "y", "results": "out"}, "no tensor is called 'y'"),
    "result": ({"operands": "x", "results": "out_scale out"}, "more names than buffers"),
    "buffer": ({"operands": "", "results": "out"}, "more buffers than names"),
    "word": ({"operands": "x", "results": "out", "gate": "middle"}, "gate: "),
    "type": ({"operands": "x", "results": "out", "gate": np.int64(1)}, "Wrong attribute type"),
    "attribute": ({"operands": "x", "results": "out", "gates": "first_half"}, "expected no attributes but"),
    "problem": ({"operands": "x", "results": "out", "out_format": "fp16"}, "out: expected fp16 "),
    "support": ({"operands": "x", "results": "out", "out_format": "e2m1"}, "e2m1 output has no kernel"),
    "no names": ({}, "Unexpected attribute: operands"),
}


@pytest.mark.parametrize("name", CALLS)
def test_refused_while_running(name: str, jax_device: str) -> None:
    """What no traced call of this package says, but a program from elsewhere may."""
    attributes, says = CALLS[name]
    result = jax.ShapeDtypeStruct((6, 256), jnp.float32)
    call = jax.jit(lambda x: jax.ffi.ffi_call("moe_act_gated_act_quant", result)(x, **attributes))
    with pytest.raises(jax.errors.JaxRuntimeError) as raised:
        jax.block_until_ready(call(X))
    assert says in str(raised.value)


# --- JAX arrays in moe_act.gated_act_quant itself


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_arrays_as_inputs(dtype: str) -> None:
    x = jnp.asarray(X).astype(dtype)
    result, expected = moe_act.gated_act_quant(x), moe_act.gated_act_quant(np.asarray(x))
    assert same(result.out, expected.out) and same(result.out_scale, expected.out_scale)
    quantized = jnp.asarray(np.asarray(x, np.float32)).astype(jnp.float8_e4m3fn)
    scale = jnp.full((4, 6), 0.5)
    expected = moe_act.gated_act_quant(codes(quantized), np.asarray(scale), x_format="e4m3")
    assert same(moe_act.gated_act_quant(quantized, scale).out, expected.out)


@pytest.mark.parametrize("argument", ["out", "out_scale"])
@pytest.mark.parametrize("run", [moe_act.gated_act_quant, lambda x, **out: moe_act.plan(x).run(x, **out)])
def test_arrays_are_never_written(run: Callable[..., Any], argument: str) -> None:
    out = {"out": jnp.full((6, 256), 7, jnp.uint8), "out_scale": jnp.full((2, 6), 7, jnp.float32)}[argument]
    with pytest.raises(ValueError, match=f"^{argument}: expected a writable tensor, got a read-only one$"):
        run(jnp.asarray(X), **{argument: out})
    assert (np.asarray(out) == 7).all()


def test_a_traced_array_has_no_data() -> None:
    with pytest.raises(ValueError, match=r"^x: its __dlpack__ failed: .*[Tt]race"):
        jax.jit(moe_act.gated_act_quant)(X)


@pytest.mark.gpu
def test_arrays_on_a_gpu() -> None:
    """Inputs they are, and results come from a framework that has memory to write."""
    import torch

    with jax.default_device(jax.devices("gpu")[0]):
        x = jnp.asarray(X) * 1
    expected = moe_act.gated_act_quant(torch.from_numpy(X).cuda())
    out = torch.zeros(6, 256, dtype=torch.float8_e4m3fn, device="cuda")
    out_scale = torch.zeros(2, 6, device="cuda")
    moe_act.gated_act_quant(x, out=out, out_scale=out_scale)
    assert (out.view(torch.uint8) == expected.out.view(torch.uint8)).all() and (out_scale == expected.out_scale).all()
    with pytest.raises(TypeError, match=r"^out: cannot allocate CUDA memory with jaxlib; call moe_act\.jax"):
        moe_act.gated_act_quant(x)
    ours = jax.device_put(jnp.full((2, 6), 7, jnp.float32), x.device)
    kept = out.view(torch.uint8).clone()
    with pytest.raises(ValueError, match=r"^out_scale: expected a writable tensor, got a read-only one$"):
        moe_act.gated_act_quant(x, out=out, out_scale=ours)
    assert (np.asarray(ours) == 7).all() and torch.equal(out.view(torch.uint8), kept)

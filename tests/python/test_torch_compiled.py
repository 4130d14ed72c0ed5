"""The torch operators in compiled graphs, under autograd, and captured in CUDA graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import moe_act
import pytest
from tensors import DEVICES

torch = pytest.importorskip("torch")
from moe_act import rows as conventions  # noqa: E402
from moe_act.torch import gated_act_quant  # noqa: E402
from torch_calls import (  # noqa: E402
    COLUMNS,
    ROWS,
    assert_same,
    index,
    make_x,
    zeros_as,
)

pytestmark = pytest.mark.filterwarnings("ignore:TensorFloat32:UserWarning")  # what Inductor would advise


@pytest.fixture(autouse=True)
def nothing_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inductor keeps what it compiled on the disk, under a key that does not know an operator's schema."""
    torch.compiler.reset()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))


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
@pytest.mark.filterwarnings("ignore:The CUDA Graph is empty:UserWarning")  # Inductor's first, to hold memory
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

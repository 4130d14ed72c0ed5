"""Experts of Hugging Face transformers: against the library's own, and against float64."""

from __future__ import annotations

from typing import Any

import pytest
from tensors import DEVICES

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", minversion="5.17")
import moe_act.transformers as ours  # noqa: E402
from experts import (  # noqa: E402
    MODELS,
    Choice,
    bias_of,
    choices,
    experts_of,
    in_float64,
    make_model,
    relative,
    routed,
    run,
)

pytestmark = pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`:UserWarning")


def activation_rounding(experts: Any, each: Choice) -> Any:
    """How far two implementations of an activation may lie apart, in bf16's unit of rounding. Three of the result, for
    the activation, its product and ours; gpt-oss rounds five times on the way, and before it the sum with the bias,
    whose error counts as much as what follows depends on it, as does that of alpha * gate."""
    if not experts.has_bias:
        return 3 * each.activation.abs()
    with torch.enable_grad():
        x = each.x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(experts._apply_gate(x).sum(), x)
    return 8 * each.activation.abs() + 3 * (slope * each.x).abs().view(-1, 2).sum(1)


@torch.no_grad()
def rounding_of(experts: Any, routing: tuple[Any, Any, Any]) -> Any:
    """How far two bf16 implementations of a layer may lie apart: activations, summed up over the row; outputs, for the
    second GEMM, the bias, the weighting and the sum in both, eight roundings."""
    bound = torch.zeros(routing[0].shape, dtype=torch.float64, device=routing[0].device)
    for each in choices(experts, routing):
        of_activations = each.second.abs() @ activation_rounding(experts, each)
        bound[each.token] += each.weight * (of_activations + 8 * (each.second @ each.activation).abs())
    return (bound + 8 * bias_of(experts, routing).abs()) * 2.0**-9


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", MODELS)
def test_unquantized_experts_are_the_library_s_within_rounding(name: str, device: str) -> None:
    """And no farther from the exact result."""
    experts = experts_of(make_model(name, device))
    routing = routed(experts, device)
    theirs, got = (run(experts, implementation, routing) for implementation in ("grouped_mm", "moe_act"))
    assert got.dtype == theirs.dtype and got.shape == theirs.shape
    assert ((got - theirs).abs().double() <= rounding_of(experts, routing)).all()
    exact = in_float64(experts, routing)
    assert relative(got - exact, exact) <= 1.1 * relative(theirs - exact, exact) < 0.01


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", MODELS)
def test_block_fp8_experts_err_as_fp8_does(name: str, device: str) -> None:
    """Next to the layer with both factors of the second GEMM rounded to e4m3, and as far from the exact one as that."""
    experts = experts_of(make_model(name, device))
    routing = routed(experts, device)
    got = run(experts, "moe_act_block_fp8", routing)
    exact, rounded = in_float64(experts, routing), in_float64(experts, routing, quantize=True)
    of_fp8 = relative(rounded - exact, exact)
    print(f"{name}: {relative(got - exact, exact):.4f}, fp8's own {of_fp8:.4f}")
    assert 0.02 < of_fp8 < 0.05
    assert relative(got - rounded, exact) < 0.006
    assert 0.95 * of_fp8 < relative(got - exact, exact) < 1.05 * of_fp8


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", MODELS)
def test_models_choose_them_by_name(name: str, device: str) -> None:
    """Every token whose experts are the same. Where they were a close choice, one in thirty or so is sent to others."""
    tokens = torch.randint(0, 128, (3, 17), generator=torch.Generator().manual_seed(0)).to(device)
    expected, expected_experts = logits_and_experts(make_model(name, device), tokens)
    for implementation, largest in (("moe_act", 2**-6), ("moe_act_block_fp8", 2**-4)):
        model = make_model(name, device, implementation)
        assert model.config._experts_implementation == implementation
        logits, experts = logits_and_experts(model, tokens)
        same = (experts == expected_experts).all(-1)
        errors = ((logits - expected).double().norm(dim=-1) / expected.double().norm(dim=-1))[same]
        print(f"{name}, {implementation}: {same.sum()} of {same.numel()} tokens err by at most {errors.max():.4f}")
        assert same.double().mean() > 0.9 and 0 < errors.max() < largest


def logits_and_experts(model: Any, tokens: Any) -> tuple[Any, Any]:
    """Of every token, and the sorted experts of all layers."""
    chosen = []
    for module in model.modules():
        if type(module).__name__.endswith("Experts"):
            module.register_forward_pre_hook(lambda _, given: chosen.append(given[1].sort(-1).values))
    with torch.inference_mode():
        logits = model(tokens).logits
    return logits, torch.stack(chosen, 1).view(*tokens.shape, -1)


def test_float32_experts() -> None:
    experts = experts_of(make_model("mixtral", "cpu", dtype=torch.float32))
    hidden, index, weights = routed(experts, "cpu")
    theirs, got = (run(experts, name, (hidden.float(), index, weights)) for name in ("grouped_mm", "moe_act"))
    assert got.dtype == torch.float32 and relative(got - theirs, theirs) < 1e-6


@pytest.mark.parametrize("device", DEVICES)
def test_tokens_of_experts_elsewhere(device: str) -> None:
    """Under expert parallelism the number past the last expert stands for those of other devices."""
    experts = experts_of(make_model("mixtral", device))
    experts._is_expert_parallel = True
    hidden, index, weights = routed(experts, device)
    index[::2, 0] = experts.num_experts
    index[7] = experts.num_experts
    routing = hidden, index, weights.masked_fill(index == experts.num_experts, 0)
    got, fp8 = (run(experts, implementation, routing) for implementation in ("moe_act", "moe_act_block_fp8"))
    exact = in_float64(experts, routing)
    assert relative(got - exact, exact) < 0.01 and relative(fp8 - exact, exact) < 0.06
    assert not got[7].any() and not fp8[7].any()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["mixtral", "gpt-oss"])
def test_compiled_in_one_graph(name: str, device: str) -> None:
    experts = experts_of(make_model(name, device))
    experts.config._experts_implementation = "moe_act"
    torch.compiler.reset()
    compiled = torch.compile(experts, fullgraph=True, backend="aot_eager", dynamic=True)
    with torch.no_grad():
        for tokens in (45, 6):
            routing = routed(experts, device, tokens)
            assert torch.equal(compiled(*routing), experts(*routing))


def test_changed_weights_are_quantized_again() -> None:
    experts = experts_of(make_model("mixtral", "cpu"))
    routing = routed(experts, "cpu")
    before = run(experts, "moe_act_block_fp8", routing)
    assert torch.equal(run(experts, "moe_act_block_fp8", routing), before)
    with torch.no_grad():
        experts.down_proj.mul_(2)
    assert torch.equal(run(experts, "moe_act_block_fp8", routing), 2 * before)


@pytest.mark.parametrize("shape", [(2, 300, 200), (1, 128, 640)])
def test_quantized_blocks(shape: tuple[int, ...]) -> None:
    """Partial blocks at both edges; a block of zeros; scales as cuBLAS takes them."""
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    weight[0, :128, :128] = 0
    codes, scales = ours.quantize_blocks(weight)
    assert codes.shape == shape and codes.dtype == torch.float8_e4m3fn
    assert scales.shape == (shape[0], -(-shape[1] // 128), -(-shape[2] // 128)) and scales.stride(1) % 4 == 0
    values = codes.float() * scales.repeat_interleave(128, 1).repeat_interleave(128, 2)[:, : shape[1], : shape[2]]
    assert ((values - weight).abs() <= weight.abs() * 2.0**-4 + 2.0**-10 * scales.amax()).all()
    assert not values[0, :128, :128].any() and scales[0, 0, 0] == 2.0**-126


def test_a_gradient_is_refused() -> None:
    experts = experts_of(make_model("mixtral", "cpu"))
    for implementation in ("moe_act", "moe_act_block_fp8"):
        experts.config._experts_implementation = implementation
        with pytest.raises(ValueError, match="moe_act computes no gradient"):
            experts(*routed(experts, "cpu"))


@pytest.mark.parametrize("activation", ["gelu", "gelu_pytorch_tanh", "relu"])
def test_other_activations(activation: str) -> None:
    experts = experts_of(make_model("mixtral", "cpu"))
    experts.act_fn = transformers.activations.ACT2FN[activation]
    routing = routed(experts, "cpu")
    theirs, got = (run(experts, implementation, routing) for implementation in ("grouped_mm", "moe_act"))
    exact = in_float64(experts, routing)
    assert relative(got - exact, exact) <= 1.1 * relative(theirs - exact, exact) < 0.01


def test_unknown_activations_are_refused() -> None:
    experts = experts_of(make_model("mixtral", "cpu"))
    experts.act_fn = torch.nn.Tanh()
    with pytest.raises(NotImplementedError, match="moe_act does not compute MixtralExperts with Tanh"):
        run(experts, "moe_act", routed(experts, "cpu"))

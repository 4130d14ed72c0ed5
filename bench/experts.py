"""What moe_act's experts of transformers do to a layer's output, beside the library's own and beside float64:

    python bench/experts.py --device cpu|cuda --json FILE

Relative errors, norm over norm, of one layer of experts with normally distributed weights and inputs in bf16.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import moe_act.transformers  # noqa: F401 - registers the implementations
import torch
import transformers
from environment import commit, date

SIZES = {
    "vocab_size": 128,
    "hidden_size": 256,
    "intermediate_size": 384,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}
HEADS = {"num_key_value_heads": 2, "head_dim": 32}
LATENT_ATTENTION = {"q_lora_rank": 64, "kv_lora_rank": 64, "qk_rope_head_dim": 16, "qk_nope_head_dim": 16}
LATENT_ATTENTION |= {"v_head_dim": 32, "num_key_value_heads": 4}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "mixtral": ("MixtralConfig", SIZES | HEADS | {"num_local_experts": 8, "num_experts_per_tok": 2}),
    # Experts of one and a half blocks of scales.
    "qwen3-moe": (
        "Qwen3MoeConfig",
        SIZES | HEADS | {"moe_intermediate_size": 192, "num_experts": 8, "num_experts_per_tok": 4},
    ),
    "deepseek-v3": (
        "DeepseekV3Config",
        SIZES
        | LATENT_ATTENTION
        | {"moe_intermediate_size": 256, "n_routed_experts": 16, "num_experts_per_tok": 4}
        | {"n_group": 4, "topk_group": 2, "first_k_dense_replace": 1},
    ),
    "gpt-oss": (
        "GptOssConfig",
        SIZES
        | HEADS
        | {"num_local_experts": 8, "num_experts_per_tok": 4}
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
    ),
}
MODELS = tuple(CONFIGS)
IMPLEMENTATIONS = ("grouped_mm", "moe_act", "moe_act_block_fp8")


def make_model(name: str, device: str, experts: str = "grouped_mm", dtype: Any = torch.bfloat16) -> Any:
    """A small one with random weights."""
    config, sizes = CONFIGS[name]
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(
        getattr(transformers, config)(**sizes), dtype=dtype, experts_implementation=experts
    )
    return model.eval().to(device)


def experts_of(model: Any) -> Any:
    """Of the first layer that has any, with weights large enough for results of about 1."""
    experts = next(module for module in model.modules() if type(module).__name__.endswith("Experts"))
    with torch.no_grad():
        for name, parameter in experts.named_parameters():
            inputs = parameter.shape[-2 if experts.is_transposed else -1]
            parameter.normal_(std=0.1 if name.endswith("bias") else inputs**-0.5)
    return experts


def routed(experts: Any, device: str, tokens: int = 45, top_k: int = 3) -> tuple[Any, Any, Any]:
    """Hidden states, experts and weights of tokens; one expert has none, another nearly all."""
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(tokens, 256, generator=generator).to(torch.bfloat16)
    scores = torch.rand(tokens, experts.num_experts, generator=generator)
    scores[:, 1], scores[5:, 2] = -1, 2
    weights, index = scores.topk(top_k, dim=-1)
    return hidden.to(device), index.to(device), weights.abs().to(device)


def run(experts: Any, implementation: str, routing: tuple[Any, Any, Any]) -> Any:
    experts.config._experts_implementation = implementation
    with torch.no_grad():
        return experts(*routing)


class Choice(NamedTuple):
    """One of a token's experts, in float64."""

    token: int
    x: Any  # [2H], the first GEMM's result rounded as there, with the bias
    activation: Any  # [H]
    second: Any  # [hidden, H], weights
    weight: Any


def choices(experts: Any, routing: tuple[Any, Any, Any], quantize: bool = False) -> Iterator[Choice]:
    """Of every token. quantize: both factors of the second GEMM to e4m3 and back."""
    hidden, index, weights = routing
    firsts, seconds = experts.gate_up_proj.double(), experts.down_proj.double()
    if experts.is_transposed:
        firsts, seconds = firsts.transpose(1, 2), seconds.transpose(1, 2)
    if quantize:
        seconds = torch.stack([to_e4m3(second, 128) for second in seconds])
    for token, choice in torch.cartesian_prod(*(torch.arange(size) for size in index.shape)).tolist():
        expert = int(index[token, choice])
        if expert == experts.num_experts:
            continue
        x = (firsts[expert] @ hidden[token].double()).to(hidden.dtype).double()
        if experts.has_bias:
            x = x + experts.gate_up_proj_bias[expert].double()
        activation = experts._apply_gate(x)
        if quantize:
            activation = to_e4m3(activation[None], 1)[0]
        yield Choice(token, x, activation, seconds[expert], weights[token, choice].double())


def bias_of(experts: Any, routing: tuple[Any, Any, Any]) -> Any:
    """What the second bias adds to each token."""
    _, index, weights = routing
    bias = experts.down_proj_bias.double() if experts.has_bias else torch.zeros(experts.num_experts, 1).to(index.device)
    bias = torch.cat((bias, torch.zeros_like(bias[:1])))  # of no expert
    return (bias[index].double() * weights.double()[..., None]).sum(1)


@torch.no_grad()
def in_float64(experts: Any, routing: tuple[Any, Any, Any], quantize: bool = False) -> Any:
    """The layer."""
    out = torch.zeros(routing[0].shape, dtype=torch.float64, device=routing[0].device)
    for each in choices(experts, routing, quantize):
        out[each.token] += each.weight * (each.second @ each.activation)
    return out + bias_of(experts, routing)


def to_e4m3(values: Any, height: int) -> Any:
    """Rounded to what e4m3 holds with a scale for each block of height x 128."""
    result = torch.empty_like(values)
    for i in range(0, values.shape[0], height):
        for j in range(0, values.shape[1], 128):
            tile = values[i : i + height, j : j + 128]
            scale = tile.abs().amax() / 448
            result[i : i + height, j : j + 128] = (tile / scale).float().to(torch.float8_e4m3fn).double() * scale
    return result


def relative(error: Any, reference: Any) -> float:
    return float(error.double().norm() / reference.double().norm())


def measure(name: str, device: str) -> dict[str, Any]:
    experts = experts_of(make_model(name, device))
    routing = routed(experts, device)
    exact, rounded = in_float64(experts, routing), in_float64(experts, routing, quantize=True)
    errors = {each: relative(run(experts, each, routing) - exact, exact) for each in IMPLEMENTATIONS}
    return {"experts": name, "errors": errors | {"fp8 alone": relative(rounded - exact, exact)}}


def environment(device: str) -> dict[str, Any]:
    named = {"gpu": torch.cuda.get_device_name()} if device == "cuda" else {"cpu": "CPU"}
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    return named | versions | {"commit": commit(), "date": date()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--json", type=Path, required=True, help="the file to write")
    options = parser.parse_args()
    results = [measure(name, options.device) for name in MODELS]
    for result in results:
        print(result["experts"], *(f"{name} {error:.5f}" for name, error in result["errors"].items()), sep="  ")
    document = {"environment": environment(options.device), "results": results}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()

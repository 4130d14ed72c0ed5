"""Experts of Hugging Face transformers with the activation between their two GEMMs done by moe_act.

    >>> import moe_act.transformers
    >>> model = AutoModelForCausalLM.from_pretrained(name, experts_implementation="moe_act")

Importing this module registers two implementations of experts, for inference: they compute no gradient.

"moe_act": activation and product in one step, rounded once, to the model's own dtype.
"moe_act_block_fp8": the step also quantizes, to e4m3 with a scale for each row and 128 columns, and the second GEMM
    multiplies that with weights in e4m3 with a scale for each 128 x 128: docs/transformers.md.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.nn import functional
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS, _default_apply_gate, _grouped_linear

from .rows import ExpertEnds
from .torch import gated_act_quant

__all__ = ["BlockFp8", "block_fp8_experts_forward", "experts_forward", "quantize_blocks"]

BLOCK = 128
LARGEST_E4M3 = 448.0


class BlockFp8(NamedTuple):
    """Weights of all experts, quantized.

    codes: float8_e4m3fn ``[experts, out features, in features]``.
    scales: float32 ``[experts, ceil(out features / 128), ceil(in features / 128)]``, rows of blocks a multiple of 4
        elements apart, as cuBLAS takes them.
    """

    codes: torch.Tensor
    scales: torch.Tensor


def experts_forward(
    experts: Any, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
) -> torch.Tensor:
    """What ``experts_implementation="moe_act"`` runs; the arguments are those of any implementation of transformers.

    Args:
        experts: a module under transformers' ``use_experts_implementation``.
        hidden_states: ``[tokens, hidden]``.
        top_k_index: int64 ``[tokens, top_k]``: each token's experts; numbers past the last expert name none.
        top_k_weights: ``[tokens, top_k]``: what their outputs are weighted with.

    Returns:
        ``[tokens, hidden]``.

    Raises:
        ValueError: gradients are on and would be needed.
        NotImplementedError: experts whose activation moe_act does not have.
    """
    activation = _activation_of(experts)
    routed = _route(experts, hidden_states, top_k_index)
    x = _first_linear(experts, hidden_states, routed)
    x, _ = gated_act_quant(x, rows=ExpertEnds(routed.ends), out_format=_FORMATS[x.dtype], **activation)
    out = _grouped_linear(x, experts.down_proj, routed.ends, is_transposed=experts.is_transposed)
    return _combine(experts, out, top_k_weights, routed).to(hidden_states.dtype)


def block_fp8_experts_forward(
    experts: Any, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
) -> torch.Tensor:
    """What ``experts_implementation="moe_act_block_fp8"`` runs: as :func:`experts_forward`, but for the second GEMM.

    The weights are quantized at the first call and again when they have changed. Synchronizes: each expert's rows are a
    GEMM of their own.
    """
    activation = _activation_of(experts)
    routed = _route(experts, hidden_states, top_k_index)
    x = _first_linear(experts, hidden_states, routed)
    codes, scales = gated_act_quant(x, rows=ExpertEnds(routed.ends), **activation)
    out = _block_fp8_linear(codes, scales, _quantized_down_proj(experts), routed.ends, x.dtype)
    return _combine(experts, out, top_k_weights, routed).to(hidden_states.dtype)


def quantize_blocks(weight: torch.Tensor) -> BlockFp8:
    """Weights ``[experts, out features, in features]`` with a scale, its amax / 448, for each block of 128 x 128."""
    experts, height, width = weight.shape
    codes = torch.empty(weight.shape, dtype=torch.float8_e4m3fn, device=weight.device)
    blocks = -(-height // BLOCK), -(-width // BLOCK)
    scales = torch.ones(experts, blocks[0], -(-blocks[1] // 4) * 4, device=weight.device)[..., : blocks[1]]
    for expert in range(experts):  # one at a time: their float32 copies need memory
        padded = functional.pad(weight[expert].float(), (0, -width % BLOCK, 0, -height % BLOCK))
        tiles = padded.view(blocks[0], BLOCK, blocks[1], BLOCK)
        scales[expert] = (tiles.abs().amax((1, 3)) / LARGEST_E4M3).clamp(min=2.0**-126)
        scaled = tiles / scales[expert][:, None, :, None]
        codes[expert] = scaled.view(padded.shape)[:height, :width].to(torch.float8_e4m3fn)
    return BlockFp8(codes, scales)


_FORMATS = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
_GATED = {
    "SiLUActivation": "swiglu",
    "SiLU": "swiglu",
    "GELUActivation": "geglu",
    "GELUTanh": "geglu_tanh",
    "ReLU": "reglu",
}


def _activation_of(experts: Any) -> dict[str, Any]:
    """What the experts' own ``_apply_gate`` computes, in the words of gated_act_quant."""
    kind = type(experts).__name__
    if kind == "GptOssExperts":
        return {
            "gate": "interleaved",
            "alpha": experts.alpha,
            "beta": 1.0,
            "limit": experts.limit,
            "bias": experts.gate_up_proj_bias,
        }
    activation = type(experts.act_fn).__name__ if experts.has_gate else "no gate"
    if type(experts)._apply_gate is not _default_apply_gate or experts.has_bias or activation not in _GATED:
        raise NotImplementedError(f"experts_implementation: moe_act does not compute {kind} with {activation}")
    return {"gate": "first_half", "activation": _GATED[activation]}


class _Routed(NamedTuple):
    """Rows, one for each token and expert that it goes to, expert by expert; those that go to none come last."""

    order: torch.Tensor  # [rows]: row -> token * top_k + choice
    token: torch.Tensor  # [rows]
    expert: torch.Tensor  # [rows]
    ends: torch.Tensor  # int32 [experts]: where each expert's rows end


def _route(experts: Any, hidden_states: torch.Tensor, top_k_index: torch.Tensor) -> _Routed:
    tensors = (hidden_states, experts.gate_up_proj, experts.down_proj)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        raise ValueError("experts_implementation: moe_act computes no gradient; use torch.no_grad()")
    expert, order = torch.sort(top_k_index.reshape(-1), stable=True)
    numbers = torch.arange(experts.num_experts, device=expert.device)
    ends = torch.searchsorted(expert, numbers, right=True).int()
    return _Routed(order, order // top_k_index.shape[-1], expert, ends)


def _first_linear(experts: Any, hidden_states: torch.Tensor, routed: _Routed) -> torch.Tensor:
    """``[rows, 2H]``, without the bias, which is the activation's."""
    rows = hidden_states[routed.token]
    return _grouped_linear(rows, experts.gate_up_proj, routed.ends, is_transposed=experts.is_transposed)


def _combine(experts: Any, out: torch.Tensor, top_k_weights: torch.Tensor, routed: _Routed) -> torch.Tensor:
    """The rows of a token, weighted and summed up in float32."""
    if experts.has_bias:
        out = out + experts.down_proj_bias[routed.expert.clamp(max=experts.num_experts - 1)]
    if getattr(experts, "has_post_expert_norm", False):
        out = experts.post_expert_norm(out)
    weighted = out * top_k_weights.reshape(-1)[routed.order, None]
    if getattr(experts, "_is_expert_parallel", True):  # rows of experts elsewhere hold anything
        weighted = weighted.masked_fill((routed.expert >= experts.num_experts)[:, None], 0.0)
    by_choice = torch.empty_like(weighted)
    by_choice[routed.order] = weighted
    return by_choice.view(*top_k_weights.shape, -1).sum(dim=1)


def _quantized_down_proj(experts: Any) -> BlockFp8:
    weight = experts.down_proj
    state = weight.data_ptr(), None if weight.is_inference() else weight._version
    if getattr(experts, "_moe_act_state", None) != state:
        weight = weight.detach()
        experts._moe_act_down_proj = quantize_blocks(weight.transpose(1, 2) if experts.is_transposed else weight)
        experts._moe_act_state = state
    quantized: BlockFp8 = experts._moe_act_down_proj
    return quantized


def _block_fp8_linear(
    codes: torch.Tensor, scales: torch.Tensor, weight: BlockFp8, ends: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """codes ``[rows, K]`` with scales ``[ceil(K / 128), rows]``, times each expert's weights."""
    multiply = _scaled_matmul if _has_scaled_matmul(weight.codes) else _dequantized_matmul
    out = torch.empty(codes.shape[0], weight.codes.shape[1], dtype=dtype, device=codes.device)
    begin = 0
    for expert, end in enumerate(ends.tolist()):
        if begin < end:
            of_expert = BlockFp8(weight.codes[expert], weight.scales[expert])
            out[begin:end] = multiply(codes[begin:end], scales[:, begin:end], of_expert, dtype)
        begin = end
    return out


def _has_scaled_matmul(weight: torch.Tensor) -> bool:
    """torch has block-wise scaled GEMMs by way of cuBLAS, which has them on Hopper alone."""
    whole_blocks = weight.shape[1] % BLOCK == 0 and weight.shape[2] % BLOCK == 0
    on_hopper = weight.is_cuda and torch.cuda.get_device_capability(weight.device)[0] == 9
    return whole_blocks and on_hopper and hasattr(functional, "scaled_mm")


def _scaled_matmul(codes: torch.Tensor, scales: torch.Tensor, weight: BlockFp8, dtype: torch.dtype) -> torch.Tensor:
    missing = -codes.shape[0] % 4  # cuBLAS wants columns of scales that begin at multiples of 16 bytes
    padded = functional.pad(codes.view(torch.uint8), (0, 0, 0, missing)).view(codes.dtype)
    blocks_high, pitch = weight.scales.shape[0], weight.scales.stride(0)
    whole_rows = weight.scales.as_strided((blocks_high, pitch), (pitch, 1))  # torch wants the padding in the shape
    product: torch.Tensor = functional.scaled_mm(
        padded,
        weight.codes.t(),
        functional.pad(scales, (0, missing)).t(),
        functional.ScalingType.BlockWise1x128,
        whole_rows.t(),
        functional.ScalingType.BlockWise128x128,
        output_dtype=dtype,
    )
    return product[: codes.shape[0]]


def _dequantized_matmul(
    codes: torch.Tensor, scales: torch.Tensor, weight: BlockFp8, dtype: torch.dtype
) -> torch.Tensor:
    height, width = weight.codes.shape
    values = codes.float() * scales.t().repeat_interleave(BLOCK, 1)[:, :width]
    of_element = weight.scales.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)[:height, :width]
    return (values @ (weight.codes.float() * of_element).t()).to(dtype)


ALL_EXPERTS_FUNCTIONS.register("moe_act", experts_forward)
ALL_EXPERTS_FUNCTIONS.register("moe_act_block_fp8", block_fp8_experts_forward)

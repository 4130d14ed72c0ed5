"""What each peer's own kernel does after the sigmoid, step by step in fp32: one short function for each preset.

Written from the peers' sources, which the comments name, and from nothing of this project. `a` is the activated gate
as the library has it, `up` what it is multiplied by; scales come as [rows, blocks]. Where a preset departs from its
peer, a comment starts with "Here".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

F32, BF16, E4M3 = np.float32, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn
FLT_MIN = F32(2.0**-126)
Quantized = tuple[np.ndarray, np.ndarray]  # codes and scale, of one block [rows, columns] or of all


def e4m3(values: np.ndarray) -> np.ndarray:
    """cvt.rn.satfinite"""
    codes = np.clip(values.astype(F32), -448, 448).astype(E4M3).view(np.uint8)
    return np.where(np.isnan(values), np.uint8(0x7F), codes)


def rounded(values: np.ndarray, dtype: Any) -> np.ndarray:
    return values.astype(dtype).astype(F32)


def largest(y: np.ndarray) -> np.ndarray:
    """amax by fmaxf, which passes over NaN."""
    return np.fmax.reduce(np.abs(y), axis=1, initial=0)[:, None].astype(F32)


def power_of_two_above(scale: np.ndarray) -> np.ndarray:
    """On the bit pattern: any fraction counts the exponent up."""
    return ((scale.view(np.uint32) + np.uint32(0x7FFFFF)) & np.uint32(0x7F800000)).view(F32)


def in_blocks(y: np.ndarray, block: int, quantize: Callable[[np.ndarray], Quantized]) -> Quantized:
    parts = [quantize(np.ascontiguousarray(y[:, start : start + block])) for start in range(0, y.shape[1], block)]
    return np.hstack([codes for codes, _ in parts]), np.hstack([scale.astype(F32) for _, scale in parts])


def flashinfer(
    a: np.ndarray, up: np.ndarray, weight: np.ndarray, dtype: Any, power_of_two: bool, block: int
) -> Quantized:
    """FlashInfer and TensorRT-LLM, trtllm_fused_moe_dev_kernel.cu, activationDeepSeekKernel."""

    def quantize(y: np.ndarray) -> Quantized:
        scale = np.maximum(largest(y) / F32(448), FLT_MIN)
        scale = power_of_two_above(scale) if power_of_two else scale
        return e4m3(y / scale), scale

    return in_blocks(a * up * weight, block, quantize)


def deepgemm(
    a: np.ndarray, up: np.ndarray, weight: np.ndarray, dtype: Any, power_of_two: bool, block: int
) -> Quantized:
    """DeepGEMM, tilelang_ops/swiglu_apply_weight_to_fp8.py; TileKernels, quant/common.py, get_sf_and_inv."""

    def quantize(y: np.ndarray) -> Quantized:
        clamped_amax = np.maximum(largest(y), F32(1e-4))
        scale, inverse = clamped_amax / F32(448), F32(448) / clamped_amax
        if power_of_two:
            scale = power_of_two_above(scale)
            inverse = 1 / scale  # Here of an infinite scale 0; there the exponent wraps around.
        return e4m3(y * inverse), scale

    return in_blocks(a * up * weight, block, quantize)


def vllm_block(
    a: np.ndarray, up: np.ndarray, weight: np.ndarray, dtype: Any, power_of_two: bool, block: int
) -> Quantized:
    """vLLM, fused_silu_mul_block_quant.cu; the smallest scale is quant_utils.cuh's min_scaling_factor."""

    def quantize(y: np.ndarray) -> Quantized:
        scale = np.maximum(largest(y) / F32(448), F32(1) / (F32(448) * F32(512)))
        scale = power_of_two_above(scale) if power_of_two else scale
        return e4m3(y / scale), scale

    return in_blocks(a * up * weight, block, quantize)


def vllm_masked(
    a: np.ndarray, up: np.ndarray, weight: np.ndarray, dtype: Any, power_of_two: bool, block: int
) -> Quantized:
    """vLLM, activation_kernels.cu, silu_mul_fp8_quant_deep_gemm_kernel behind persistent_masked_m_silu_mul_quant."""
    fp8_inverse = BF16(1) / BF16(448)
    eps = np.uint16(11996).view(BF16)  # 1e-10

    def quantize(y: np.ndarray) -> Quantized:
        scale = np.maximum(largest(y).astype(BF16), eps) * fp8_inverse
        if power_of_two:
            # Here on the bit pattern. There hexp2(hceil(hlog2(scale))): a logarithm in bf16, which takes scales a
            # little above a power of two for it.
            scale = power_of_two_above(scale.astype(F32)).astype(BF16)
        inverse = BF16(1) / scale
        # Here a NaN stays one; there hmin and hmax make a number of it.
        return e4m3(y.astype(BF16) * inverse), scale

    return in_blocks(rounded(rounded(a, BF16) * up * weight, BF16), block, quantize)


def sglang(a: np.ndarray, up: np.ndarray, weight: np.ndarray, dtype: Any, power_of_two: bool, block: int) -> Quantized:
    """SGLang, ep_moe/kernels.py, _silu_and_mul_post_quant_kernel: silu to the input's type, the product in it.

    Its newer per_token_group_quant_8bit_v2.cu multiplies instead, by 448 / amax.
    """

    def quantize(y: np.ndarray) -> Quantized:
        scale = np.maximum(largest(y), F32(1e-10)) / F32(448)
        scale = power_of_two_above(scale) if power_of_two else scale
        return e4m3(y / scale), scale

    return in_blocks(rounded(rounded(a, dtype) * up * weight, dtype), block, quantize)


def lmdeploy(
    a: np.ndarray, up: np.ndarray, weight: np.ndarray, dtype: Any, power_of_two: bool, block: int
) -> Quantized:
    """LMDeploy, kernels/cuda/activation.py, which stores bf16, then blocked_gemm_fp8.py, _quant_fp8_kernel."""

    def quantize(y: np.ndarray) -> Quantized:
        amax = np.maximum(largest(y), F32(1e-6))
        scale, inverse = amax / F32(448), F32(448) / amax  # Here amax / 448; there amax * (1 / 448), an ulp off.
        if power_of_two:
            scale = power_of_two_above(scale)
            inverse = 1 / scale
        return e4m3(y * inverse), scale

    return in_blocks(rounded(a * up * weight, BF16), block, quantize)


def te_mxfp8(
    a: np.ndarray, up: np.ndarray, weight: np.ndarray, dtype: Any, power_of_two: bool, block: int
) -> Quantized:
    """Transformer Engine, cast/mxfp8/gated_mxfp8.cuh; util/ptx.cuh, float_to_e8m0 and exp2f_rcp."""
    assert power_of_two and block == 32

    def quantize(y: np.ndarray) -> Quantized:
        amax = np.abs(y).max(axis=1)[:, None]  # a NaN is its block's
        wanted = amax / F32(448)  # Here the quotient; there amax * (1 / 448).
        exponent, fraction = np.divmod(wanted.view(np.uint32), np.uint32(1 << 23))
        up_to_next = (fraction > 0) & ~((exponent == 0) & (fraction <= 0x400000))
        code = np.where(np.isnan(wanted), 255, np.where(np.isinf(wanted), 254, exponent + up_to_next))
        scale = np.ldexp(F32(1), code.astype(int) - 127).astype(F32)
        scale = np.where(code == 255, F32(np.nan), scale)
        # Here 1 / scale of all of them; there exp2f_rcp(0) is 1 and exp2f_rcp(254) is 0.
        return e4m3(y * (1 / scale)), scale

    return in_blocks(rounded(a * up * weight, dtype), block, quantize)


PEERS = {
    "flashinfer": flashinfer,
    "deepgemm": deepgemm,
    "tilekernels": deepgemm,
    "vllm_block": vllm_block,
    "vllm_masked": vllm_masked,
    "sglang": sglang,
    "lmdeploy": lmdeploy,
    "te_mxfp8": te_mxfp8,
}

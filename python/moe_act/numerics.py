"""Whose numerics a result has, where it is not one preset as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Numerics"]

PresetName = Literal[
    "flashinfer", "deepgemm", "tilekernels", "vllm_block", "vllm_masked", "sglang", "lmdeploy", "te_mxfp8"
]


@dataclass(frozen=True)
class Numerics:
    """A preset with some of its parts replaced, as ``numerics`` of :func:`moe_act.gated_act_quant`.

    Every part that is None is the preset's; docs/contract.md says what each preset is and what the parts do.

    preset: the one to begin with.
    product_rounding: what is rounded to the format of ``x`` before the largest magnitude of a block is taken.
    smallest_amax: that magnitude counts as at least this; 0 is the preset's, too.
    smallest_scale: a scale is at least this, from 2**-126; 0 is the preset's, too.
    quantization: codes are quotients by the scale ("divide"), products with its reciprocal ("multiply"), or all of it
        is done in bfloat16 ("multiply_bf16").
    clamp_rounding: "input": gate and up are rounded to the format of ``x`` when they are clamped, after scale and bias.
    """

    preset: PresetName = "flashinfer"
    product_rounding: Literal["none", "product", "activation_and_product"] | None = None
    smallest_amax: float | None = None
    smallest_scale: float | None = None
    quantization: Literal["divide", "multiply", "multiply_bf16"] | None = None
    clamp_rounding: Literal["none", "input"] | None = None

"""The numerics of each preset, and what they make of a block: its scale, and what its values are divided by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .formats import Array, known, rn32, to_float64
from .interval import SMALLEST_NORMAL, round_to

QUOTIENT_ERROR = 2.0**-22  # of a GPU's quotient, which may be a product with the reciprocal
MX_SMALLEST, MX_LARGEST = 2.0**-127, 2.0**127  # codes 0 and 254 of ue8m0


@dataclass(frozen=True)
class Rule:
    product_rounding: str = "none"
    smallest_amax: float = 0.0
    smallest_scale: float = SMALLEST_NORMAL
    quantization: str = "divide"
    clamp_rounding: str = "none"
    inputs: tuple[str, ...] = ("e4m3", "bf16", "fp16", "fp32")
    # Transformer Engine's MXFP8: a NaN is its block's, infinity has the largest scale, and zero the smallest there is.
    mx: bool = False

    def scale(self, amax: Array, largest: float, power_of_two: bool) -> Array:
        """Of blocks with these largest magnitudes; fp32 kept as float64."""
        if self.quantization == "multiply_bf16":
            scale = round_to(round_to(amax, "bf16") * round_to(np.asarray(1 / largest), "bf16"), "bf16")
        else:
            scale = rn32(amax / largest)
        scale = np.maximum(scale, self.smallest_scale)
        if power_of_two:
            scale = _power_of_two_above(scale, MX_SMALLEST if self.mx else SMALLEST_NORMAL)
        return np.minimum(scale, MX_LARGEST) if self.mx else scale

    def reciprocal(
        self, scale: Array, least: Array, greatest: Array, largest: float, power_of_two: bool
    ) -> tuple[Array, Array]:
        """The least and the greatest `r` of blocks that were given this scale, of an amax from least to greatest."""
        once = rn32(1 / scale)
        if self.quantization == "multiply_bf16":
            once = round_to(once, "bf16")
        if self.quantization != "multiply" or power_of_two:
            return once, once
        # amax / 448 is no farther from the scale than halfway to its neighbours.
        below, above = (to_float64(np.nextafter(scale.astype(np.float32), np.float32(end))) for end in (0, np.inf))
        least, greatest = (
            np.maximum(least, largest * (below + scale) / 2),
            np.minimum(greatest, largest * (scale + above) / 2),
        )
        settled = (scale == self.smallest_scale) | ~np.isfinite(scale)
        return np.where(settled, once, rn32(largest / greatest)), np.where(settled, once, rn32(largest / least))


PRESETS = {
    "flashinfer": Rule(),
    "deepgemm": Rule(smallest_amax=1e-4, quantization="multiply"),
    "tilekernels": Rule(smallest_amax=1e-4, quantization="multiply"),
    "vllm_block": Rule(smallest_scale=1 / (448 * 512)),
    "vllm_masked": Rule("activation_and_product", 1e-10, quantization="multiply_bf16", inputs=("bf16",)),
    "sglang": Rule("activation_and_product", 1e-10, inputs=("bf16", "fp16")),
    "lmdeploy": Rule("product", 1e-6, quantization="multiply", inputs=("bf16",)),
    "te_mxfp8": Rule("product", 0.0, MX_SMALLEST, inputs=("bf16", "fp16", "fp32"), mx=True),
}


def rule_of(numerics: Any) -> Rule:
    """numerics: a preset's name, or an object with the fields of `moe_act.Numerics`."""
    name = numerics if isinstance(numerics, str) else numerics.preset
    rule = PRESETS[known("numerics", name, *PRESETS)]
    if numerics is not name:
        parts = ("product_rounding", "smallest_amax", "smallest_scale", "quantization", "clamp_rounding")
        given = {part: getattr(numerics, part) for part in parts}
        rule = replace(rule, **{part: value for part, value in given.items() if value})  # 0 is the preset's
    known("product_rounding", rule.product_rounding, "none", "product", "activation_and_product")
    known("quantization", rule.quantization, "divide", "multiply", "multiply_bf16")
    known("clamp_rounding", rule.clamp_rounding, "none", "input")
    smallest_amax, smallest_scale = float(np.float32(rule.smallest_amax)), float(np.float32(rule.smallest_scale))
    return replace(rule, smallest_amax=smallest_amax, smallest_scale=smallest_scale)


def _power_of_two_above(scale: Array, smallest: float) -> Array:
    """Beyond 2^127 there is only infinity in fp32; a positive scale below `smallest` becomes it."""
    fraction, exponent = np.frexp(scale)
    power = rn32(np.ldexp(1.0, np.where(fraction == 0.5, exponent - 1, exponent)))
    power = np.where(scale > 0, np.maximum(power, smallest), power)
    return np.where(np.isfinite(scale), power, scale)

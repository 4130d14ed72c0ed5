"""The numerical contract, executable: what a result of ``gated_act_quant`` may be, in numpy and float64.

The oracle shares nothing with the compiled library, not even its methods: formats are tables of values,
rounding is a search between their midpoints, and an interval replaces any one order of operations.

    gate, up = rn32(rn32(scale * x) + bias)       exact; so are clamps and beta
    a = silu(gate), or another activation         within a (1 +- 2^-20 (1 + |gate| / 16)), an fp32 number
    y = rn32(rn32(a * up) * weight)               where sigmoid, a or y is below 2^-126, it may have become 0
    scale = max(rn32(amax / 448), FLT_MIN)        amax of the block's elements that are not NaN
    value = encode(rn32(y / delivered scale))     or encode(y) where the result is plain

Other numerics round y before, have other smallest scales, or multiply by a reciprocal: `numerics`.
"""

from .case import Case
from .check import Report, check, reference
from .expectation import Expectation
from .formats import FORMATS, decode, encode

__all__ = ["FORMATS", "Case", "Expectation", "Report", "check", "decode", "encode", "reference"]

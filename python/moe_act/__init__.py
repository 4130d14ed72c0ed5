"""The gated activation between the two grouped GEMMs of a Mixture-of-Experts layer, fused with quantization.

    >>> import numpy as np, moe_act
    >>> x = np.random.default_rng(0).standard_normal((4, 512), dtype=np.float32)  # [rows, 2H]
    >>> out, out_scale = moe_act.gated_act_quant(x)  # e4m3 codes [4, 256], scales [2, 4]

Works on any tensor that speaks DLPack: NumPy, torch, CuPy, and others, on the CPU and on CUDA devices. Importing this
package imports NumPy and no other framework.
"""

from . import rows, scales
from ._core import (
    BoundLaunch,
    DeviceInfo,
    Plan,
    build_info,
    cpu_level,
    cuda_device_count,
    device_info,
    set_cpu_level,
)
from ._core import version as _version
from ._face import gated_act_quant, plan
from ._frameworks import Result
from .numerics import Numerics

__all__ = [
    "BoundLaunch",
    "DeviceInfo",
    "Numerics",
    "Plan",
    "Result",
    "build_info",
    "cpu_level",
    "cuda_device_count",
    "device_info",
    "gated_act_quant",
    "plan",
    "rows",
    "scales",
    "set_cpu_level",
]
__version__ = _version()

"""What has to be asked of a tensor's own framework: memory for results and the current stream.

No framework is imported here but NumPy: one whose tensor is in hand is in ``sys.modules`` already.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np

from .numerics import Numerics as Numerics  # where the compiled module looks for it


class Result(NamedTuple):
    """What the operation delivers.

    out: ``[rows, H]`` in the output format, on the device of ``x``.
    out_scale: the scales of its blocks or rows, in their layout, or ``None`` where it has none of its own.
    """

    out: Any
    out_scale: Any


class Said(NamedTuple):
    """What a row convention says to the compiled module: names are the C interface's."""

    kind: str
    index_name: str = "row_index"
    index: Any = None
    count_name: str = "row_count"
    count: Any = None
    tile_tokens: int = 0
    expert_alignment: int = 0
    num_valid_ids: int = 0
    buffer_row: str = "position"
    tile_to_expert: Any = None
    permuted_to_expanded: Any = None


class RowConvention:
    """What every class of :mod:`moe_act.rows` is."""

    def _said(self) -> Said:
        raise NotImplementedError("rows: expected an object of a class in moe_act.rows")


_TORCH_DTYPES = {
    "fp32": "float32",
    "fp16": "float16",
    "bf16": "bfloat16",
    "e4m3": "float8_e4m3fn",
    "e5m2": "float8_e5m2",
    "ue8m0": "float8_e8m0fnu",
    "int32": "int32",
}
# NumPy and CuPy have no dtype of their own for some: integers of the same width hold the codes.
_ARRAY_DTYPES = {
    "fp32": "float32",
    "fp16": "float16",
    "bf16": "uint16",
    "e4m3": "uint8",
    "e5m2": "uint8",
    "ue8m0": "uint8",
    "int32": "int32",
}


def _framework(x: Any) -> str:
    return type(x).__module__.partition(".")[0]


def empty_like(x: Any, shape: tuple[int, ...], format: str) -> Any:
    """Uninitialized memory for a result, from the framework and on the device of ``x``."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        return x.new_empty(shape, dtype=getattr(torch, _TORCH_DTYPES[format]))
    framework = _framework(x)
    if framework == "cupy":
        cupy = sys.modules["cupy"]
        with x.device:
            return cupy.empty(shape, dtype=_ARRAY_DTYPES[format])
    device_type = x.__dlpack_device__()[0] if hasattr(x, "__dlpack_device__") else 1
    if device_type not in (1, 3):  # DLPack: CPU, pinned host memory
        instead = "call moe_act.jax.gated_act_quant" if framework == "jaxlib" else "pass out= and out_scale="
        raise TypeError(f"out: cannot allocate CUDA memory with {framework}; {instead}")
    return np.empty(shape, dtype=_numpy_dtype(x, format))


def empty_scale_like(x: Any, layout: str, format: str, rows: int, blocks: int, experts: int | None) -> Any:
    """Uninitialized memory for scales; layouts for TMA come as the view ``[rows, columns]`` that their consumers take.

    layout: of :func:`moe_act.gated_act_quant`; "row": one for each row; "flat": column major, its stride known later.
    rows: of an expert, where there are any; swizzled: the padded number of them.
    """
    memory = scale_memory(layout, rows, blocks, experts)
    if layout not in ("tma_column_major", "packed_ue8m0"):
        return empty_like(x, memory, format)
    buffer = empty_like(x, memory, "int32" if layout == "packed_ue8m0" else "fp32")
    return buffer[..., :rows].swapaxes(-1, -2)


def scale_memory(layout: str, rows: int, blocks: int, experts: int | None) -> tuple[int, ...]:
    """The shape of a scale tensor as it lies in memory, for the arguments of :func:`empty_scale_like`."""
    first = () if experts is None else (experts,)
    if layout == "row":
        return (*first, rows)
    if layout == "flat":
        return (blocks * rows,)
    if layout == "row_major":
        return (*first, rows, blocks)
    if layout == "column_major":
        return (*first, blocks, rows)
    if layout == "swizzled_128x4":
        return (*first, rows, -(-blocks // 4) * 4)
    columns = -(-blocks // 4) if layout == "packed_ue8m0" else blocks
    return (*first, columns, -(-rows // 4) * 4)


def allocates_workspace(x: Any) -> bool:
    """Can :func:`workspace_like` serve tensors of this type?"""
    return _framework(x) == "cupy" or ("torch" in sys.modules and isinstance(x, sys.modules["torch"].Tensor))


def workspace_like(x: Any, size: int, stream: int) -> Any:
    """Scratch memory of ``size`` bytes on the device of ``x``, for use on ``stream``: frameworks that pool memory by
    stream must know on which one it is used, or they hand it out again too early."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        if torch.cuda.current_stream(x.device).cuda_stream == stream:
            return x.new_empty(size, dtype=torch.uint8)
        with torch.cuda.stream(torch.cuda.ExternalStream(stream, x.device)):
            return x.new_empty(size, dtype=torch.uint8)
    if _framework(x) != "cupy":
        raise TypeError(
            f"x: the plan was made for tensors of torch or CuPy, which allocate its workspace of {size} bytes, "
            f"got one of {_framework(x)}"
        )
    cupy = sys.modules["cupy"]
    with x.device, cupy.cuda.ExternalStream(stream, x.device.id):
        return cupy.empty(size, dtype="uint8")


def _numpy_dtype(x: Any, format: str) -> np.dtype[Any]:
    # Who passes an ml_dtypes array gets ml_dtypes arrays; who works with integer codes gets integers.
    dtype = getattr(x, "dtype", None)
    if getattr(getattr(dtype, "type", None), "__module__", "") == "ml_dtypes":
        ml_dtypes = sys.modules["ml_dtypes"]
        return np.dtype(getattr(ml_dtypes, _TORCH_DTYPES[format], _ARRAY_DTYPES[format]))
    return np.dtype(_ARRAY_DTYPES[format])


def stream_handle(x: Any, stream: Any, on_cuda: bool, device_id: int) -> int:
    """The ``cudaStream_t`` that ``stream`` means, as an integer; 0 is the legacy default stream."""
    if not on_cuda:
        if stream is None:
            return 0
        raise ValueError("stream: expected None for tensors on the CPU")
    if stream is None:
        return _current_stream(x, device_id)
    if hasattr(type(stream), "__cuda_stream__"):
        return _handle_of_protocol(stream)
    if _framework(stream) == "cupy" and hasattr(stream, "ptr"):  # CuPys that do not speak the protocol
        return int(stream.ptr)
    if isinstance(stream, int) and not isinstance(stream, bool):
        if stream < 0:
            raise ValueError(f"stream: expected a cudaStream_t, got {stream}")
        return stream
    raise TypeError(f"stream: expected None, an int or an object with __cuda_stream__, got {type(stream).__name__}")


def _handle_of_protocol(stream: Any) -> int:
    # (version, handle), or a method that returns it. Other versions may go on in any way behind the version.
    try:
        said = stream.__cuda_stream__
        said = said() if callable(said) else said
    except Exception as error:
        raise ValueError(f"stream: its __cuda_stream__ failed: {str(error).partition(chr(10))[0]}") from error
    version, *handles = said if isinstance(said, tuple) and said else (None,)
    if isinstance(version, int) and version != 0:
        raise ValueError(f"stream: expected version 0 of the __cuda_stream__ protocol, got {version}")
    handle = int(handles[0]) if len(handles) == 1 and hasattr(handles[0], "__int__") else -1
    if version is None or handle < 0:
        raise TypeError(f"stream: its __cuda_stream__ returned {said!r}, expected (0, cudaStream_t)")
    return handle


def _current_stream(x: Any, device_id: int) -> int:
    framework = _framework(x)
    if framework == "torch":
        return int(sys.modules["torch"].cuda.current_stream(device_id).cuda_stream)
    if framework == "cupy":
        return int(sys.modules["cupy"].cuda.get_current_stream(device_id).ptr)
    return 0

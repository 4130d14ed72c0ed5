"""The documented functions, as declarations: everything happens in the compiled module.

Annotations are evaluated here, unlike elsewhere: help() and inspect.signature() show the values that options have.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

from . import _core
from ._frameworks import Result, RowConvention
from .numerics import Numerics, PresetName

Format = Literal["e4m3", "e5m2", "bf16", "fp16", "fp32"]
ScaleLayout = Literal["column_major", "row_major", "tma_column_major", "packed_ue8m0", "swizzled_128x4"]
ScaleFormat = Literal["fp32", "ue8m0"]
ScaleRounding = Literal["none", "power_of_two"]
Block = Literal[32, 64, 128]
Scaling = Literal["block", "row", "tensor", "none"]
Activation = Literal[
    "swiglu", "swiglu_step", "geglu", "geglu_tanh", "reglu", "situ", "silu", "gelu", "gelu_tanh", "relu", "relu2"
]
Gate = Literal["second_half", "first_half", "interleaved"]
Interleave = Literal[1, 8, 32]
PlainFormat = Literal["bf16", "fp16", "fp32"]
Padding = Literal["skip", "zero"]
Pdl = Literal["off", "on", "metadata_ready"]
Function = TypeVar("Function", bound=Callable[..., Any])


def _compiled(declaration: Function) -> Function:
    """The compiled function of that name, with the signature and the documentation of its declaration.

    Python calls it without a function of its own in between, to which every parameter costs time, given or not.
    """
    function = cast(Function, _core.function(declaration.__name__))
    functools.update_wrapper(function, declaration)
    function.__module__ = __package__
    return function


@_compiled
def gated_act_quant(  # type: ignore[empty-body]
    x: Any,
    x_scale: Any = None,
    *,
    out: Any = None,
    out_scale: Any = None,
    static_scale: Any = None,
    expanded_idx_to_permuted_idx: Any = None,
    total_num_padded_tokens: Any = None,
    rows: RowConvention | None = None,
    x_format: Format | None = None,
    x_scale_layout: ScaleLayout = "column_major",
    x_scale_format: ScaleFormat | None = None,
    x_block: Block | None = None,
    out_format: Format = "e4m3",
    out_scaling: Scaling | None = None,
    out_scale_layout: ScaleLayout = "column_major",
    out_scale_format: ScaleFormat | None = None,
    out_block: Block | None = None,
    scale_rounding: ScaleRounding | None = None,
    activation: Activation = "swiglu",
    gate: Gate = "second_half",
    bias: Any = None,
    alpha: Any = None,
    beta: Any = None,
    limit: Any = None,
    gate_bound: float | None = None,
    up_bound: float | None = None,
    interleave: Interleave | None = None,
    weight: Any = None,
    out_unquantized: Any = None,
    unquantized_format: PlainFormat | None = None,
    numerics: PresetName | Numerics = "flashinfer",
    padding: Padding | None = None,
    pdl: Pdl = "off",
    expected_rows: int | None = None,
    stream: Any = None,
    validate: bool = False,
) -> Result:
    """``silu(gate) * up`` or another activation, quantized: what lies between the grouped GEMMs of an MoE layer.

    All tensors live on one device, the CPU or a CUDA device, and may come from any framework that speaks DLPack, or be
    plain DLPack capsules, which are looked at and not consumed.
    A block is 32, 64 or 128 adjacent columns that share one scale. Rounding and special values: docs/contract.md.

    Args:
        x: ``[rows, 2H]``, ``H >= 1``; float32, float16, bfloat16 or float8_e4m3fn, or an integer view of the same
            width with ``x_format``. Elements of a row are adjacent; rows may be further apart than ``2H``. Masked rows:
            ``[experts, rows, 2H]``; results and scales then have a leading ``[experts]``, too. Without a gate: ``H``
            columns where this says ``2H``.
        x_scale: for e4m3 input and only then: what each stored block of columns of a row of ``x``, gate and up
            together, is multiplied by. float32 ``[ceil(2H / 128), >= rows]`` unless layout, format or block say
            otherwise: docs/layouts.md.
        out: ``[rows, H]`` in ``out_format`` (or an integer view of it), written; allocated if not given. Must not
            overlap any other tensor.
        out_scale: written, for block scaling: float32 ``[ceil(H / 128), >= rows]`` unless layout, format or block say
            otherwise; for row scaling float32 ``[rows]``. Allocated if not given, by :func:`moe_act.scales.empty`'s
            rules.
        static_scale: float32, one element, from 2**-126 to 2**126: the scale of the whole result, which the codes are
            divided by. Makes ``out_scaling`` "tensor".
        expanded_idx_to_permuted_idx: int32 or int64 ``[n]`` or ``[tokens, top_k]``: the rows of ``x`` and ``out`` to
            do, each at most once; -1 is skipped. No other row is read or written. Without it, every row is done.
        total_num_padded_tokens: int32, one element: the distance in floats between the blocks of column-major scales,
            known only on the device. The scale tensors are then flat, with room for ``blocks * rows`` floats.
        rows: another convention of which rows there are, an object of :mod:`moe_act.rows`.
        x_format: the format behind an integer view, "e4m3", "bf16" or "fp16".
        x_scale_layout: "column_major", "row_major", "tma_column_major", "packed_ue8m0" or "swizzled_128x4".
        x_scale_format: "fp32" or "ue8m0" where the layout holds either.
        x_block: columns that share a scale: 32, 64 or 128, the default.
        out_format: "e4m3", "e5m2" (scaled), or "bf16", "fp16", "fp32" (plain).
        out_scaling: "block" (``max(amax / 448, 2**-126)`` per row and block; e5m2: 57344), "row" (the same, one for
            each row), "tensor" or "none"; by default what ``out_format`` and ``static_scale`` imply.
        out_scale_layout: as ``x_scale_layout``.
        out_scale_format: as ``x_scale_format``.
        out_block: as ``x_block``.
        scale_rounding: "none", or "power_of_two": block and row scales are rounded up to one before they are used, as
            ue8m0 scales always are.
        activation: "swiglu", "swiglu_step", "geglu", "geglu_tanh", "reglu" or "situ"; without a gate, ``x [rows, H]``:
            "silu", "gelu", "gelu_tanh", "relu" or "relu2". docs/contract.md has the formulas.
        gate: where a row holds the gate: "second_half", "first_half", or "interleaved", groups of gate and of up in
            turns, gate first.
        bias: float32 or bfloat16 ``[experts, 2H]``, columns arranged as those of ``x``; added before the activation.
        alpha: swiglu: what the gate in the sigmoid is multiplied by; a number, or float32 ``[experts]``.
        beta: swiglu: what is added to up; a number, or float32 ``[experts]``.
        limit: swiglu: gate is at most this, up between its negative and it; swiglu_step: the activation and up are, 7
            if not given. A positive number, or float32 ``[experts]``.
        gate_bound: situ: a positive number, from 2**-126 to 2**125.
        up_bound: situ: likewise.
        interleave: columns of a group of an interleaved gate, 1 (the default), 8 or 32; divides ``H``.
        weight: float32, the routing weights that rows are multiplied by before they are quantized; which is a row's
            depends on the rows: docs/contract.md. Do not apply them again after the second GEMM.
        out_unquantized: ``[rows, H]`` float32, float16 or bfloat16 (or an integer view), written: what is quantized.
        unquantized_format: the format behind an integer view ``out_unquantized``.
        numerics: whose: "flashinfer", "deepgemm" (or "tilekernels"), "vllm_block", "vllm_masked", "sglang", "lmdeploy",
            "te_mxfp8", or a :class:`moe_act.Numerics`.
        padding: what happens to rows that are not done. "skip": nothing of them is written. "zero": zero codes and
            scale 1; it needs rows whose padding can be told from their addressing, which a map of the valid rows alone
            does not allow. By default "zero" where it is possible and ``out`` or ``out_scale`` is allocated here, else
            "skip".
        pdl: programmatic dependent launch, CUDA with compute capability 9.0 and above. "on" waits for the preceding
            kernel before any read. "metadata_ready" is the promise that map, padded total, indices, counts and
            ``tile_to_expert`` were complete before the *preceding* kernel could start; only then may they be read
            before the wait.
        expected_rows: a hint how many rows will be done. Any value gives right results.
        stream: CUDA only, one of the device of ``x``: an int (``cudaStream_t``), a CuPy stream or any object with
            ``__cuda_stream__``, or None for the current stream of the framework of ``x``.
        validate: also check what only the data shows: map values, their uniqueness, counts, offsets, the padded total,
            the experts and weights of rows, the experts' parameters and the static scale. Synchronizes the stream.

    Returns:
        ``(out, out_scale)``; ``out_scale`` is None unless ``out_scaling`` is "block" or "row". Results that were not
        given are allocated by the framework of ``x``: NumPy arrays hold e4m3 codes as uint8 and bf16 as uint16, unless
        ``x`` is an ml_dtypes array.

    Raises:
        TypeError: a tensor of the wrong element type, or no tensor at all.
        ValueError: shapes, strides, devices, overlaps or options that cannot be.
        NotImplementedError: meaningful, but not supported by this build or device.
        RuntimeError: CUDA reported an error.
    """


@_compiled
def plan(  # type: ignore[empty-body]
    x: Any,
    x_scale: Any = None,
    *,
    out: Any = None,
    out_scale: Any = None,
    static_scale: Any = None,
    expanded_idx_to_permuted_idx: Any = None,
    total_num_padded_tokens: Any = None,
    rows: RowConvention | None = None,
    x_format: Format | None = None,
    x_scale_layout: ScaleLayout = "column_major",
    x_scale_format: ScaleFormat | None = None,
    x_block: Block | None = None,
    out_format: Format = "e4m3",
    out_scaling: Scaling | None = None,
    out_scale_layout: ScaleLayout = "column_major",
    out_scale_format: ScaleFormat | None = None,
    out_block: Block | None = None,
    scale_rounding: ScaleRounding | None = None,
    activation: Activation = "swiglu",
    gate: Gate = "second_half",
    bias: Any = None,
    alpha: Any = None,
    beta: Any = None,
    limit: Any = None,
    gate_bound: float | None = None,
    up_bound: float | None = None,
    interleave: Interleave | None = None,
    weight: Any = None,
    out_unquantized: Any = None,
    unquantized_format: PlainFormat | None = None,
    numerics: PresetName | Numerics = "flashinfer",
    padding: Padding | None = None,
    pdl: Pdl = "off",
    expected_rows: int | None = None,
    device: _core.DeviceInfo | None = None,
) -> _core.Plan:
    """Decide once how to run a problem; :meth:`Plan.run` then launches it for any tensors of the same description.

    :meth:`Plan.bind` is for those that stay the same: they are looked at once, and each launch costs the host less.

    The arguments are those of :func:`gated_act_quant`. Tensors are looked at for their description only: dtype, shape,
    strides, alignment and device; a plan made without ``out`` promises contiguous, aligned results.

    Args:
        device: plan for this GPU instead of the tensors' own device, whether it is there or not. The tensors then
            stand in for tensors on it, and may be NumPy arrays.

    Returns:
        The plan. ``print(plan)`` shows what was decided; its attributes hold the same as numbers.

    Raises:
        The errors of :func:`gated_act_quant`.
    """

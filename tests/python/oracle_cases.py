"""Inputs for the oracle's own tests, and results computed another way."""

import ml_dtypes
import numpy as np

DTYPES = {"e4m3": ml_dtypes.float8_e4m3fn, "bf16": ml_dtypes.bfloat16, "fp16": np.float16, "fp32": np.float32}
CODES = {"e4m3": np.uint8, "bf16": np.uint16, "fp16": np.uint16, "fp32": np.uint32}
OUTPUTS = {
    "block": {},
    "tensor": {"static_scale": np.float32([0.02])},
    "bf16": {"out_format": "bf16"},
    "fp16": {"out_format": "fp16"},
    "fp32": {"out_format": "fp32"},
}
FLT_MIN = np.float32(2.0**-126)
INF, NAN = np.inf, np.nan

# 192 columns: the second half begins inside scale block 1, and the last output block is partial.
ROWS, COLUMNS, TOTAL = 6, 192, 5


def cast(values, name):
    """fp32 to the format by ml_dtypes, which does not saturate: that is done before."""
    with np.errstate(all="ignore"):
        return (np.clip(values, -448, 448) if name == "e4m3" else values).astype(DTYPES[name])


def inputs(name="e4m3", layout="column_major", rows=ROWS, columns=COLUMNS, seed=0):
    """x, x_scale and the options that describe them. "padded_total" is column major with the stride on the
    device: the last row is beyond the total, and the map leaves out one more."""
    random = np.random.default_rng(seed)
    x = cast(random.normal(size=(rows, 2 * columns)).astype(np.float32) * 2, name)
    options = {"x_scale_layout": layout}
    if layout == "padded_total":
        expanded = np.array([[3, -1], [0, 4], [-1, 1]], np.int32)
        options = {"total_num_padded_tokens": np.int32([TOTAL]), "expanded_idx_to_permuted_idx": expanded}
    if name != "e4m3":
        return x, None, options
    shape = {"column_major": (-1, rows), "row_major": (rows, -1), "padded_total": (-1,)}[layout]
    blocks = -(-2 * columns // 128)
    return x, random.uniform(0.1, 3, rows * blocks).astype(np.float32).reshape(shape), options


def fp32_result(x, x_scale, *, gate="second_half", relative_error=0.0, seed=1, **options):
    """The same maths in plain fp32, dense column-major or row-major scales, as a library would do it."""
    rows, columns = x.shape[0], x.shape[1] // 2
    values = x.astype(np.float32)
    if x_scale is not None:
        scale = x_scale if options["x_scale_layout"] == "row_major" else x_scale.T
        values = values * np.repeat(scale, 128, axis=1)[:, : 2 * columns]
    first, second = values[:, :columns], values[:, columns:]
    g, u = (first, second) if gate == "first_half" else (second, first)
    with np.errstate(all="ignore"):
        y = g / (1 + np.exp(-g)) * u
    signs = np.random.default_rng(seed).choice([-1, 1], y.shape)
    y = (y.astype(np.float64) * (1 + relative_error * signs)).astype(np.float32)
    if "out_format" in options:
        return cast(y, options["out_format"]), None
    if "static_scale" in options:
        return cast(y / options["static_scale"], "e4m3"), None
    padded = np.pad(np.abs(y), ((0, 0), (0, -columns % 128))).reshape(rows, -1, 128)
    scale = np.maximum(padded.max(axis=2) / np.float32(448), FLT_MIN)
    out = cast(y / np.repeat(scale, 128, axis=1)[:, :columns], "e4m3")
    return out, scale if options.get("out_scale_layout") == "row_major" else np.ascontiguousarray(scale.T)

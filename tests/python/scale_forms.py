"""Where each scale layout puts each byte, written down from its definition and used to look at every one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from placed import NAN_BYTE, Placed, compact

ONE = {"fp32": np.frombuffer(np.float32(1).tobytes(), np.uint8), "ue8m0": np.array([127], np.uint8)}


@dataclass(frozen=True)
class ScaleForm:
    layout: str = "column_major"
    format: str = "fp32"
    block: int = 128

    def __str__(self) -> str:
        return f"{self.layout}/{self.format}/{self.block}"


FORMS = [
    ScaleForm(layout, format, block)
    for layout, format in (
        ("column_major", "fp32"),
        ("column_major", "ue8m0"),
        ("row_major", "fp32"),
        ("row_major", "ue8m0"),
        ("tma_column_major", "fp32"),
        ("packed_ue8m0", "ue8m0"),
        ("swizzled_128x4", "ue8m0"),
    )
    for block in (128, 64, 32)
]


@dataclass(frozen=True)
class ScaleTensor:
    """A scale tensor in memory. rows: of a part; height: rows that the swizzled layout has room for."""

    form: ScaleForm
    placed: Placed
    parts: int
    rows: int
    height: int
    blocks: int
    odd: bool
    offsets: (
        np.ndarray
    )  # [parts, height or rows, blocks rounded up to 4]: bytes into the backing; -1 where there is none

    @property
    def width(self) -> int:
        return 4 if self.form.format == "fp32" else 1

    def as_described(self, array: np.ndarray) -> np.ndarray:
        """With the axes that the documentation shows: layouts for TMA come transposed, too."""
        transposed = self.odd and self.form.layout in ("tma_column_major", "packed_ue8m0")
        return array.swapaxes(-1, -2) if transposed else array


def make(form: ScaleForm, columns: int, rows: int, experts: int | None, segments: int | None, odd: bool) -> ScaleTensor:
    """odd: the transposed view of the layouts that have one, larger strides of the others."""
    blocks = -(-columns // form.block)
    quads, parts = -(-blocks // 4), 1 if experts is None else experts
    height = rows
    itemsize, dtype = (4, np.float32) if form.format == "fp32" else (1, np.uint8)
    lead = () if experts is None else (experts,)
    part, row, block = np.ogrid[:parts, :rows, : 4 * quads]
    if form.layout == "row_major":
        row_stride = blocks + (3 if odd else 0)
        part_stride = row_stride * rows + (5 if odd else 0)
        placed = Placed(dtype, (*lead, rows, blocks), (*(part_stride,) * len(lead), row_stride, 1))
        offsets = (part * part_stride + row * row_stride + block) * itemsize
    elif form.layout == "column_major":
        ld = rows + (2 if odd else 0)
        part_stride = ld * blocks + (5 if odd else 0)
        placed = Placed(dtype, (*lead, blocks, ld), (*(part_stride,) * len(lead), ld, 1))
        offsets = (part * part_stride + block * ld + row) * itemsize
    elif form.layout == "swizzled_128x4":
        height = -(-rows // 128) * 128 if segments is None else (rows + 127 * min(segments, rows)) // 128 * 128
        height += 128 if odd else 0
        part_stride = height * 4 * quads + (16 if odd else 0)
        shape = (*lead, height, 4 * quads)
        placed = Placed(dtype, shape, (*(part_stride,) * len(lead), *compact((height, 4 * quads))))
        row = np.arange(height)[None, :, None]
        tile = (row // 128) * quads + block // 4
        offsets = part * part_stride + tile * 512 + (row % 32) * 16 + (row % 128) // 32 * 4 + block % 4
    else:
        packed = form.layout == "packed_ue8m0"
        ld, lines = -(-rows // 4) * 4 + (4 if odd else 0), quads if packed else blocks
        part_stride = ld * lines + (4 if odd else 0)
        shape, strides = ((lines, rows), (ld, 1)) if odd else ((rows, lines), (1, ld))
        dtype = np.int32 if packed else np.float32
        placed = Placed(dtype, (*lead, *shape), (*(part_stride,) * len(lead), *strides))
        offsets = (part * part_stride + (block // 4 if packed else block) * ld + row) * 4 + (block % 4 if packed else 0)
    offsets = placed.first + offsets + np.zeros((parts, height, 4 * quads), np.int64)
    if form.layout not in ("swizzled_128x4", "packed_ue8m0"):
        offsets[..., blocks:] = -1
    return ScaleTensor(form, placed, parts, rows, height, blocks, odd, offsets.astype(np.int64))


def make_per_row(rows: int, experts: int | None, odd: bool) -> ScaleTensor:
    """One scale for each row: a row-major tensor of one block, but for the axis of blocks."""
    parts, stride = 1 if experts is None else experts, rows + (4 if odd else 0)
    lead = () if experts is None else (experts,)
    placed = Placed(np.float32, (*lead, rows), (*(stride,) * len(lead), 1))
    part, row, block = np.ogrid[:parts, :rows, :4]
    offsets = np.where(block == 0, placed.first + 4 * (part * stride + row), -1)
    return ScaleTensor(ScaleForm("row"), placed, parts, rows, rows, 1, odd, offsets)


def fill(tensor: ScaleTensor, values: np.ndarray) -> None:
    """values: float32 [parts, height, blocks], powers of two where the form has exponents."""
    if tensor.form.format == "fp32":
        codes = np.ascontiguousarray(values, np.float32)[..., None].view(np.uint8)
    else:
        codes = (np.log2(values).astype(np.int64) + 127).astype(np.uint8)[..., None]
    for byte in range(tensor.width):
        tensor.placed.backing[tensor.offsets[..., : tensor.blocks] + byte] = codes[..., byte]


def expected_elsewhere(tensor: ScaleTensor, live: np.ndarray, padding: str) -> tuple[np.ndarray, np.ndarray]:
    """What every byte of the backing must be that is no scale of a live row: (which bytes, their values).

    live: bool [parts, height]. padding "zero": dead rows have scale 1.
    """
    memory = np.full(len(tensor.placed.backing), NAN_BYTE, np.uint8)
    known = np.ones(len(memory), bool)
    used, unused = tensor.offsets[..., : tensor.blocks], tensor.offsets[..., tensor.blocks :]
    for byte in range(tensor.width):
        known[used[live] + byte] = False
        if padding == "zero":
            memory[used[~live] + byte] = ONE[tensor.form.format][byte]
    written = np.ones_like(live) if padding == "zero" else live
    spare = unused[written]
    memory[spare[spare >= 0]] = 0
    return known, memory


def options(name: str, form: ScaleForm) -> dict[str, Any]:
    chosen = {f"{name}_scale_layout": form.layout, f"{name}_block": form.block}
    if form.layout in ("column_major", "row_major"):
        chosen[f"{name}_scale_format"] = form.format
    return chosen

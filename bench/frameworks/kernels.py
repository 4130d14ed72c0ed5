"""Triton kernels: the operation fused by hand, and a stream of the same bytes."""

import triton
import triton.language as tl

BLOCK = tl.constexpr(128)
SMALLEST_SCALE = tl.constexpr(2.0**-126)


@triton.jit
def gated_act_quant(
    x, out, out_scale, rows, COLUMNS: tl.constexpr, ROWS: tl.constexpr, BLOCKS: tl.constexpr, QUANTIZE: tl.constexpr
):
    """A program takes ROWS rows times BLOCKS blocks of columns, neighbours in memory being neighbours in the grid."""
    parts: tl.constexpr = COLUMNS // BLOCK // BLOCKS
    first_row = (tl.program_id(0) // parts).to(tl.int64) * ROWS
    first_block = tl.program_id(0) % parts * BLOCKS

    unit = tl.arange(0, ROWS * BLOCKS)  # a block of a row
    row = unit // BLOCKS
    block = first_block + unit % BLOCKS
    live = first_row + row < rows
    column = block[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    source = x + first_row * (2 * COLUMNS) + (row[:, None] * (2 * COLUMNS) + column)
    up = tl.load(source, mask=live[:, None], other=0.0).to(tl.float32)
    gate = tl.load(source + COLUMNS, mask=live[:, None], other=0.0).to(tl.float32)
    product = gate / (1.0 + tl.exp(-gate)) * up

    target = out + first_row * COLUMNS + (row[:, None] * COLUMNS + column)
    if QUANTIZE:
        scale = tl.maximum(tl.max(tl.abs(product), axis=1) / 448.0, SMALLEST_SCALE)
        product = product * (1.0 / scale)[:, None]
        tl.store(out_scale + first_row + (block * rows + row), scale, mask=live)
    tl.store(target, product.to(out.dtype.element_ty), mask=live[:, None])


@triton.jit
def stream(source, target, count, READS: tl.constexpr, ELEMENTS: tl.constexpr):
    """READS arrays of `count` elements, one after the other, into one."""
    index = tl.program_id(0).to(tl.int64) * ELEMENTS + tl.arange(0, ELEMENTS)
    live = index < count
    total = tl.load(source + index, mask=live, other=0)
    for read in tl.static_range(1, READS):
        total ^= tl.load(source + read * count + index, mask=live, other=0)
    tl.store(target + index, total, mask=live)

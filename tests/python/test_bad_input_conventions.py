"""Row conventions and scale layouts that cannot be are refused, by name and before anything is written."""

from __future__ import annotations

import itertools
import re
from typing import Any, NamedTuple

import cases
import moe_act
import numpy as np
import pytest
from moe_act.rows import ExpertEnds, ExpertOffsets, Masked, RowToExpert, SortedTokenIds, TileLimits, ValidPrefix
from placed import NAN_BYTE, Placed, back, compact
from refusals import check_refused, ints, ones
from tensors import DEVICES, get, on_device, put

ROWS, COLUMNS, EXPERTS = 6, 192, 2
LEAST, MOST, BEYOND = -(2**63), 2**63 - 1, 2**32 + 3  # of int64; the low 32 bits are 0, -1 and 3
Call = dict[str, Any]


def plain() -> Call:
    return {"x": ones(ROWS, 2 * COLUMNS), "out": cases.poisoned((ROWS, COLUMNS), np.uint8)}


def masked() -> Call:
    return {"x": ones(EXPERTS, ROWS, 2 * COLUMNS), "out": cases.poisoned((EXPERTS, ROWS, COLUMNS), np.uint8)}


def scaled() -> Call:
    return plain() | {"x": np.full((ROWS, 2 * COLUMNS), 0x38, np.uint8), "x_format": "e4m3"}


def far(*values: int) -> np.ndarray:
    return ints(*values, dtype=np.int64)


def aligned(size: int, dtype: Any) -> np.ndarray:
    """At an address that is a multiple of 16."""
    return Placed(dtype, (size,), (1,)).array


class Bad(NamedTuple):
    name: str
    call: Call
    changes: Call
    error: type[Exception]
    argument: str
    says: tuple[str, ...]


TABLE = [
    # Which rows
    Bad("rows is a tensor", plain(), {"rows": ints(3)}, TypeError, "rows", ("an object of moe_act.rows", "ndarray")),
    Bad("rows beside a map", plain(), {"rows": ValidPrefix(ints(3)), "expanded_idx_to_permuted_idx": ints(1)},
        ValueError, "rows", ("expected None", "expanded_idx_to_permuted_idx")),
    Bad("prefix of two", plain(), {"rows": ValidPrefix(ints(3, 4))}, ValueError, "valid_rows", ("one element", "[2]")),
    Bad("prefix of nothing", plain(), {"rows": ValidPrefix(None)}, ValueError, "valid_rows", ("expected a tensor",)),
    Bad("prefix is a number", plain(), {"rows": ValidPrefix(3)}, TypeError, "valid_rows", ("expected a tensor", "int")),
    Bad("prefix is a float", plain(), {"rows": ValidPrefix(ones(1))}, TypeError, "valid_rows",
        ("expected int32 or int64", "got float32 [1]")),
    Bad("limits in a matrix", plain(), {"rows": TileLimits(ints(3, 4).reshape(1, 2), 4)}, ValueError, "tile_limits",
        ("[tiles]", "int32 [1, 2]")),
    Bad("limits of int16", plain(), {"rows": TileLimits(ints(3, dtype=np.int16), 4)}, TypeError, "tile_limits",
        ("int32 or int64", "int16")),
    Bad("tiles of no rows", plain(), {"rows": TileLimits(ints(3), 0)}, ValueError, "tile_tokens", ("at least 1", "0")),
    Bad("tiles of half a row", plain(), {"rows": TileLimits(ints(3), 0.5)}, TypeError, "tile_tokens", ("int", "float")),
    Bad("two live tiles", plain(), {"rows": TileLimits(ints(3), 4, ints(1, 1))}, ValueError, "num_live_tiles",
        ("one element", "[2]")),
    Bad("experts of fewer rows", plain(), {"rows": RowToExpert(ints(0, 1))}, ValueError, "row_to_expert",
        ("[6]", "int32 [2]")),
    Bad("ids without a count", plain(), {"rows": SortedTokenIds(ints(0, 1), 2, None)}, ValueError,
        "num_tokens_post_padded", ("expected a tensor",)),
    Bad("a negative number of ids", plain(), {"rows": SortedTokenIds(ints(0, 1), -1, ints(2))}, ValueError,
        "num_valid_ids", ("at least 0", "got -1")),
    Bad("ids by name", plain(), {"rows": SortedTokenIds(ints(0), 1, ints(1), "token")}, ValueError, "buffer_row",
        ("'position', 'id'", "got 'token'")),
    Bad("no offsets", plain(), {"rows": ExpertOffsets(ints())}, ValueError, "expert_offsets", ("[experts + 1]", "[0]")),
    Bad("offsets strided", plain(), {"rows": ExpertOffsets(ints(0, 1, 2, 3)[::2])}, ValueError, "expert_offsets",
        ("contiguous", "stride 2")),
    Bad("ends aligned to 0", plain(), {"rows": ExpertEnds(ints(3), 0)}, ValueError, "expert_alignment",
        ("at least 1", "got 0")),
    Bad("masked in two axes", plain(), {"rows": Masked(ints(3))}, ValueError, "x",
        ("[experts, rows, 2H]", "float32 [6, 384]")),
    Bad("counts of more experts", masked(), {"rows": Masked(ints(1, 2, 3))}, ValueError, "expert_counts",
        ("int32 or int64 [2]", "int32 [3]")),
    Bad("three axes that are not masked", masked(), {}, ValueError, "x", ("[rows, 2H]", "[2, 6, 384]")),
    Bad("masked out of fewer experts", masked(), {"rows": Masked(ints(1, 2)), "out": ones(1, 6, 192, dtype=np.uint8)},
        ValueError, "out", ("[2, 6, 192]", "uint8 [1, 6, 192]")),
    Bad("masked experts that overlap", masked(), {"rows": Masked(ints(1, 2)),
        "x": np.lib.stride_tricks.as_strided(ones(4000), (2, 6, 384), (4, 4 * 384, 4))}, ValueError, "x",
        ("experts at least 2304 elements apart", "stride 1")),
    Bad("zero padding with rows by id", plain(), {"padding": "zero",
        "rows": SortedTokenIds(ints(0, 1), 2, ints(2), "id")}, NotImplementedError, "padding",
        ("'zero' needs", "sorted_token_ids names the valid rows alone", "use 'skip'")),
    # Which scales
    Bad("groups of 16", plain(), {"out_block": 16}, ValueError, "out_block", ("32, 64 or 128", "got 16")),
    Bad("groups of 0", plain(), {"out_block": 0}, ValueError, "out_block", ("32, 64 or 128",)),
    Bad("groups of 48 in x", scaled(), {"x_block": 48, "x_scale": ones(8, 6)}, ValueError, "x_block", ("got 48",)),
    Bad("a group that is a str", plain(), {"out_block": "32"}, TypeError, "out_block", ("an int", "got str")),
    Bad("x_scale of another group", scaled(), {"x_block": 64, "x_scale": ones(3, 6)}, ValueError, "x_scale",
        ("expected float32 [6, 6] (column major)", "[3, 6]")),
    Bad("packed scales in fp32", plain(), {"out_scale_layout": "packed_ue8m0", "out_scale_format": "fp32"}, ValueError,
        "out_scale", ("are ue8m0", "'fp32'")),
    Bad("TMA scales in ue8m0", plain(), {"out_scale_layout": "tma_column_major", "out_scale_format": "ue8m0"},
        ValueError, "out_scale", ("are fp32", "'ue8m0'")),
    Bad("ue8m0 that is not rounded", plain(), {"out_scale_layout": "packed_ue8m0", "scale_rounding": "none"},
        ValueError, "scale_rounding", ("'power_of_two'", "'none'")),
    Bad("packed scales as bytes", plain(), {"out_scale_layout": "packed_ue8m0",
        "out_scale": ones(6, 1, dtype=np.uint8)}, TypeError, "out_scale", ("expected int32", "uint8 [6, 1]")),
    Bad("packed scales of row stride", plain(), {"out_scale_layout": "packed_ue8m0", "out_block": 32,
        "out_scale": ones(6, 2, dtype=np.int32)}, ValueError, "out_scale", ("adjacent elements", "stride 2")),
    Bad("packed scales of the wrong stride", plain(), {"out_scale_layout": "packed_ue8m0", "out_block": 32,
        "out_scale": ones(2, 6, dtype=np.int32)}, ValueError, "out_scale", ("a multiple of 4 elements", "got 6")),
    Bad("TMA scales of the wrong stride", plain(), {"out_scale_layout": "tma_column_major", "out_scale": ones(2, 6)},
        ValueError, "out_scale", ("a multiple of 4 elements", "got 6")),
    Bad("TMA scales off their alignment", plain(), {"out_scale_layout": "tma_column_major",
        "out_scale": np.lib.stride_tricks.as_strided(cases.poisoned((8 * 4,), np.float32)[1:], (2, 6), (32, 4))},
        ValueError, "out_scale", ("aligned to 16 bytes",)),
    Bad("a swizzle of too few rows", plain(), {"out_scale_layout": "swizzled_128x4",
        "out_scale": ones(64, 4, dtype=np.uint8)}, ValueError, "out_scale", ("uint8 [128, 4]", "uint8 [64, 4]")),
    Bad("a swizzle without room for segments", plain(), {"out_scale_layout": "swizzled_128x4",
        "rows": ExpertOffsets(ints(0, 3, 6)), "out_scale": ones(128, 4, dtype=np.uint8)}, ValueError, "out_scale",
        ("uint8 [256, 4]", "uint8 [128, 4]")),
    Bad("a swizzle with gaps", plain(), {"out_scale_layout": "swizzled_128x4",
        "out_scale": ones(128, 8, dtype=np.uint8)[:, :4]}, ValueError, "out_scale", ("contiguous", "stride 8")),
    Bad("exponents as floats", scaled(), {"x_scale_format": "ue8m0", "x_scale": ones(3, 6)}, TypeError, "x_scale",
        ("uint8 or float8_e8m0fnu", "float32 [3, 6]")),
    Bad("row scales of blocks", plain(), {"out_scaling": "row", "out_scale": ones(2, 6)}, ValueError, "out_scale",
        ("float32 [6] (one for each row)", "[2, 6]")),
    Bad("row scales in ue8m0", plain(), {"out_scaling": "row", "out_scale_format": "ue8m0"}, ValueError, "out_scale",
        ("a scale for a whole row is fp32",)),
    Bad("row scales of plain values", plain(), {"out_scaling": "row", "out_format": "fp32", "out": ones(6, 192)},
        ValueError, "out_scaling", ("plain fp32 output expects 'none'", "'row'")),
    Bad("masked packed scales off their alignment", masked(), {"rows": Masked(ints(1, 2)),
        "out_scale_layout": "packed_ue8m0",
        "out_scale": np.lib.stride_tricks.as_strided(aligned(64, np.int32), (2, 1, 6), (40, 32, 4))}, ValueError,
        "out_scale", ("experts a multiple of 4 elements (16 bytes) apart", "got 10")),
    Bad("masked TMA scales off their alignment", masked(), {"rows": Masked(ints(1, 2)),
        "out_scale_layout": "tma_column_major",
        "out_scale": np.lib.stride_tricks.as_strided(aligned(64, np.float32), (2, 2, 6), (68, 32, 4))}, ValueError,
        "out_scale", ("experts a multiple of 4 elements (16 bytes) apart", "got 17")),
    Bad("masked scales of fewer experts", masked(), {"rows": Masked(ints(1, 2)), "out_scale": ones(1, 2, 6)},
        ValueError, "out_scale", ("float32 [2, 2, 6] (column major)", "[1, 2, 6]")),
    Bad("masked scales that overlap", masked(), {"rows": Masked(ints(1, 2)),
        "out_scale": np.lib.stride_tricks.as_strided(ones(64), (2, 2, 6), (4, 24, 4))}, ValueError, "out_scale",
        ("experts at least 12 elements apart", "got 1")),
    Bad("a total for masked rows", masked(), {"rows": Masked(ints(1, 2)), "total_num_padded_tokens": ints(6)},
        ValueError, "total_num_padded_tokens", ("expected none",)),
]  # fmt: skip


@pytest.mark.parametrize("bad", [pytest.param(bad, id=bad.name) for bad in TABLE])
def test_refused(bad: Bad) -> None:
    call = bad.call | bad.changes
    check_refused(bad, call)


WRONG_DATA = {
    "prefix past the rows": (plain(), ValidPrefix(ints(7)), "valid_rows: is 7, expected 0 to 6"),
    "prefix below 0": (plain(), ValidPrefix(ints(-1)), "valid_rows: is -1, expected 0 to 6"),
    "limit past the rows": (plain(), TileLimits(ints(2, 7), 3), "tile_limits: entry 1 is 7, expected 0 to 6"),
    "too many live tiles": (plain(), TileLimits(ints(2, 6), 3, ints(3)), "num_live_tiles: is 3, expected 0 to 2"),
    "more positions in use than ids": (
        plain(), SortedTokenIds(ints(0, 1), 2, ints(3)), "num_tokens_post_padded: is 3, expected 0 to 2"),
    "an id twice": (
        plain(), SortedTokenIds(ints(1, 1), 2, ints(2), "id"), "sorted_token_ids: entry 1 is 1, a row that an earlier"),
    "offsets that decrease": (
        plain(), ExpertOffsets(ints(0, 4, 2)), "expert_offsets: entry 2 is 2, expected at least the entry before"),
    "offsets past the rows": (plain(), ExpertOffsets(ints(0, 9)), "expert_offsets: entry 1 is 9, expected 0 to 6"),
    "offsets that begin again": (
        plain(), ExpertOffsets(ints(0, 6, 0, 6)), "expert_offsets: entry 2 is 0, expected at least the entry before"),
    "ends that decrease": (plain(), ExpertEnds(ints(4, 2)), "expert_ends: entry 1 is 2, expected at least"),
    "a count beyond M": (masked(), Masked(ints(1, 7)), "expert_counts: entry 1 is 7, expected 0 to 6"),
    "a count below 0": (masked(), Masked(ints(-2, 1)), "expert_counts: entry 0 is -2, expected 0 to 6"),
    "offsets of 64 bits": (
        plain(), ExpertOffsets(far(LEAST, BEYOND, MOST)), f"expert_offsets: entry 0 is {LEAST}, expected 0 to 6"),
    "ends of 64 bits": (
        plain(), ExpertEnds(far(BEYOND, MOST, LEAST)), f"expert_ends: entry 0 is {BEYOND}, expected 0 to 6"),
    "counts of 64 bits": (masked(), Masked(far(MOST, LEAST)), f"expert_counts: entry 0 is {MOST}, expected 0 to 6"),
    "a count that 32 bits cut": (
        masked(), Masked(far(1, BEYOND)), f"expert_counts: entry 1 is {BEYOND}, expected 0 to 6"),
}  # fmt: skip


class Watched:
    """out and out_scale inside larger memory."""

    def __init__(self, device: str, out: tuple[int, ...], scale: Any, scale_strides: tuple[int, ...]) -> None:
        self.device = device
        self.placed = [
            Placed(np.uint8, out, compact(out)),
            Placed(scale.dtype, scale.shape, tuple(stride // scale.itemsize for stride in scale_strides)),
        ]
        self.memory = [placed.copy_to(device) for placed in self.placed]

    def results(self) -> Call:
        views = [placed.on(self.device, memory) for placed, memory in zip(self.placed, self.memory, strict=True)]
        return dict(zip(("out", "out_scale"), views, strict=True))

    def around(self) -> bool:
        """Are the bytes before and behind both still those of before?"""
        for placed, memory in zip(self.placed, map(back, self.memory), strict=True):
            inside = Placed(placed.dtype, placed.shape, placed.strides, placed.first)
            inside.array[...] = 0
            if (memory[inside.backing != 0] != NAN_BYTE).any():
                return False
        return True


def bounds_of(rows: Any) -> list[tuple[int, int]]:
    """Where experts begin and end, as offsets or ends say it."""
    if isinstance(rows, ExpertOffsets):
        return list(itertools.pairwise(rows.expert_offsets.tolist()))
    step = rows.expert_alignment
    return [(-(-begin // step) * step, end) for begin, end in itertools.pairwise([0, *rows.expert_ends.tolist()])]


def watched(device: str, call: Call, rows: Any, layout: Any) -> tuple[Call, Watched]:
    scale = moe_act.scales.empty(
        layout, rows=call["x"].shape[-2], columns=COLUMNS,
        experts=len(call["x"]) if call["x"].ndim == 3 else None,
        segments=len(bounds_of(rows)) if isinstance(rows, ExpertOffsets | ExpertEnds) else None,
    )  # fmt: skip
    memory = Watched(device, (*call["x"].shape[:-1], COLUMNS), scale, scale.strides)
    placed = {"x": put(call["x"], device), "rows": on_device(rows, device)}
    return placed | {"out_scale_layout": layout} | memory.results(), memory


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layout", ["column_major", "swizzled_128x4"])
@pytest.mark.parametrize("padding", ["skip", "zero"])
@pytest.mark.parametrize("name", WRONG_DATA)
def test_wrong_data_is_refused_under_validate_and_harmless_without(
    name: str, padding: Any, layout: str, device: str
) -> None:
    call, rows, says = WRONG_DATA[name]
    if getattr(rows, "buffer_row", None) == "id":
        padding = "skip"
    call, memory = watched(device, call, rows, layout)
    with pytest.raises(ValueError, match=f"^{re.escape(says)}"):
        moe_act.gated_act_quant(**call, padding=padding, validate=True)
    for untouched in map(back, memory.memory):
        assert (untouched == NAN_BYTE).all()
    moe_act.gated_act_quant(**call, padding=padding)
    assert memory.around(), "whatever the data says, nothing outside the buffers is touched"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layout", ["column_major", "swizzled_128x4"])
@pytest.mark.parametrize("padding", ["skip", "zero"])
@pytest.mark.parametrize(
    "rows",
    [ExpertOffsets(ints(0, 1280, 0, 1280, 0, 1280)), ExpertEnds(ints(1280, 0, 1280, 0, 1280)),
     ExpertOffsets(ints(0, *[800] * 7, 0, *[1280] * 8)), ExpertEnds(ints(*[800] * 7, 0, *[1280] * 8)),
     ExpertOffsets(ints(0, 1000, 200, 900, *[0, 1280] * 600)), ExpertEnds(ints(5, *[1280, 0] * 600), 4)],
    ids=["offsets", "ends", "offsets late", "ends late", "offsets of many", "ends of many"],
)  # fmt: skip
def test_offsets_that_decrease_do_no_more_rows_than_there_are(
    rows: Any, padding: Any, layout: Any, device: str
) -> None:
    """Each segment's scales begin a tile of their own, for which there is only room where rows are done once."""
    x = np.random.default_rng(0).standard_normal((1280, 2 * COLUMNS), np.float32)
    call, _ = watched(device, {"x": x}, rows, layout)
    plan = moe_act.plan(**call, padding=padding)
    done = swizzled_rows_done(rows, len(x), len(call["out_scale"])) if layout == "swizzled_128x4" else None
    for each in (plan, *plan.alternatives()):
        call, memory = watched(device, {"x": x}, rows, layout)
        del call["out_scale_layout"]
        each.run(**call)
        assert memory.around(), str(each)
        if padding == "zero" or done is None:
            continue
        dense = moe_act.scales.to_rows(get(call["out_scale"]), layout, rows=len(done), columns=COLUMNS)
        assert np.isnan(dense[~done]).all() and np.isfinite(dense[done]).all(), str(each)


def swizzled_rows_done(rows: Any, left: int, scale_rows: int) -> np.ndarray:
    """Which rows of the scales belong to live rows, of which there are no more than `left`."""
    first, done = 0, np.zeros(scale_rows, bool)
    for begin, end in bounds_of(rows):
        count = min(max(end - begin, 0), left)
        done[first : first + count] = True
        first, left = first + -(-count // 128) * 128, left - count
    return done


def test_a_plan_for_other_rows() -> None:
    call = masked() | {"rows": Masked(ints(1, 2))}
    plan = moe_act.plan(**call)
    x, out = call["x"], call["out"]
    plan.run(x, out=out, rows=Masked(ints(6, 0)))
    with pytest.raises(ValueError, match="bits of the row index: the plan was made for 32, got 64"):
        plan.run(x, out=out, rows=Masked(ints(1, 2, dtype=np.int64)))
    with pytest.raises(ValueError, match="row_kind: the plan was made for 'masked', got 'dense'"):
        plan.run(x[0], out=out[0])

"""What is supported: rows x inputs x outputs, every cell the library's own answer to whether it makes a plan."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

import moe_act
from moe_act import scales

HIDDEN = 128
LAYOUT_NAMES = {
    "column_major": "column major",
    "row_major": "row major",
    "tma_column_major": "TMA column major",
    "packed_ue8m0": "packed UE8M0",
    "swizzled_128x4": "swizzled 128x4",
}


def _one(value: int) -> np.ndarray:
    return np.array([value], np.int32)


# By the names that the documentation uses; each is a convention of a single row, or of a single expert.
ROWS: dict[str, Callable[[], dict[str, Any]]] = {
    "dense": dict,
    "valid prefix": lambda: {"rows": moe_act.rows.ValidPrefix(_one(1))},
    "expanded to permuted": lambda: {"expanded_idx_to_permuted_idx": _one(0)},
    "tile limits": lambda: {"rows": moe_act.rows.TileLimits(_one(1), 8)},
    "row to expert": lambda: {"rows": moe_act.rows.RowToExpert(_one(0))},
    "sorted token ids": lambda: {"rows": moe_act.rows.SortedTokenIds(_one(0), 1, _one(1))},
    "sorted token ids, rows by id": lambda: {"rows": moe_act.rows.SortedTokenIds(_one(0), 1, _one(1), "id")},
    "expert offsets": lambda: {"rows": moe_act.rows.ExpertOffsets(np.array([0, 1], np.int32))},
    "expert ends": lambda: {"rows": moe_act.rows.ExpertEnds(_one(1))},
    "masked": lambda: {"rows": moe_act.rows.Masked(_one(1))},
}
INPUTS: dict[str, dict[str, Any]] = {
    **{f"e4m3, {name}": {"x_format": "e4m3", "x_scale_layout": layout} for layout, name in LAYOUT_NAMES.items()},
    **{format: {"x_format": format} for format in ("bf16", "fp16", "fp32")},
}
OUTPUTS: dict[str, dict[str, Any]] = {
    **{
        f"{format}, {name}": {"out_format": format, "out_scale_layout": layout}
        for format in ("e4m3", "e5m2")
        for layout, name in LAYOUT_NAMES.items()
    },
    **{f"{format} per row": {"out_format": format, "out_scaling": "row"} for format in ("e4m3", "e5m2")},
    **{f"{format} per tensor": {"out_format": format, "out_scaling": "tensor"} for format in ("e4m3", "e5m2")},
    **{format: {"out_format": format} for format in ("bf16", "fp16", "fp32")},
}
DTYPES = {"e4m3": np.uint8, "bf16": np.uint16, "fp16": np.float16, "fp32": np.float32}
# A GPU that need not be there: what is supported does not depend on how many multiprocessors it has.
GPU = moe_act.DeviceInfo(multiprocessors=132, compute_capability=(9, 0))


@cache
def why_not(rows: str, input: str, output: str, where: str = "cpu", padding: str = "skip") -> str:
    """ "" where the combination is supported, else the library's reason. where: "cpu" or "cuda"."""
    chosen = {**INPUTS[input], **OUTPUTS[output], "padding": padding}
    lead = (1,) if rows == "masked" else ()
    tensors: dict[str, Any] = {"x": np.zeros((*lead, 1, 2 * HIDDEN), DTYPES[chosen["x_format"]])} | ROWS[rows]()
    if chosen["x_format"] == "e4m3":
        experts, segments = 1 if lead else None, 1 if rows in ("expert offsets", "expert ends") else None
        layout = chosen["x_scale_layout"]
        tensors["x_scale"] = scales.empty(layout, rows=1, columns=2 * HIDDEN, experts=experts, segments=segments)
    if chosen.get("out_scaling") == "tensor":
        tensors["static_scale"] = np.ones(1, np.float32)
    try:
        moe_act.plan(**tensors, **chosen, device=GPU if where == "cuda" else None)
    except NotImplementedError as error:
        return str(error)
    return ""


def _cell(answers: list[str]) -> str:
    """Of many combinations."""
    supported = answers.count("")
    return "yes" if supported == len(answers) else f"{supported} of {len(answers)}" if supported else "-"


def tables(where: str) -> list[tuple[str, list[str], list[list[str]]]]:
    """Each: its title, the names of its columns, and a line for each row convention."""
    return [
        (
            "input, with the layout of its scales (to every output)",
            list(INPUTS),
            [[_cell([why_not(rows, i, o, where) for o in OUTPUTS]) for i in INPUTS] for rows in ROWS],
        ),
        (
            "output, with the layout of its scales (from every input)",
            list(OUTPUTS),
            [[_cell([why_not(rows, i, o, where) for i in INPUTS]) for o in OUTPUTS] for rows in ROWS],
        ),
        (
            "zero padding (from every input to every output)",
            ['padding="zero"'],
            [[_cell([why_not(rows, i, o, where, "zero") for i in INPUTS for o in OUTPUTS])] for rows in ROWS],
        ),
    ]


def text(where: str) -> str:
    """For a terminal: conventions across, as few as there are."""
    lines = []
    for title, names, cells in tables(where):
        width = max(map(len, names))
        numbers = [str(number) for number in range(1, len(ROWS) + 1)]
        lines += ["", f"{title}", " " * width + "".join(f"{number:>6}" for number in numbers)]
        for index, name in enumerate(names):
            lines.append(f"{name:<{width}}" + "".join(f"{line[index]:>6}" for line in cells))
    legend = [f"{number:>2} {name}" for number, name in enumerate(ROWS, 1)]
    return "\n".join([*lines, "", "rows:", *("".join(f"{n:<34}" for n in legend[i : i + 3]) for i in range(0, 10, 3))])


def markdown() -> str:
    """For docs/support.md: the CPU's tables, and whether CUDA's are the same."""
    lines = []
    for number, (title, names, cells) in enumerate(tables("cpu")):
        lines += [f"## {title[0].upper()}{title[1:]}", "", f"| | {' | '.join(ROWS)} |"]
        lines += ["|---|" + "---|" * len(ROWS)]
        for index, name in enumerate(names):
            lines.append(f"| {name} | {' | '.join(line[index] for line in cells)} |")
        same = tables("cuda")[number][2] == cells
        lines += ["", "On CUDA the same." if same else "On CUDA it differs: `python -m moe_act info` shows how.", ""]
    return "\n".join(lines)

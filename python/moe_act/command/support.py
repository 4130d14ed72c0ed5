"""What is supported: rows x inputs x outputs, every cell the library's own answer to whether it makes a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
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


# What there is for each expert, and what each convention needs to say whose a row is, or which weight is its.
TILES: dict[str, Any] = {"tile_to_expert": _one(0), "tile_tokens": 8}
EXPERTS: dict[str, Callable[[], dict[str, Any]]] = {
    **ROWS,
    "dense": lambda: {"rows": moe_act.rows.Dense(**TILES)},
    "valid prefix": lambda: {"rows": moe_act.rows.ValidPrefix(_one(1), **TILES)},
    "expanded to permuted": lambda: {"rows": moe_act.rows.ExpandedToPermuted(_one(0), **TILES)},
    "tile limits": lambda: {"rows": moe_act.rows.TileLimits(_one(1), 8, tile_to_expert=_one(0))},
    "sorted token ids": lambda: {"rows": moe_act.rows.SortedTokenIds(_one(0), 1, _one(1), **TILES)},
    "sorted token ids, rows by id": lambda: {"rows": moe_act.rows.SortedTokenIds(_one(0), 1, _one(1), "id", **TILES)},
}
WEIGHTS: dict[str, Callable[[], dict[str, Any]]] = {
    **ROWS,
    "tile limits": lambda: {"rows": moe_act.rows.TileLimits(_one(1), 8, permuted_to_expanded=_one(0))},
    "row to expert": lambda: {"rows": moe_act.rows.RowToExpert(_one(0), permuted_to_expanded=_one(0))},
    "expert offsets": lambda: {
        "rows": moe_act.rows.ExpertOffsets(np.array([0, 1], np.int32), permuted_to_expanded=_one(0))
    },
    "expert ends": lambda: {"rows": moe_act.rows.ExpertEnds(_one(1), permuted_to_expanded=_one(0))},
}
GATED = ("swiglu", "swiglu_step", "geglu", "geglu_tanh", "reglu", "situ")
ACTIVATIONS: dict[str, dict[str, Any]] = {
    **{name: {"activation": name} for name in GATED},
    "situ": {"activation": "situ", "gate_bound": 4.0, "up_bound": 25.0},
    **{name: {"activation": name} for name in ("silu", "gelu", "gelu_tanh", "relu", "relu2")},
    "gate in the first half": {"gate": "first_half"},
    **{f"gate interleaved by {n}": {"gate": "interleaved", "interleave": n} for n in (1, 8, 32)},
    "alpha, beta, limit: numbers": {"alpha": 1.702, "beta": 1.0, "limit": 7.0},
    "alpha, beta, limit: per expert": {name: np.ones(1, np.float32) for name in ("alpha", "beta", "limit")},
    "bias per expert": {"bias": np.zeros((1, 2 * HIDDEN), np.float32)},
    "routing weight": {"weight": np.ones(1, np.float32)},
    "unquantized copy": {"out_unquantized": np.empty((1, HIDDEN), np.float32)},
}
NUMERICS: dict[str, dict[str, Any]] = {
    **{
        name: {"numerics": name}
        for name in ("flashinfer", "deepgemm", "tilekernels", "vllm_block", "vllm_masked", "sglang", "lmdeploy")
    },
    "te_mxfp8": {"numerics": "te_mxfp8", "out_block": 32, "out_scale_format": "ue8m0"},
    "every product rounding": {"numerics": moe_act.Numerics(product_rounding="activation_and_product")},
    "every epsilon": {"numerics": moe_act.Numerics(smallest_amax=1e-6, smallest_scale=1e-9)},
    "power-of-two scales": {"scale_rounding": "power_of_two"},
    "quotient or product": {"numerics": moe_act.Numerics(quantization="multiply")},
    "clamp in the input format": {"numerics": moe_act.Numerics(clamp_rounding="input"), "limit": 7.0},
}


def _answer(tensors: dict[str, Any], chosen: dict[str, Any], where: str) -> str:
    try:
        moe_act.plan(**tensors, **chosen, device=GPU if where == "cuda" else None)
    except (NotImplementedError, ValueError) as error:
        return str(error)
    return ""


def _x(format: str, lead: tuple[int, ...] = ()) -> dict[str, Any]:
    tensors: dict[str, Any] = {"x": np.zeros((*lead, 1, 2 * HIDDEN), DTYPES[format])}
    if format == "e4m3":
        tensors["x_scale"] = scales.empty("column_major", rows=1, columns=2 * HIDDEN, experts=1 if lead else None)
    return tensors


@cache
def why_no_activation(rows: str, activation: str, where: str) -> str:
    """ "" where rows and what the line of ACTIVATIONS adds go together, else the library's reason."""
    chosen = dict(ACTIVATIONS[activation])
    lead = (1,) if rows == "masked" else ()
    for name in ("weight", "out_unquantized"):
        if name in chosen and lead:
            chosen[name] = chosen[name].reshape(1, *np.shape(chosen[name]))
    by_expert = "bias" in chosen or isinstance(chosen.get("alpha"), np.ndarray)
    convention = (EXPERTS if by_expert else WEIGHTS if "weight" in chosen else ROWS)[rows]()
    return _answer(_x("bf16", lead) | convention, {"x_format": "bf16", **chosen}, where)


@cache
def why_no_numerics(input: str, numerics: str, where: str) -> str:
    """ "" where the input format and a line of NUMERICS go together, else the library's reason."""
    return _answer(_x(input), {"x_format": input, **NUMERICS[numerics]}, where)


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


@dataclass(frozen=True)
class Table:
    """What goes together: a line for each name, a cell for each of the columns."""

    title: str
    columns: list[str]
    names: list[str]
    cells: list[list[str]]


def tables(where: str) -> list[Table]:
    rows = list(ROWS)

    def by_rows(title: str, names: Iterable[str], cell: Callable[[str, str], str]) -> Table:
        return Table(title, rows, list(names), [[cell(name, convention) for convention in rows] for name in names])

    return [
        by_rows(
            "input, with the layout of its scales (to every output)",
            INPUTS,
            lambda input, convention: _cell([why_not(convention, input, o, where) for o in OUTPUTS]),
        ),
        by_rows(
            "output, with the layout of its scales (from every input)",
            OUTPUTS,
            lambda output, convention: _cell([why_not(convention, i, output, where) for i in INPUTS]),
        ),
        by_rows(
            "activation, gate, parameters, bias, weight",
            ACTIVATIONS,
            lambda name, convention: _cell([why_no_activation(convention, name, where)]),
        ),
        Table(
            "numerics, by input",
            list(DTYPES),
            list(NUMERICS),
            [[_cell([why_no_numerics(input, name, where)]) for input in DTYPES] for name in NUMERICS],
        ),
        by_rows(
            "zero padding (from every input to every output)",
            ['padding="zero"'],
            lambda _, convention: _cell([why_not(convention, i, o, where, "zero") for i in INPUTS for o in OUTPUTS]),
        ),
    ]


def text(where: str) -> str:
    """For a terminal: conventions across by number, as few as there are."""
    lines = []
    for table in tables(where):
        width = max(map(len, table.names))
        numbered = table.columns == list(ROWS)
        heads = [str(number) for number in range(1, len(ROWS) + 1)] if numbered else table.columns
        lines += ["", table.title, " " * width + "".join(f"{head:>6}" for head in heads)]
        for name, cells in zip(table.names, table.cells, strict=True):
            lines.append(f"{name:<{width}}" + "".join(f"{cell:>6}" for cell in cells))
    legend = [f"{number:>2} {name}" for number, name in enumerate(ROWS, 1)]
    return "\n".join([*lines, "", "rows:", *("".join(f"{n:<34}" for n in legend[i : i + 3]) for i in range(0, 10, 3))])


def markdown() -> str:
    """For docs/support.md: the CPU's tables, and whether CUDA's are the same."""
    lines = []
    for table, on_cuda in zip(tables("cpu"), tables("cuda"), strict=True):
        lines += [f"## {table.title[0].upper()}{table.title[1:]}", "", f"| | {' | '.join(table.columns)} |"]
        lines += ["|---|" + "---|" * len(table.columns)]
        lines += [f"| {n} | {' | '.join(cells)} |" for n, cells in zip(table.names, table.cells, strict=True)]
        same = on_cuda.cells == table.cells
        lines += ["", "On CUDA the same." if same else "On CUDA it differs: `python -m moe_act info` shows how.", ""]
    return "\n".join(lines)

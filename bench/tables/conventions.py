"""Every row convention and scale layout beside plain dense rows: from results/conventions/*.json."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .markdown import by_contender, ratio, source, table, times

SIDES = {"out_scale": "out", "x_scale": "x"}
MOVED = ["move", "ours / move", "limit", "of the limit"]


def rows(result: dict[str, Any], inputs: tuple[str, ...] = ("bf16", "e4m3")) -> str:
    """Each convention beside as many rows that are dense; its name is rows/convention/input/live rows."""
    lines = []
    for (kind, *name), workload in _named(result):
        if kind != "rows" or name[1] not in inputs:
            continue
        found = by_contender(workload)
        line = [name[0].replace("_", " "), name[1], f"{workload['valid_rows']:,}", f"{workload['rows']:,}"]
        line += [f"**{times(found['ours'])}**", times(found["alone"]), ratio(found["ours"], found["alone"])]
        lines.append([*line, *_moved(found)])
    titles = ["convention", "input", "live rows", "of", "ours", "dense rows alone", "ours / alone"]
    return f"{source(result['environment'])}:\n\n{table([*titles, *MOVED], lines, left=2)}"


def layouts(result: dict[str, Any]) -> str:
    """Each layout beside plain scales; its name is side/layout-columns/rows."""
    lines = []
    for (side, *name), workload in _named(result):
        if side not in SIDES:
            continue
        found = by_contender(workload)
        layout, _, columns = name[0].partition("-")
        line = [SIDES[side], layout.replace("_", " "), columns or "all", f"{workload['valid_rows']:,}"]
        line += [f"**{times(found['ours'])}**", times(found["alone"]), ratio(found["ours"], found["alone"])]
        one = found.get("one_layout")
        lines.append([*line, *_moved(found), times(one), ratio(found["ours"], one)])
    titles = ["scales of", "layout", "columns that share one", "rows", "ours", "plain scales", "ours / plain"]
    titles += [*MOVED, "one layout", "ours / one layout"]
    return f"{source(result['environment'])}:\n\n{table(titles, lines, left=2)}"


def _moved(found: dict[str, Any]) -> list[str]:
    """What only moves the bytes, in whichever way, under the titles of MOVED."""
    moved, ours, stream = found.get("move_rows"), found["ours"], found["stream"]
    return [times(moved), ratio(ours, moved), times(stream), ratio(stream, ours, ".0%")]


def _named(result: dict[str, Any]) -> Iterator[tuple[list[str], dict[str, Any]]]:
    for workload in result["workloads"]:
        yield workload["name"].split("/"), workload

"""What models beyond plain SwiGLU cost: from results/models/*.json."""

from __future__ import annotations

from typing import Any

from .markdown import source, table, three_digits


def costs(result: dict[str, Any]) -> str:
    """Microseconds, and in brackets their ratio to plain SwiGLU's of the same rows."""
    sizes = result["results"]
    names = list(dict.fromkeys(name for size in sizes for name in size["microseconds"]))
    rows = [[name, *(_cell(size["microseconds"], name) for size in sizes)] for name in names]
    heads = ["model", *(f"{size['input']}, {size['rows']:,} x {size['columns']:,}" for size in sizes)]
    return f"{source(result['environment'])}:\n\n{table(heads, rows, left=1)}"


def _cell(microseconds: dict[str, float], name: str) -> str:
    if name not in microseconds:
        return "-"
    time = three_digits(microseconds[name])
    return time if name == "swiglu" else f"{time} ({microseconds[name] / microseconds['swiglu']:.2f})"

"""What a call costs the host: from results/host/*.json."""

from __future__ import annotations

from typing import Any

from .markdown import source, table


def overhead(result: dict[str, Any]) -> str:
    def whole(value: float | None) -> str:
        return "-" if value is None else f"{value:,.0f}"

    names = ("nanoseconds", "beyond_bare_nanoseconds", "goal_nanoseconds")
    rows = [[each["call"], *(whole(each[name]) for name in names)] for each in result["results"]]
    titles = ["call", "ns", "beyond the bare launch, ns", "goal, ns"]
    return f"{source(result['environment'])}:\n\n{table(titles, rows, left=1)}"

"""Plain SwiGLU beside an earlier build's: from results/previous/*.json."""

from __future__ import annotations

import statistics
from typing import Any

from .markdown import source, table, three_digits


def slowest(result: dict[str, Any]) -> str:
    """The workloads that lost most, and what became of all."""
    ratios = sorted(result["results"], key=lambda each: each["before"] / each["now"])
    rows = []
    for each in ratios[:5]:
        times = three_digits(each["before"]), three_digits(each["now"])
        rows.append([each["workload"], *times, f"{each['now'] / each['before']:.3f}"])
    median = statistics.median(each["now"] / each["before"] for each in ratios)
    environment = result["environment"]
    heads = ["workload", f"commit {environment['before'][:12]}", "now", "now / before"]
    words = f"Median ratio of {len(ratios)} workloads: {median:.3f}; those that lost most:"
    return f"{source(environment)}. {words}\n\n{table(heads, rows, left=1)}"

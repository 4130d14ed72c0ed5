"""What the tables have in common: cells and their layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

KINDS = ("hot", "cold")


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], left: int = 0) -> str:
    """A Markdown table, its first `left` columns set to the left."""
    rule = ["---"] * left + ["---:"] * (len(titles) - left)
    return "".join(f"| {' | '.join(row)} |\n" for row in (titles, rule, *rows))


def source(environment: dict[str, Any]) -> str:
    """Where and when figures were measured, and what was."""
    device = environment.get("gpu") or environment.get("cpu") or "CPU"
    return f"{device}, {environment['date'][:10]}, commit `{environment['commit'][:12]}`"


def by_contender(workload: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {result["contender"]: result for result in workload["results"]}


def times(result: dict[str, Any] | None) -> str:
    """hot / cold, or the one there is: what exceeds L2 is never hot."""
    return _each(lambda kind: microseconds(result, kind), three_digits)


def ratio(over: dict[str, Any] | None, under: dict[str, Any] | None, form: str = ".2f") -> str:
    """Of the times, hot / cold."""
    return _each(lambda kind: quotient(microseconds(over, kind), microseconds(under, kind)), lambda x: f"{x:{form}}")


def microseconds(result: dict[str, Any] | None, kind: str) -> float | None:
    timing = result and result.get(kind)
    return timing["microseconds"] if timing else None


def quotient(over: float | None, under: float | None) -> float | None:
    return over / under if over is not None and under is not None else None


def three_digits(value: float) -> str:
    """9.87, 98.7, 987, 9,870"""
    return f"{value:,.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def _each(value: Callable[[str], float | None], text: Callable[[float], str]) -> str:
    found = [value(kind) for kind in KINDS]
    return " / ".join(text(each) for each in found if each is not None) or "-"

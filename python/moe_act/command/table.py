"""What the command prints: a heading, one line for each size as soon as it is measured, and notes."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field

import moe_act

from .devices import Rate, Runtime
from .measure import CHECKED_ROWS, Measurement

WIDTH = 100
# Title and width of each column. The widths are fixed: a line is printed before the next size is known.
COLUMNS = {
    "tokens": 8, "valid rows": 13, "tile": 7, "time, us": 12, "GB/s": 10, "of stream": 12,
    "checked": 10, "codes off": 12, "verdict": 10,
}  # fmt: skip


@dataclass
class Findings:
    """All that a run found out. title: what is run; note: why a GPU is left idle, if one is."""

    title: str
    runtime: Runtime
    rate: Rate
    note: str | None = None
    measurements: list[Measurement] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return all(not measurement.verdict.message for measurement in self.measurements)

    def begin(self) -> None:
        """Prints what is run, where, and the head of the table."""
        facts = self.runtime.facts
        versions = [facts["runtime"]]
        versions += [f"{text} {facts[text.lower()]}" for text in ("CUDA", "driver") if facts.get(text.lower())]
        _print(f"moe_act {moe_act.__version__} on {facts['name']} ({', '.join(versions)})")
        for line in self.title.splitlines():
            _print(line)
        _print(f"Memory stream: {_three_digits(self.rate.bytes_per_second / 1e9)} GB/s ({self.rate.how})")
        if self.note:
            _print(self.note)
        print("\n" + "".join(f"{title:>{width}}" for title, width in COLUMNS.items()))
        print("".join(f"{'-' * len(title):>{width}}" for title, width in COLUMNS.items()), flush=True)

    def add(self, measurement: Measurement) -> None:
        """Prints one line of the table, and a second one that says what is wrong, if something is."""
        self.measurements.append(measurement)
        workload, verdict = measurement.workload, measurement.verdict
        cells = (
            "-" if workload.tokens is None else f"{workload.tokens:,}",
            f"{workload.valid_rows:,}",
            "-" if workload.tile is None else str(workload.tile),
            _three_digits(measurement.cold * 1e6),
            _three_digits(measurement.bytes_per_second / 1e9),
            f"{measurement.bytes_per_second / self.rate.bytes_per_second:.1%}",
            "all" if verdict.rows == workload.valid_rows else f"{verdict.rows:,}",
            f"{verdict.differing / verdict.elements:.1e}" if verdict.differing else "0",
            "WRONG" if verdict.message else "ok",
        )
        line = "".join(f"{cell:>{width}}" for cell, width in zip(cells, COLUMNS.values(), strict=True))
        print(line, flush=True)
        if verdict.message:
            _print(f"  {verdict.message}", indent="    ")

    def end(self) -> None:
        """Prints what the columns mean, and the verdict on everything."""
        time, checked = self.runtime.method, "rows compared with the oracle"
        if any(m.copies > 1 for m in self.measurements):
            time += "; small sizes rotate through 4 times the last-level cache, to come from memory, too"
        if any(m.verdict.rows < m.workload.valid_rows for m in self.measurements):
            checked += f": all, or {CHECKED_ROWS:,} evenly spaced ones"
        if any(m.workload.valid_rows < m.workload.rows for m in self.measurements):
            checked += "; of every other row, that it was not written"
        notes = {
            "time": time,
            "GB/s": "bytes that valid rows must move, with their scales and the row map, over the time",
            "of stream": "GB/s over the memory stream above",
            "checked": checked,
            "codes off": "share of the checked codes that are not the oracle's nearest",
        }
        if self.left_out:
            labels = ", ".join(self.left_out)
            notes["left out"] = f"{labels}: would take over a minute in all; name them in --tokens"
        print()
        for name, text in notes.items():
            _print(f"{name + ':':<11}{text}", indent=" " * 11)
        wrong = sum(bool(measurement.verdict.message) for measurement in self.measurements)
        total = len(self.measurements)
        print(f"\n{wrong} of {total} results WRONG." if wrong else "\nAll results conform.")


def _three_digits(value: float) -> str:
    """9.87, 98.7, 987, 9,870"""
    return f"{value:,.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def _print(text: str, indent: str = "  ") -> None:
    wrapper = textwrap.TextWrapper(WIDTH, subsequent_indent=indent)
    wrapper.break_long_words = wrapper.break_on_hyphens = False  # paths and options stay whole
    print(wrapper.fill(text))

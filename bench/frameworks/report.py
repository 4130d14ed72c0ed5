"""What a run prints and writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from .measure import Measurement, Result, Timing

HEAD = ("hot, us", "cold, us", "Gelem/s", "GB/s", "of copy", "/ ours")
WIDTH = 11


def table(measurement: Measurement) -> str:
    """A line for each contender; rates and ratios are those of cold data."""
    workload = measurement.workload
    cold = {result.contender: result.cold for result in measurement.results}
    lines = [f"{workload.name:<24}" + "".join(f"{title:>{WIDTH}}" for title in HEAD)]
    for result in measurement.results:
        lines.append(f"  {result.contender:<22}" + _cells(measurement, result, cold.get("copy"), cold.get("ours")))
        lines += [f"    refused: {refusal}" for refusal in result.refusals]
    return "\n".join(lines) + "\n"


def _cells(measurement: Measurement, result: Result, copy: Timing | None, ours: Timing | None) -> str:
    workload, hot, cold = measurement.workload, result.hot, result.cold
    numbers: list[str] = [f"{timing.microseconds:,.2f}" if timing else "-" for timing in (hot, cold)]
    if cold:
        numbers.append(f"{workload.elements / cold.microseconds / 1e3:,.2f}" if result.contender != "copy" else "")
        numbers.append(f"{workload.bytes / cold.microseconds / 1e3:,.1f}")
        numbers.append(f"{copy.microseconds / cold.microseconds:.0%}" if copy else "-")
        numbers.append(f"{cold.microseconds / ours.microseconds:.2f}" if ours else "-")
    geometry = cold.geometry if cold else ""
    return "".join(f"{number:>{WIDTH}}" for number in numbers) + (f"   {geometry}" if geometry else "")


def report(
    environment: dict[str, Any], absent: Sequence[dict[str, str]], measured: Sequence[Measurement]
) -> dict[str, Any]:
    workloads = [
        {
            **asdict(each.workload),
            "bytes": each.workload.bytes,
            "sets": each.sets,
            "results": [*map(_result, each.results)],
        }
        for each in measured
    ]
    return {"environment": environment, "absent": list(absent), "workloads": workloads}


def _result(result: Result) -> dict[str, Any]:
    entry = asdict(result)
    entry["refusal"] = "; ".join(entry.pop("refusals")) or None
    for kind in ("hot", "cold"):
        if entry[kind]:
            entry[kind]["microseconds"] = round(entry[kind]["microseconds"], 4)
    return entry


def text(found: dict[str, Any]) -> str:
    """JSON with a line for each result."""
    workloads = []
    for workload in found["workloads"]:
        facts = {name: value for name, value in workload.items() if name != "results"}
        results = ",\n".join(f"   {json.dumps(result)}" for result in workload["results"])
        workloads.append(f'  {json.dumps(facts)[:-1]}, "results": [\n{results}\n  ]}}')
    return (
        f'{{"environment": {json.dumps(found["environment"])},\n "absent": {json.dumps(found["absent"])},\n'
        ' "workloads": [\n' + ",\n".join(workloads) + "\n ]}\n"
    )

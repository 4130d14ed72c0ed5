"""What the command writes to files: all figures as JSON, and a plot."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

import moe_act

from .measure import Measurement
from .table import Findings

MEASURED, HOT, LIMIT = "#1f5fa8", "#8fb4dc", "#c2402a"


def write_json(path: str, report: Findings, arguments: list[str]) -> None:
    """Times are seconds, rates bytes per second."""
    rate = report.rate
    figures = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "arguments": arguments,
        "library": {"version": moe_act.__version__, "build": moe_act.build_info(), "commit": _commit()},
        "device": {"kind": report.runtime.device, **report.runtime.facts},
        "stream": {"bytes_per_second": rate.bytes_per_second, "how": rate.how},
        "workload": report.title,
        "method": report.runtime.method,
        "ok": report.ok,
        "left_out": report.left_out,
        "results": [_record(measurement, rate.bytes_per_second) for measurement in report.measurements],
    }
    Path(path).write_text(json.dumps(figures, indent=2) + "\n")


def _record(measurement: Measurement, stream: float) -> dict[str, Any]:
    workload, verdict = measurement.workload, measurement.verdict
    return {
        "label": workload.label,
        "tokens": workload.tokens,
        "hidden": workload.hidden,
        "valid_rows": workload.valid_rows,
        "buffer_rows": workload.rows,
        "tile": workload.tile,
        "bytes": workload.bytes,
        "cold_seconds": measurement.cold,
        "hot_seconds": measurement.hot,
        "copies": measurement.copies,
        "bytes_per_second": measurement.bytes_per_second,
        "share_of_stream": measurement.bytes_per_second / stream,
        "checked_rows": verdict.rows,
        "checked_codes": verdict.elements,
        "differing_codes": verdict.differing,
        "ok": not verdict.message,
        "message": verdict.message,
        "plan": measurement.plan,
    }


def _commit() -> str | None:
    """The commit, if this is run inside a checkout of the project; "-dirty" marks changes."""
    git = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        top = subprocess.run(["git", "rev-parse", "--show-toplevel"], capture_output=True, text=True, timeout=10)
        if not (Path(top.stdout.strip()) / "python" / "moe_act" / "oracle").is_dir():
            return None
        return subprocess.run(git, capture_output=True, text=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def plot(path: str, report: Findings) -> None:
    """Time against rows, both logarithmic, and the time that moving the bytes alone would take."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    measurements = sorted(report.measurements, key=lambda measurement: measurement.workload.valid_rows)
    rows = np.array([measurement.workload.valid_rows for measurement in measurements])
    cold = 1e6 * np.array([measurement.cold for measurement in measurements])
    hot = 1e6 * np.array([measurement.hot for measurement in measurements])
    limit = 1e6 * np.array([m.workload.bytes for m in measurements]) / report.rate.bytes_per_second

    # Drawn a little beyond the sizes, the limit is a line even for a single one.
    reach = np.array([rows[0] / 2, *rows, rows[-1] * 2])
    limit_line = np.interp(reach, rows, limit)
    limit_line[0], limit_line[-1] = limit[0] / 2, limit[-1] * 2

    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log")
    title = f"moe_act on {report.runtime.facts['name']}\n{report.title.splitlines()[-1]}"
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel("valid rows")
    axes.set_ylabel("microseconds per call")
    axes.plot(rows, cold, "o-", color=MEASURED, linewidth=2, label="cold: from memory (share of the limit)")
    axes.plot(rows, hot, "o-", color=HOT, linewidth=1.2, markersize=4, zorder=1, label="hot: cached where it fits")
    stream = f"{report.rate.bytes_per_second / 1e9:,.0f} GB/s"
    axes.plot(reach, limit_line, "--", color=LIMIT, linewidth=1.5, label=f"limit: bytes at {stream}")
    for x, y, least in zip(rows, cold, limit, strict=True):
        axes.annotate(f"{least / y:.0%}", (x, y), (-4, 8), textcoords="offset points", ha="right", color=MEASURED)
    axes.set_xlim(reach[0], reach[-1])
    extremes = np.log10([min(*limit, *hot) / 1.5, max(cold) * 1.5])
    axes.set_ylim(10 ** np.floor(extremes[0]), 10 ** np.ceil(extremes[1]))
    axes.set_xticks(rows, [f"{count:,}" for count in rows])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.9g}"))
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside lower center", ncols=3)
    figure.savefig(path)

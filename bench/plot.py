"""Draws docs/time_against_rows.svg from the committed contenders: time against live rows, with the roofline."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

from tables.markdown import by_contender, microseconds

ROOT = Path(__file__).resolve().parents[1]
CONTENDERS = ROOT / "bench" / "results" / "contenders"
PLOT = ROOT / "docs" / "time_against_rows.svg"
LOWEST = 0.5  # microseconds
# Colours that remain apart for every kind of colour vision (Okabe and Ito).
STYLES = {
    "before": {"color": "#E69F00", "marker": "s"},
    "reference": {"color": "#D55E00", "marker": "^"},
    "ours": {"color": "#0072B2", "marker": "o"},
}


def figures(results: Path) -> list[dict[str, Any]]:
    """For each GPU: microseconds of each contender over live rows, of an empty kernel, and to stream a row."""
    panels = []
    for path in sorted(results.glob("*.json")):
        result = json.loads(path.read_text())
        routed = [workload for workload in result["workloads"] if workload["name"].startswith("routed/")]
        found = [by_contender(workload) for workload in routed]
        largest = max(range(len(routed)), key=lambda i: routed[i]["bytes"])
        bytes_per_microsecond = routed[largest]["bytes"] / found[largest]["stream"]["cold"]["microseconds"]
        launch = next(contenders["empty"]["cold"]["microseconds"] for contenders in found if "empty" in contenders)
        row = routed[largest]["bytes"] / routed[largest]["valid_rows"] / bytes_per_microsecond
        panels.append(
            {
                "gpu": result["environment"]["gpu"],
                "rows": [workload["valid_rows"] for workload in routed],
                **{name: [microseconds(contenders.get(name), "cold") for contenders in found] for name in STYLES},
                "launch_microseconds": launch,
                "row_microseconds": row,
            }
        )
    return panels


def digest(panels: list[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(panels, sort_keys=True).encode()).hexdigest()


def is_current() -> bool:
    """Whether the committed plot shows the committed figures."""
    drawn = re.search(r"figures sha256 ([0-9a-f]{64})", PLOT.read_text()) if PLOT.is_file() else None
    return drawn is not None and drawn[1] == digest(figures(CONTENDERS))


def draw(panels: list[dict[str, Any]]) -> Any:
    import matplotlib

    matplotlib.use("svg")
    # Identifiers from a fixed salt, and letters as outlines: the same picture wherever it is drawn or shown.
    matplotlib.rcParams.update({"svg.hashsalt": "moe_act", "svg.fonttype": "path", "font.size": 11})
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, NullLocator

    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(5.6 * len(panels), 4.9), sharey=True, squeeze=False, layout="constrained"
    )
    for axis, panel in zip(axes[0], panels, strict=True):
        launch, row = panel["launch_microseconds"], panel["row_microseconds"]
        roofline = [panel["rows"][0], launch / row, panel["rows"][-1]], [launch, launch, row * panel["rows"][-1]]
        axis.plot(*roofline, color="black", linestyle="--", linewidth=1.3)
        axis.fill_between(*roofline, LOWEST, color="black", alpha=0.06, linewidth=0)
        axis.text(panel["rows"][-1], 1.6, "roofline:\nan empty kernel,\nthe stream rate", ha="right", va="center")
        for name, style in STYLES.items():
            axis.plot(panel["rows"], panel[name], markersize=4.5, linewidth=1.8, **style)
            axis.annotate(
                name,
                (panel["rows"][-1], panel[name][-1]),
                xytext=(7, 5 if name == "before" else -6 if name == "reference" else 0),
                textcoords="offset points",
                color=style["color"],
                weight="bold",
                va="center",
            )
        axis.set(xscale="log", yscale="log", title=panel["gpu"], xlabel="live rows", ylim=(LOWEST, 3000))
        axis.set_xlim(panel["rows"][0] / 1.5, panel["rows"][-1] * 12)
        axis.set_xticks([10**exponent for exponent in range(1, 6)])
        axis.xaxis.set_minor_locator(NullLocator())
        for way in (axis.xaxis, axis.yaxis):
            way.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axis.grid(which="major", color="#dddddd", linewidth=0.7)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("microseconds, tensors from memory")
    figure.suptitle("Time of the block-FP8 activation against live rows", weight="bold")
    return figure


def main() -> int:
    panels = figures(CONTENDERS)
    description = f"figures sha256 {digest(panels)}"
    PLOT.parent.mkdir(exist_ok=True)
    draw(panels).savefig(PLOT, metadata={"Date": None, "Description": description})
    return 0


if __name__ == "__main__":
    sys.exit(main())

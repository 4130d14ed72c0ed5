"""The library against frameworks: from results/frameworks/*.json (GPU) and results/cpu/*.json."""

from __future__ import annotations

from typing import Any

from .markdown import by_contender, microseconds, quotient, ratio, source, table, three_digits, times
from .published import TORCH_COMPILE, published

FRAMEWORKS = {"torch_eager": "torch eager", "torch_compiled": "torch.compile", "triton_fused": "Triton"}
CPU_FRAMEWORKS = {"numpy_eager": "NumPy", "torch_eager": "torch eager", "torch_compiled": "torch.compile"}


def on_gpu(result: dict[str, Any]) -> str:
    """Dense rows of 16-bit input."""
    rows = []
    for workload in result["workloads"]:
        found = by_contender(workload)
        ours = found["ours"]
        rows.append([f"{workload['input']} to {workload['output']}", f"{workload['rows']:,}"])
        rows[-1] += [times(found.get(name)) for name in FRAMEWORKS]
        rows[-1] += [f"**{times(ours)}**", times(found.get("copy"))]
        rows[-1] += [ratio(found.get(name), ours) for name in ("torch_compiled", "triton_fused")]
        rows[-1].append(ratio(found.get("copy"), ours, ".0%"))
    titles = ["formats", "rows", *FRAMEWORKS.values(), "ours", "limit"]
    titles += ["torch.compile / ours", "Triton / ours", "of the limit"]
    facts = result["environment"]
    versions = f"torch {facts['torch']}, Triton {facts['triton']}"
    return f"{source(facts)}, {versions}:\n\n{table(titles, rows, left=1)}{_absent(result)}"


def against_published(result: dict[str, Any]) -> str:
    """torch.compile from bf16 to block-scaled e4m3, and what others measured of it."""
    figures = published(TORCH_COMPILE, result["environment"]["gpu"])
    compiled = {workload["name"]: by_contender(workload).get("torch_compiled") for workload in result["workloads"]}
    rows = []
    for size, figure in figures.items():
        found = compiled.get(f"bf16/{size}")
        kind = "hot" if microseconds(found, "hot") else "cold"
        measured = microseconds(found, kind)
        if found and measured:
            row = [f"{size:,}", kind, f"{figure:,g}", three_digits(measured), f"{measured / figure - 1:+.0%}"]
            rows.append([*row, found[kind]["geometry"]])
    titles = ["rows", "cache", "published", "measured", "difference", "fastest way here"]
    return f"{source(result['environment'])}:\n\n{table(titles, rows)}"


def on_cpu(result: dict[str, Any]) -> str:
    """Gelem/s of the result, cold."""
    titles = ["input", "rows", "threads", *CPU_FRAMEWORKS.values(), "ours", "torch.compile / ours", "of copy bandwidth"]
    facts = result["environment"]
    about = f"{source(facts)}, {facts['cores']} cores, {facts['instruction_set']}, torch {facts['torch'] or 'absent'}"
    if facts.get("keeps_memory"):
        about += ", kept memory"
    rows = [*map(_cpu_row, result["workloads"])]
    return f"{about}:\n\n{table(titles, rows, left=1)}{_absent(result)}"


def _cpu_row(workload: dict[str, Any]) -> list[str]:
    cold = {name: microseconds(result, "cold") for name, result in by_contender(workload).items()}
    elements = workload["rows"] * workload["columns"]

    def rate(name: str) -> str:
        time = cold.get(name)
        return "-" if time is None else three_digits(elements / time / 1e3)

    row = [workload["input"], f"{workload['rows']:,}", str(workload["threads"])]
    row += [*map(rate, CPU_FRAMEWORKS), f"**{rate('ours')}**"]
    for name, form in (("torch_compiled", ".2f"), ("copy", ".0%")):
        value = quotient(cold.get(name), cold["ours"])
        row.append("-" if value is None else f"{value:{form}}")
    return row


def _absent(result: dict[str, Any]) -> str:
    missing = "; ".join(f"{each['contender']}: {each['reason']}" for each in result["absent"])
    return f"\nAbsent: {missing}.\n" if missing else ""

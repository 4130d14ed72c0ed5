"""How the library gets on with frameworks: from results/interop/*.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .markdown import source, table, three_digits


def beside(results: Mapping[str, dict[str, Any]]) -> str:
    """A row for each check, a column for each machine."""
    found = {machine: {each["check"]: each for each in result["results"]} for machine, result in results.items()}
    most_first = sorted(found.values(), key=len, reverse=True)
    names = dict.fromkeys(name for checks in most_first for name in checks)
    rows = [[name, *(_cell(checks.get(name)) for checks in found.values())] for name in names]
    sources = "".join(f"- {machine}: {_facts(result['environment'])}\n" for machine, result in results.items())
    return f"{sources}\n{table(['check', *found], rows, left=1)}"


def _facts(environment: dict[str, Any]) -> str:
    gpus = f"{environment['gpus']} x " if environment.get("gpus", 1) > 1 else ""
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    return f"{gpus}{source(environment)}; {packages}"


def _cell(result: dict[str, Any] | None) -> str:
    if result is None:
        return "-"
    if result["outcome"] != "ok":
        return str(result["outcome"])
    if "nanoseconds" in result:
        return f"{three_digits(result['nanoseconds'] * 1e-3)} us"
    if "milliseconds" in result:
        return f"{result['milliseconds']:.1f} ms"
    if "relative_error" in result:
        plain = result.get("relative_error_bf16")
        return f"error {result['relative_error']:.4f}" + (f", all bf16 {plain:.4f}" if plain is not None else "")
    if "passed" in result:
        return f"{len(result['passed'])} passed"
    if result.get("kernel_nodes") is not None:
        return f"{result['kernel_nodes']} kernels, {result['programmatic_edges']} programmatic edges"
    return "ok"

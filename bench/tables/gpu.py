"""Block-FP8 activation on a GPU: from the GPU run (results/*.json) and from results/contenders/*.json."""

from __future__ import annotations

from typing import Any

from .markdown import by_contender, ratio, source, table, times
from .published import REFERENCE_SYSTEM, published

README_TOKENS = (1, 32, 256, 1024, 4096, 16384)


def evidence(result: dict[str, Any]) -> str:
    """What was proven on a GPU, in a line."""
    facts, tests = result["environment"], result["tests"]
    gpus = f"{facts['gpus']} x " if facts.get("gpus", 1) > 1 else ""
    tools = ", ".join(result["sanitizers"])
    findings = sum(report["findings"] for report in result["sanitizers"].values())
    sanitizers = f"{tools}: {findings} findings; " if tools else ""
    build = result.get("build", {})
    compilers = ", ".join(build.get("compilers", ())).replace("GCC: ", "GCC ")
    wheel = f" of `{build['wheel']}` ({compilers})" if "wheel" in build else ""
    system = f", {facts['system']}" if "system" in facts else ""
    return (
        f"- {gpus}{facts['gpu']}, driver {facts['driver']}, CUDA {facts['cuda']}, {facts['date'][:10]}, commit "
        f"`{facts['commit'][:12]}`{system}: {tests['tests'] - tests['skipped']} GPU tests{wheel} run, "
        f"{tests['failures'] + tests['errors']} failed; {sanitizers}"
        f"{result['seconds'] / 60:.1f} minutes in all.\n"
    )


def sizes(result: dict[str, Any], tokens: tuple[int, ...] | None = README_TOKENS) -> str:
    """Through the map: times of the contenders and what they are to ours; None: all that were measured."""
    rows = []
    for workload in result["workloads"]:
        kind, size = _name(workload)
        if kind != "routed" or (tokens and size not in tokens):
            continue
        found = by_contender(workload)
        ours = found["ours"]
        names = ("before", "reference", "ours", "ours_pdl", "move", "stream")
        rows.append([f"{size:,}", *(times(found.get(name)) for name in names)])
        rows[-1][3] = f"**{rows[-1][3]}**"
        rows[-1] += [ratio(found.get("before"), ours), ratio(found.get("reference"), ours)]
        rows[-1].append(ratio(found.get("stream"), ours, ".0%"))
    titles = ["tokens", "before", "reference", "ours", "ours, PDL", "move", "limit"]
    titles += ["before / ours", "reference / ours", "of the limit"]
    return f"{source(result['environment'])}:\n\n{table(titles, rows)}"


def expert_parallel(result: dict[str, Any]) -> str:
    """A share of the experts beside all experts with as many live rows."""
    workloads = {workload["name"]: workload for workload in result["workloads"]}
    rows = []
    for workload in result["workloads"]:
        kind, tokens = _name(workload)
        if not kind.startswith("parallel-"):
            continue
        ranks = int(kind.partition("-")[2])
        found = by_contender(workload)
        alone = workloads.get(f"routed/{tokens // ranks}")
        if alone is None:
            continue
        alone_ours = by_contender(alone)["ours"]
        rows.append([f"1 in {ranks}", f"{tokens:,}", f"{workload['valid_rows']:,}"])
        rows[-1] += [times(found.get("reference")), f"**{times(found['ours'])}**", times(alone_ours)]
        rows[-1].append(ratio(found["ours"], alone_ours))
    titles = ["experts here", "tokens", "live rows", "reference", "ours", "live rows alone", "ours / live rows alone"]
    return f"{source(result['environment'])}:\n\n{table(titles, rows)}"


def columns(result: dict[str, Any]) -> str:
    """Dense e4m3 rows of other widths."""
    return _beside_limits(result, "columns", "H")


def consecutive(result: dict[str, Any]) -> str:
    """Dense e4m3 rows, many of them."""
    return _beside_limits(result, "consecutive", "rows")


def top_k(result: dict[str, Any]) -> str:
    """As many expanded rows as 1,024 tokens have, from other numbers of experts per token."""
    return _beside_limits(result, "top_k", "top_k")


def _beside_limits(result: dict[str, Any], kind: str, title: str) -> str:
    rows = []
    for workload in result["workloads"]:
        if _name(workload)[0] == kind:
            found = by_contender(workload)
            rows.append([f"{_name(workload)[1]:,}", *(times(found.get(name)) for name in ("ours", "move", "stream"))])
            rows[-1] += [ratio(found.get(name), found["ours"], ".0%") for name in ("move", "stream")]
    titles = [title, "ours", "move", "limit", "of move", "of the limit"]
    return f"{source(result['environment'])}:\n\n{table(titles, rows)}"


def against_published(result: dict[str, Any]) -> str:
    """How far the two contenders of the reference system are from the figures that others measured of it."""
    workloads = {workload["name"]: by_contender(workload) for workload in result["workloads"]}
    rows = []
    for (contender, tokens, cache), microseconds in published(REFERENCE_SYSTEM, result["environment"]["gpu"]).items():
        measured = workloads[f"routed/{tokens}"][contender][cache]["microseconds"]
        low, high = microseconds if isinstance(microseconds, tuple) else (microseconds, microseconds)
        row = [contender, f"{tokens:,}", cache, f"{low:,g}" if low == high else f"{low:,g} - {high:,g}"]
        rows.append([*row, f"{measured:,.4g}", f"{measured / min(max(measured, low), high) - 1:+.0%}"])
    titles = ["contender", "tokens", "cache", "published", "measured", "difference"]
    return f"{source(result['environment'])}:\n\n{table(titles, rows, left=1)}"


def search(result: dict[str, Any], ours: str = "ours", searched: str = "search") -> str:
    """The plan that the planner makes beside the fastest of all plans that it could make."""
    rows = []
    for workload in result["workloads"]:
        found = by_contender(workload)
        if searched not in found:
            continue
        best = min(found[searched]["geometries"], key=lambda timing: timing["cold"])
        rows.append([workload["name"], times(found[ours]), times(found[searched])])
        rows[-1] += [ratio(found[ours], found[searched]), found[ours]["cold"]["geometry"], best["geometry"]]
    if not rows:
        return ""
    titles = ["workload", "ours", "fastest", "ours / fastest", "our plan", "fastest plan, cold"]
    return f"{source(result['environment'])}:\n\n{table(titles, rows, left=1)}"


def search_pdl(result: dict[str, Any]) -> str:
    """The same in chains of programmatic dependent launches; small workloads."""
    return search(result, "ours_pdl", "search_pdl")


def counters(result: dict[str, Any]) -> str:
    """What the hardware's counters say of one launch."""
    rows = []
    for each in result["results"]:
        moved = (each["dram_bytes_read"] + each["dram_bytes_written"]) * 1e-6
        busiest = each["busiest_multiprocessor_instructions"] / each["average_multiprocessor_instructions"]
        row = [each["workload"], f"{each['nanoseconds'] * 1e-3:,.1f}", f"{moved:,.1f}", f"{each['dram_percent']:.0f}%"]
        row += [f"{each['instructions'] * 1e-6:,.2f}", f"{each['issue_percent']:.0f}%"]
        row += [f"{each['special_function_percent']:.0f}%", f"{each['occupancy_percent']:.0f}%", f"{busiest:.2f}"]
        row += [f"{each['stalled_' + name]:.1f}" for name in ("long_scoreboard", "imc_miss", "no_instruction")]
        rows.append(row)
    titles = ["workload", "us", "MB from and to memory", "of the memory's rate", "million instructions", "issue slots"]
    titles += ["special functions", "occupancy", "busiest multiprocessor / average"]
    titles += ["waits: loads", "parameters", "instructions"]
    return f"{source(result['environment'])}:\n\n{table(titles, rows, left=1)}"


def _name(workload: dict[str, Any]) -> tuple[str, int]:
    kind, _, size = workload["name"].partition("/")
    return kind, int(size)

"""Tables and the plot of the README, from results made up for the purpose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import plot
import pytest
import readme
from tables import conventions, experts, frameworks, gpu, host, interop
from tables.markdown import three_digits

ENVIRONMENT = {"gpu": "GPU", "date": "2026-11-22T00:00:00+00:00", "commit": "0123456789abcdef"}


def timing(hot: float | None, cold: float) -> dict[str, Any]:
    return {"hot": hot and {"microseconds": hot, "geometry": ""}, "cold": {"microseconds": cold, "geometry": ""}}


def workload(name: str, times: dict[str, dict[str, Any]], **facts: Any) -> dict[str, Any]:
    return {"name": name, **facts, "results": [{"contender": contender, **time} for contender, time in times.items()]}


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|\n").split("|")] for line in text.splitlines() if line[:1] == "|"]


def test_three_digits() -> None:
    assert [*map(three_digits, (1.234, 9.996, 99.94, 99.96, 1234.5))] == ["1.23", "10.0", "99.9", "100", "1,234"]


def test_sizes_show_ratios_of_both_kinds() -> None:
    times = {"before": timing(4, 6), "reference": timing(3, 4), "ours": timing(2, 4), "stream": timing(1, 3)}
    result = {"environment": ENVIRONMENT, "workloads": [workload("routed/32", times), workload("routed/8", times)]}
    (line,) = rows(gpu.sizes(result))[2:]
    shown = ["32", "4.00 / 6.00", "3.00 / 4.00", "**2.00 / 4.00**", "-", "-", "1.00 / 3.00"]
    assert line == [*shown, "2.00 / 1.50", "1.50 / 1.00", "50% / 75%"]
    assert len(rows(gpu.sizes(result, None))) == 4


def test_expert_parallel_finds_as_many_live_rows() -> None:
    alone = workload("routed/128", {"ours": timing(4, 5)})
    shared = workload("parallel-8/1024", {"reference": timing(30, 30), "ours": timing(6, 10)}, valid_rows=1006)
    other = workload("parallel-32/1024", {"ours": timing(None, 3)}, valid_rows=242)
    found = rows(gpu.expert_parallel({"environment": ENVIRONMENT, "workloads": [alone, shared, other]}))[2:]
    assert found[0] == ["1 in 8", "1,024", "1,006", "30.0 / 30.0", "**6.00 / 10.0**", "4.00 / 5.00", "1.50 / 2.00"]
    assert len(found) == 1  # the other has nothing to stand beside


def test_conventions_stand_beside_dense_rows() -> None:
    times = {"ours": timing(3, 6), "alone": timing(2, 4), "move_rows": timing(1.5, 3), "stream": timing(1, 3)}
    facts = {"valid_rows": 256, "rows": 2048}
    workloads = [workload(f"rows/tile_limits/{input}/256", times, **facts) for input in ("bf16", "e4m3")] + [
        workload("x_scale/row_major-128/256", times, **facts)
    ]
    result = {"environment": ENVIRONMENT, "workloads": workloads}
    shown = ["tile limits", "bf16", "256", "2,048", "**3.00 / 6.00**", "2.00 / 4.00", "1.50 / 1.50", "1.50 / 3.00"]
    found = rows(conventions.rows(result))[2:]
    assert found[0] == [*shown, "2.00 / 2.00", "1.00 / 3.00", "33% / 50%"] and found[1][1] == "e4m3" and len(found) == 2
    assert rows(conventions.rows(result, ("bf16",)))[2:] == found[:1]


def test_layouts_stand_beside_plain_scales() -> None:
    times = {"ours": timing(None, 330), "alone": timing(None, 300), "stream": timing(None, 297)}
    moved = {**times, "move_rows": timing(None, 275), "one_layout": timing(None, 300)}
    names = {"rows/masked/bf16/1024": times, "x_scale/packed_ue8m0-32/131072": moved, "out_scale/per_row/131072": times}
    workloads = [workload(name, results, valid_rows=131072, rows=131072) for name, results in names.items()]
    found = rows(conventions.layouts({"environment": ENVIRONMENT, "workloads": workloads}))[2:]
    figures = ["131,072", "**330**", "300", "1.10"]
    assert found == [
        ["x", "packed ue8m0", "32", *figures, "275", "1.20", "297", "90%", "300", "1.10"],
        ["out", "per row", "all", *figures, "-", "-", "297", "90%", "-", "-"],
    ]


def test_frameworks_on_a_gpu() -> None:
    times = {"torch_compiled": timing(None, 30), "ours": timing(None, 20), "copy": timing(None, 18)}
    workloads = [workload("bf16/8192", times, input="bf16", output="e4m3", rows=8192)]
    environment = {**ENVIRONMENT, "torch": "2.11", "triton": None}
    absent = [{"contender": "triton_fused", "reason": "triton not installed"}]
    text = frameworks.on_gpu({"environment": environment, "absent": absent, "workloads": workloads})
    shown = ["bf16 to e4m3", "8,192", "-", "30.0", "-", "**20.0**", "18.0", "1.50", "-", "90%"]
    assert rows(text)[2:] == [shown]
    assert "Absent: triton_fused: triton not installed." in text


def test_frameworks_on_a_cpu() -> None:
    times = {"torch_compiled": timing(None, 2048), "ours": timing(None, 1024), "copy": timing(None, 512)}
    workloads = [workload("bf16/512/threads-2", times, input="bf16", rows=512, columns=2048, threads=2)]
    facts = {"cpu": "CPU", "cores": 2, "instruction_set": "avx", "torch": None}
    environment = {**ENVIRONMENT, **facts}
    text = frameworks.on_cpu({"environment": environment, "absent": [], "workloads": workloads})
    assert rows(text)[2:] == [["bf16", "512", "2", "-", "-", "0.51", "**1.02**", "2.00", "50%"]]


def test_host_overhead() -> None:
    call = {"call": "plan.run", "nanoseconds": 3456.7, "beyond_bare_nanoseconds": None, "goal_nanoseconds": 1500}
    text = host.overhead({"environment": ENVIRONMENT, "results": [call]})
    assert rows(text)[2:] == [["plan.run", "3,457", "-", "1,500"]]


def test_sections_need_files(tmp_path: Path) -> None:
    assert [*readme.readme_sections(tmp_path)] == [*readme.performance_sections(tmp_path)] == []


def test_a_plot_of_other_figures_is_not_current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert plot.is_current()
    panels = plot.figures(plot.CONTENDERS)
    drawn = plot.digest(panels)
    panels[0]["ours"][0] += 0.0001
    assert plot.digest(panels) != drawn
    copied = tmp_path / "plot.svg"
    copied.write_text(plot.PLOT.read_text().replace(drawn, plot.digest(panels)))
    monkeypatch.setattr(plot, "PLOT", copied)
    assert not plot.is_current()
    copied.unlink()
    assert not plot.is_current()


def test_torch_compile_stands_beside_what_was_published_of_it() -> None:
    workloads = [workload(f"bf16/{size}", {"torch_compiled": timing(None, 36)}) for size in (8192, 8193)]
    result = {"environment": ENVIRONMENT | {"gpu": "NVIDIA H100 80GB HBM3"}, "workloads": workloads}
    assert rows(frameworks.against_published(result))[2:] == [["8,192", "cold", "30", "36.0", "+20%", ""]]


def test_the_reference_system_stands_beside_what_was_published_of_it() -> None:
    times = {"reference": timing(2.1, 2.5), "before": timing(2.0, 2.5)}
    sizes = [workload(f"routed/{tokens}", times) for tokens in (1, 32, 256, 1024, 4096, 16384)]
    result = {"environment": ENVIRONMENT | {"gpu": "NVIDIA H100 80GB HBM3"}, "workloads": sizes}
    found = {tuple(row[:3]): row[3:] for row in rows(gpu.against_published(result))[2:]}
    assert found["before", "1", "hot"] == ["2.09", "2", "-4%"]
    assert found["reference", "1", "hot"] == ["1.8 - 2", "2.1", "+5%"]


def test_the_search_shows_how_far_from_the_fastest_plan_ours_is() -> None:
    times = {"ours": timing(4, 6), "search": timing(4, 5)}
    searched = workload("routed/1", times)
    searched["results"][1]["geometries"] = [
        {"geometry": "a", "hot": 4.0, "cold": 7.0},
        {"geometry": "b", "hot": 5.0, "cold": 5.0},
    ]
    shown = rows(gpu.search({"environment": ENVIRONMENT, "workloads": [searched]}))[2]
    assert shown[:4] == ["routed/1", "4.00 / 6.00", "4.00 / 5.00", "1.00 / 1.20"] and shown[-1] == "b"
    assert gpu.search_pdl({"environment": ENVIRONMENT, "workloads": [searched]}) == ""
    for result, name in zip(searched["results"], ("ours_pdl", "search_pdl"), strict=True):
        result["contender"] = name
    assert rows(gpu.search_pdl({"environment": ENVIRONMENT, "workloads": [searched]}))[2] == shown


def test_errors_of_experts_show_what_was_measured() -> None:
    environment = ENVIRONMENT | {"torch": "2", "transformers": "5"}
    results = [{"experts": "one", "errors": {"theirs": 0.00123, "ours": 0.034567}}]
    text = experts.errors({"environment": environment, "results": results})
    assert "torch 2, transformers 5:" in text
    assert rows(text)[0] == ["experts", "theirs", "ours"] and rows(text)[2] == ["one", "0.0012", "0.0346"]


def test_machines_stand_beside_each_other() -> None:
    """In the order of the one that checked most; what another one did not check is left open."""
    few = [{"check": "call", "outcome": "ok", "nanoseconds": 1234.5}, {"check": "import", "outcome": "ok"}]
    more = [
        {"check": "call", "outcome": "absent", "reason": "No module named 'jax'"},
        {"check": "graph", "outcome": "ok", "nodes": 3, "kernel_nodes": 3, "programmatic_edges": 2},
        {"check": "hidden graph", "outcome": "ok", "kernel_nodes": None, "programmatic_edges": None},
        {"check": "second GPU", "outcome": "one GPU"},
        {"check": "opcheck", "outcome": "ok", "passed": ["test_schema", "test_faketensor"]},
        {"check": "experts", "outcome": "ok", "relative_error": 0.0351, "relative_error_bf16": 0.0029},
        {"check": "import", "outcome": "ok", "milliseconds": 10.96},
    ]
    environment = {**ENVIRONMENT, "gpus": 2, "packages": {"numpy": "2.4"}}
    text = interop.beside(
        {"cpu": {"environment": environment, "results": few}, "gpu": {"environment": environment, "results": more}}
    )
    assert rows(text)[2:] == [
        ["call", "1.23 us", "absent"],
        ["graph", "-", "3 kernels, 2 programmatic edges"],
        ["hidden graph", "-", "ok"],
        ["second GPU", "-", "one GPU"],
        ["opcheck", "-", "2 passed"],
        ["experts", "-", "error 0.0351, all bf16 0.0029"],
        ["import", "ok", "11.0 ms"],
    ]
    assert "- gpu: 2 x GPU, 2026-11-22, commit `0123456789ab`; numpy 2.4\n" in text

"""The planner chooses what the committed searches over all plans measured as fastest, or what is not far from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import moe_act
import pytest

torch = pytest.importorskip("torch")

SEARCHES = Path(__file__).parents[2] / "bench" / "results" / "search"
GIGABYTES_PER_SECOND = {"h100": 3352, "h200": 4915}  # what clock and bus width allow
DTYPES = {"e4m3": torch.float8_e4m3fn, "bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
MOST = 1.10  # times the fastest of all plans
# Kernels younger than a search, or not what they were then: nothing is known of these plans.
YOUNGER = {"h100": ("sparse 8 x 1",), "h200": ("rows 8 x 1", "sparse", "rows 16 x 2")}


def measured(gpu: str) -> tuple[moe_act.DeviceInfo, list[dict[str, Any]]]:
    found = json.loads((SEARCHES / f"{gpu}.json").read_text())
    facts = found["environment"]
    major, minor = map(int, facts["compute_capability"].split("."))
    device = moe_act.DeviceInfo(
        multiprocessors=facts["multiprocessors"],
        compute_capability=(major, minor),
        memory_gigabytes_per_second=GIGABYTES_PER_SECOND[gpu],
        l2_bytes=facts["l2_bytes"],
    )
    return device, found["workloads"]


def chosen(workload: dict[str, Any], device: moe_act.DeviceInfo, pdl: str) -> str:
    """In the words of bench/gpu, whose workloads these are."""
    rows, columns = workload["rows"], workload["columns"]
    call: dict[str, Any] = {"x": torch.empty(rows, 2 * columns, dtype=DTYPES[workload["input"]])}
    kind, _, number = workload["name"].partition("/")[0].partition("-")
    if kind in ("routed", "parallel", "top_k", "mapped"):
        tokens, top_k = workload["tokens"], workload["top_k"]
        call["x_scale"] = torch.empty(2 * columns // 128 * rows)
        call["expanded_idx_to_permuted_idx"] = torch.empty(tokens, top_k, dtype=torch.int32)
        call["total_num_padded_tokens"] = torch.empty(1, dtype=torch.int32)
        call["expected_rows"] = tokens * top_k // (int(number) if kind == "parallel" else 1)
    elif workload["input"] == "e4m3":
        call["x_scale"] = torch.empty(2 * columns // 128, rows)
    plan = moe_act.plan(**call, device=device, pdl=pdl)
    marked = "marked " if plan.workspace_bytes else ""
    lanes = f"{plan.columns_per_lane} x {plan.vectors_per_lane}"
    return f"{marked}{plan.schedule} {lanes}, {plan.threads_per_cta // 32} warps, {plan.units_per_cta} units per CTA"


@pytest.mark.parametrize(
    ("gpu", "contender", "pdl", "least"),
    [
        ("h100", "search", "off", 80),
        ("h200", "search", "off", 20),
        ("h100", "search_pdl", "metadata_ready", 20),
    ],
)
def test_no_choice_is_far_from_the_fastest(gpu: str, contender: str, pdl: str, least: int) -> None:
    device, workloads = measured(gpu)
    far, compared = [], 0
    for workload in workloads:
        timings = [t for r in workload["results"] if r["contender"] == contender for t in r["geometries"] or ()]
        for cache in ("hot", "cold"):
            times: dict[str, float] = {}
            for timing in timings:  # one plan may be timed more than once
                if timing[cache] is not None:
                    times[timing["geometry"]] = min(timing[cache], times.get(timing["geometry"], timing[cache]))
            if not times:
                continue
            choice = chosen(workload, device, pdl)
            if choice.startswith(YOUNGER.get(gpu, ())):
                continue
            compared += 1
            ratio = times[choice] / min(times.values())
            if ratio > MOST:
                far.append(f"{workload['name']}, {cache}: {choice} takes {ratio:.3f} of the fastest")
    assert compared >= least
    assert not far, "\n".join(far)

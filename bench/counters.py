"""What the hardware's counters say of one launch of the library for each of some workloads:

    python bench/counters.py --program build/gpu/moe_act_bench --json FILE

Needs Nsight Compute (`ncu`) and the right to read counters. Clocks stay as they are. Ratios of cycles say what warps
wait for, for each instruction issued; a launch begins with cold caches, as under ncu every pass does.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import subprocess
from pathlib import Path
from typing import Any

from environment import ROOT
from gpu import environment

WORKLOADS = (
    "routed/1", "routed/32", "routed/512", "routed/4096", "routed/16384", "parallel-8/1024", "parallel-32/4096",
    "bf16/131072", "columns/1408", "columns/14336",
    "rows/row_to_expert/bf16/256", "rows/row_to_expert/e4m3/131072", "rows/masked/bf16/1024", "rows/masked/e4m3/131072",
    "out_scale/swizzled_128x4-32/256", "x_scale/packed_ue8m0-128/256", "x_scale/packed_ue8m0-128/131072",
)  # fmt: skip
CONVENTIONS = ("rows/", "out_scale/", "x_scale/")
STALLS = ("long_scoreboard", "short_scoreboard", "math_pipe_throttle", "wait", "imc_miss", "no_instruction", "barrier")
METRICS = {
    "nanoseconds": "gpu__time_duration.sum",
    "registers_per_thread": "launch__registers_per_thread",
    "dram_bytes_read": "dram__bytes_read.sum",
    "dram_bytes_written": "dram__bytes_write.sum",
    "l2_sectors_read": "lts__t_sectors_op_read.sum",
    "l2_sectors_written": "lts__t_sectors_op_write.sum",
    "instructions": "smsp__inst_executed.sum",
    "busiest_multiprocessor_instructions": "sm__inst_executed.max",
    "average_multiprocessor_instructions": "sm__inst_executed.avg",
    "issue_percent": "smsp__issue_active.avg.pct_of_peak_sustained_active",
    "special_function_percent": "sm__inst_executed_pipe_xu.avg.pct_of_peak_sustained_active",
    "occupancy_percent": "sm__warps_active.avg.pct_of_peak_sustained_active",
    "dram_percent": "dram__throughput.avg.pct_of_peak_sustained_elapsed",
} | {f"stalled_{stall}": f"smsp__average_warps_issue_stalled_{stall}_per_issue_active.ratio" for stall in STALLS}


def counters(program: Path, workload: str) -> dict[str, Any]:
    """Of the library's own kernel, the marking of rows before it left out."""
    profile = ["ncu", "--clock-control", "none", "--csv", "--page", "raw", "--metrics", ",".join(METRICS.values())]
    profile += ["--kernel-name", "regex:gated_act_quant", "--launch-count", "1"]
    bench = [str(program), "--quick", "--only", workload, "--contender", "ours"]
    if workload.startswith(CONVENTIONS):
        bench.append("--conventions")
    done = subprocess.run([*profile, *bench], cwd=ROOT, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    begin = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), None)
    if begin is None:
        raise RuntimeError(f"{workload}: ncu read no counters: {done.stdout[-500:]} {done.stderr[-500:]}")
    names, _, values = list(csv.reader(io.StringIO("\n".join(lines[begin:]))))[:3]
    row = dict(zip(names, values, strict=True))
    found = {name: float(row[metric].replace(",", "")) for name, metric in METRICS.items() if metric in row}
    return {"workload": workload, "grid": row["Grid Size"], "block": row["Block Size"], **found}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=ROOT / "build" / "gpu" / "moe_act_bench")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    results = []
    for workload in WORKLOADS:
        results.append(counters(options.program, workload))
        print(json.dumps(results[-1]), flush=True)
    options.json.write_text(json.dumps({"environment": environment(), "results": results}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

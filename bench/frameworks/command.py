"""Where the library stands against NumPy, torch, torch.compile, a Triton kernel and a copy of the same bytes:

    python bench/frameworks --device cuda|cpu [--json FILE] [--only SUBSTRING] [--contender NAME]... [--quick] [--list]

Every result is compared with ours before it is timed; `copy` computes none. Figures are medians per call over rounds
with rotated order: of CUDA-graph replays on a GPU, of runs of calls on the CPU. cold: tensors rotate through more than
four times the last-level cache; hot: one set of tensors. On the CPU every number of threads has a process of its own,
whose allocator keeps memory: a result that a contender makes anew costs it no page faults.
Exit status: 0 all good, 1 a contender was refused, 2 bad usage.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import moe_act
import numpy as np
from environment import commit, date
from moe_act.command.cuda import TorchRuntime
from moe_act.command.devices import CpuRuntime, Runtime, Unavailable, no_cuda

from .contenders import all_contenders
from .measure import measure
from .report import report, table, text
from .timing import QUICK, THOROUGH
from .workloads import Workload, cpu_workloads, gpu_workloads

THREADS = "OMP_NUM_THREADS"  # read by the OpenMP of the library and of torch, once in a process
# glibc's allocator neither maps results one by one nor gives memory back: bytes that never are reached.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 34)}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python bench/frameworks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), required=True)
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--only", default="", metavar="SUBSTRING", help="workloads whose name contains it")
    parser.add_argument("--contender", action="append", metavar="NAME", help="this contender; may be repeated")
    parser.add_argument("--threads", type=int, help="workloads on so many threads: 1, or as many as there are cores")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--list", action="store_true", help="name workloads and contenders, run nothing")
    options = parser.parse_args()

    contenders = all_contenders(options.device)
    names = [contender.name for contender in contenders]
    for name in options.contender or ():
        if name not in names:
            parser.error(f"--contender: expected {', '.join(names)}, got {name!r}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    everything = gpu_workloads() if options.device == "cuda" else cpu_workloads(sorted({1, cores}))
    workloads = [
        workload
        for workload in everything
        if options.only in workload.name and options.threads in (None, workload.threads)
    ]
    if not workloads:
        parser.error(f"no workload's name contains {options.only!r}, on {options.threads or 'any number of'} threads")
    if options.list:
        for workload in workloads:
            print(f"{workload.name:<24}{workload.bytes / 1e6:>10,.3f} MB   {workload.group}")
        print("contenders:", ", ".join(names))
        return 0

    if options.json and not options.json.absolute().parent.is_dir():
        parser.error(f"--json: {options.json}: no such directory")
    try:
        found, ok = run(options, workloads)
    except Unavailable as error:
        parser.error(str(error))
    if options.json:
        options.json.write_text(text(found))
    return 0 if ok else 1


def run(options: argparse.Namespace, workloads: list[Workload]) -> tuple[dict[str, Any], bool]:
    """What was found, and whether every contender agreed."""
    threads = sorted({workload.threads for workload in workloads if workload.threads})
    if threads and (len(threads) > 1 or not child_environment(threads[0]).items() <= os.environ.items()):
        return run_each(threads)
    return run_here(options, workloads)


def run_here(options: argparse.Namespace, workloads: list[Workload]) -> tuple[dict[str, Any], bool]:
    runtime = cuda_runtime() if options.device == "cuda" else CpuRuntime()
    contenders = all_contenders(options.device)
    reasons = {contender.name: contender.absence() for contender in contenders}
    absent = [{"contender": name, "reason": reason} for name, reason in reasons.items() if reason]
    facts = environment(runtime)
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    for each in absent:
        print(f"absent: {each['contender']}, {each['reason']}")

    chosen = [each for each in contenders if not reasons[each.name] and each.name in (options.contender or reasons)]
    (ours,) = (contender for contender in contenders if contender.name == "ours")
    effort = (QUICK if options.quick else THOROUGH)[options.device]
    measured = []
    for i, workload in enumerate(workloads):
        print(f"[{i + 1}/{len(workloads)}] {workload.name} ...", end="", file=sys.stderr, flush=True)
        begin = time.monotonic()
        measured.append(measure(workload, chosen, ours, runtime, effort))
        print(f" {time.monotonic() - begin:.1f} s", file=sys.stderr)
        print(table(measured[-1]), flush=True)
    ok = not any(result.refusals for measurement in measured for result in measurement.results)
    return report(facts, absent, measured), ok


def child_environment(threads: int) -> dict[str, str]:
    """What the C library and OpenMP read when a process starts."""
    return {THREADS: str(threads), **ALLOCATOR}


def run_each(threads: list[int]) -> tuple[dict[str, Any], bool]:
    """This command again for each number of threads, in a process that never knew another."""
    parts, ok = [], True
    for count in threads:
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder) / "part.json"
            command = [sys.executable, *sys.argv, "--threads", str(count), "--json", str(part)]
            done = subprocess.run(command, env={**os.environ, **child_environment(count)})
            if not part.is_file():
                sys.exit(done.returncode or 1)
            ok &= done.returncode == 0
            parts.append(json.loads(part.read_text()))
    workloads = [workload for part in parts for workload in part["workloads"]]
    workloads.sort(key=lambda workload: (workload["input"], workload["rows"], workload["threads"]))
    return {**parts[0], "workloads": workloads}, ok


def cuda_runtime() -> Runtime:
    reason = no_cuda()
    if reason:
        raise Unavailable(f"--device cuda: {reason}")
    return TorchRuntime()


def environment(runtime: Runtime) -> dict[str, Any]:
    """What the figures belong to."""
    facts = runtime.facts
    if runtime.device == "cuda":
        device = {"gpu": facts["name"], "compute_capability": ".".join(map(str, facts["compute_capability"]))}
        device |= {name: facts[name] for name in ("multiprocessors", "l2_bytes", "driver", "cuda")}
    else:
        device = {"cpu": facts["name"], "cores": facts["cores"], "cache_bytes": runtime.cache_bytes}
        device |= {"instruction_set": moe_act._core.cpu_level(), "numpy": np.__version__}
        device["keeps_memory"] = ALLOCATOR.items() <= os.environ.items()
    return {
        **device,
        "torch": version("torch"),
        **({"triton": version("triton")} if runtime.device == "cuda" else {}),
        "library": moe_act._core.build_info(),
        "date": date(),
        "commit": commit(),
    }


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None

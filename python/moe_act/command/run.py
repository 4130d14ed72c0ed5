"""The main loop: makes or loads tensors, measures one size after the other, and reports."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..workloads import Workload, check_routing, deepseek_v3, expert_groups
from .devices import Unavailable, pick
from .files import plot, write_json
from .inputs import UsageError, load
from .measure import measure
from .progress import Progress
from .table import Findings

TOKENS = (1, 32, 256, 1024, 4096, 16384)
CPU_SECONDS = 60.0  # the default sizes end about here on a CPU


@dataclass(frozen=True)
class Size:
    """A workload yet to be made; tokens is what its cost is proportional to."""

    label: str
    tokens: int
    make: Callable[[], Workload]


def run(options: argparse.Namespace) -> int:
    """Runs the command with parsed options and returns the exit status."""
    try:
        with Progress() as progress:
            return _run(options, progress)
    except (UsageError, Unavailable) as error:
        print(f"moe_act: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"moe_act: error: {error}", file=sys.stderr)
        return 2
    except (RuntimeError, MemoryError) as error:
        print(f"moe_act: failed: {str(error) or type(error).__name__}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace, progress: Progress) -> int:
    _check(options)
    title, sizes = _user_tensors(options.input) if options.input else _deepseek(options)
    progress.step("looking for a device")
    runtime, note = pick(options.device, options.runtime)
    progress.step("measuring the memory")
    report = Findings(title, runtime, runtime.stream_rate(), note)
    progress.clear()
    report.begin()

    limited = runtime.device == "cpu" and not options.tokens
    start = began = time.monotonic()
    for index, size in enumerate(sizes):
        if limited and index:
            expected = (time.monotonic() - began) * size.tokens / sizes[index - 1].tokens
            if time.monotonic() - start + expected > CPU_SECONDS:
                report.left_out = [size.label for size in sizes[index:]]
                break
        began = time.monotonic()
        step = partial(_step, progress, size.label)
        step("making tensors")
        measurement = measure(size.make(), runtime, step)
        progress.clear()
        report.add(measurement)
        if options.output:
            np.savez(options.output, out=measurement.out, out_scale=measurement.out_scale)
    report.end()

    if options.json:
        write_json(options.json, report, options.arguments)
    if options.plot:
        progress.step("drawing")
        plot(options.plot, report)
    return 0 if report.ok else 1


def _step(progress: Progress, label: str, text: str) -> None:
    progress.step(f"{label}: {text}")


def _check(options: argparse.Namespace) -> None:
    """What can be said of the options before anything slow begins."""
    sizes = [f"--{name}" for name in ("tokens", "hidden", "top_k", "experts") if getattr(options, name) is not None]
    if options.input and sizes:
        raise UsageError(f"{sizes[0].replace('_', '-')}: goes with the built-in workload, not with --input")
    if options.output and not options.input:
        raise UsageError("--output: goes with --input")
    if options.device == "cpu" and options.runtime:
        raise UsageError("--runtime: goes with --device cuda")
    for name in ("json", "plot", "output"):
        path = getattr(options, name)
        if path and not Path(path).absolute().parent.is_dir():
            raise UsageError(f"--{name}: {path}: no such directory")
        if path and Path(path).is_dir():
            raise UsageError(f"--{name}: {path}: is a directory")
    if options.plot and Path(options.plot).suffix.lower() != ".png":
        raise UsageError(f"--plot: expected a .png file, got {options.plot}")
    if options.plot and importlib.util.find_spec("matplotlib") is None:
        raise UsageError("--plot: needs matplotlib: pip install matplotlib")


def _deepseek(options: argparse.Namespace) -> tuple[str, list[Size]]:
    tokens = options.tokens or TOKENS
    hidden = 2048 if options.hidden is None else options.hidden
    experts = 256 if options.experts is None else options.experts
    top_k = 8 if options.top_k is None else options.top_k
    for name, value in (("tokens", min(tokens)), ("hidden", hidden)):
        if value < 1:
            raise UsageError(f"--{name}: expected at least 1, got {value}")
    try:
        check_routing(experts, top_k)
    except ValueError as error:
        raise UsageError(str(error)) from error

    groups, used = expert_groups(experts)
    grouped = f", from {used} of {groups} groups" if groups > 1 else ""
    title = (
        f"DeepSeek-V3 routing: top {top_k} of {experts} experts{grouped}\n"
        f"e4m3 [rows, {2 * hidden}] -> SwiGLU -> e4m3 [rows, {hidden}], fp32 scales per row and 128 columns"
    )
    make = partial(deepseek_v3, hidden=hidden, experts=experts, top_k=top_k)
    labels = [f"{count} token{'s' if count > 1 else ''}" for count in tokens]
    return title, [Size(label, count, partial(make, count)) for label, count in zip(labels, tokens, strict=True)]


def _user_tensors(path: str) -> tuple[str, list[Size]]:
    workload, format, source = load(path)
    title = (
        f"{path}{f' ({source})' if source else ''}\n"
        f"{format} [rows, {2 * workload.hidden}] -> SwiGLU -> e4m3 [rows, {workload.hidden}], "
        "fp32 scales per row and 128 columns"
    )
    return title, [Size(path, 1, lambda: workload)]

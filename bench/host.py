"""What a call costs the host, beside the bare launch of an empty kernel measured in the same run:

    python bench/host.py --json FILE [--program build/gpu/moe_act_bench_host]

Nanoseconds per call of a prepared plan in C, and in Python of a reusable plan, of one with its tensors bound, and of
the direct function, with torch tensors. Calls are timed in batches that fit into the launch queue, which is empty when
a batch begins: none waits for the GPU. Figures are medians of batches; the calls take turns. What is subtracted is the
bare launch of the same process, as one and the same launch takes a quarter more or less from process to process. With
`--device cpu` the tensors are torch's on the CPU, the map names no row while calls are timed, and there is no bare
launch to subtract.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import subprocess
import tempfile
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import moe_act.torch
import torch
from environment import ROOT, commit, date
from gpu import environment

ROWS, COLUMNS, TOKENS, TOP_K = 64, 2048, 1, 8  # one token; each of its experts has a tile of eight rows
CALLS_PER_BATCH = 500  # the launch queue holds 1024
WARM_UP_BATCHES, BATCHES = 20, 301
PROCESSES = 5  # of the program in C
BARE = "bare launch in this process"


class Call(NamedTuple):
    statement: str
    goal_nanoseconds: float | None = None  # beyond the bare launch


TENSORS = "x, {scale}, out=out, out_scale={out_scale}, expanded_idx_to_permuted_idx=map{more}"
FIVE = TENSORS.format(scale="x_scale", out_scale="out_scale", more="")
SIX = TENSORS.format(scale="x_flat", out_scale="out_flat", more=", total_num_padded_tokens=total")
CALLS = {
    "plan.run, five tensors": Call(f"plan_five.run({FIVE})", 1500),
    "plan.run, six tensors": Call(f"plan_six.run({SIX})", 1500),
    "bound launch, five tensors": Call("bound_five.run()", 1500),
    "bound launch, six tensors": Call("bound_six.run()", 1500),
    "gated_act_quant, five tensors": Call(f"moe_act.gated_act_quant({FIVE})", 3000),
    "gated_act_quant, six tensors": Call(f"moe_act.gated_act_quant({SIX})", 3000),
    "gated_act_quant, results allocated": Call("moe_act.gated_act_quant(x, x_scale, expanded_idx_to_permuted_idx=map)"),
    "torch operator, five tensors": Call(f"moe_act.torch.gated_act_quant({FIVE})"),
    "torch operator, results allocated": Call(
        "moe_act.torch.gated_act_quant(x, x_scale, expanded_idx_to_permuted_idx=map)"
    ),
    "torch.mul, out given": Call("torch.mul(x_scale, x_scale, out=product)"),
}


def names(device: str) -> dict[str, Any]:
    """What the statements name: six input and output tensors, scales once as a matrix and once flat, two plans, and
    those with the tensors bound."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, 2 * COLUMNS, generator=generator).to(device).to(torch.float8_e4m3fn)
    x_scale = (torch.rand(2 * COLUMNS // 128, ROWS, generator=generator) + 0.5).to(device)
    values: dict[str, Any] = {
        "moe_act": moe_act,
        "torch": torch,
        "x": x,
        "x_scale": x_scale,
        "x_flat": x_scale.flatten(),
        "out": torch.zeros(ROWS, COLUMNS, device=device, dtype=torch.float8_e4m3fn),
        "out_scale": torch.zeros(COLUMNS // 128, ROWS, device=device),
        "out_flat": torch.zeros(COLUMNS // 128 * ROWS, device=device),
        "map": torch.arange(0, ROWS, ROWS // TOP_K, device=device, dtype=torch.int32).reshape(TOKENS, TOP_K),
        "total": torch.tensor([ROWS], device=device, dtype=torch.int32),
        "product": torch.empty_like(x_scale),
    }
    for number, arguments in {"five": FIVE, "six": SIX}.items():
        values[f"plan_{number}"] = eval(f"moe_act.plan({arguments})", values)
        values[f"bound_{number}"] = eval(f"plan_{number}.bind({arguments})", values)
    return values


def check(values: dict[str, Any]) -> None:
    """Every call of ours delivers what the operation for all rows does on the CPU, up to neighbouring codes."""
    rows = values["map"].flatten().long().cpu()
    expected, expected_scale = moe_act.gated_act_quant(values["x"].cpu(), values["x_scale"].cpu())
    for name, call in CALLS.items():
        if call.statement.startswith("torch."):
            continue
        values["out"].view(torch.uint8).fill_(0x7F)
        out, out_scale = eval(call.statement, values)
        given, wanted = out.cpu().float()[rows], expected.float()[rows]
        torch.testing.assert_close(given, wanted, rtol=0.13, atol=2**-8, msg=f"{name}: out")
        given, wanted = out_scale.cpu().reshape(-1, ROWS)[:, rows], expected_scale[:, rows]
        torch.testing.assert_close(given, wanted, rtol=1e-5, atol=0, msg=f"{name}: out_scale")


def bare_launch(library: Path, plan: moe_act.Plan) -> Callable[[], float]:
    """A batch of launches of an empty kernel with the plan's grid, on the stream that torch's calls go to: nanoseconds
    per call."""
    function = ctypes.CDLL(str(library)).moe_act_bench_bare_launch
    function.restype = ctypes.c_double
    threes = ctypes.c_uint * 3
    grid, block = threes(*plan.grid), threes(32, plan.threads_per_cta // 32, 1)
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)

    def batch() -> float:
        nanoseconds = float(function(grid, block, stream, CALLS_PER_BATCH))
        if nanoseconds < 0:
            raise RuntimeError("CUDA refused a bare launch")
        return nanoseconds

    return batch


def measure(values: dict[str, Any], batches: dict[str, Callable[[], float]], synchronize: Any) -> dict[str, float]:
    """Nanoseconds per call: of the calls, and before them of what is to take turns with them."""

    def batch_of(statement: str) -> Callable[[], float]:
        timer = timeit.Timer(statement, globals=values)
        return lambda: timer.timeit(CALLS_PER_BATCH) / CALLS_PER_BATCH * 1e9

    batches = batches | {name: batch_of(call.statement) for name, call in CALLS.items()}
    samples: dict[str, list[float]] = {name: [] for name in batches}
    for number in range(-WARM_UP_BATCHES, BATCHES):
        for name, batch in batches.items():
            synchronize()
            nanoseconds = batch()
            if number >= 0:
                samples[name].append(nanoseconds)
    synchronize()
    return {name: statistics.median(of_call) for name, of_call in samples.items()}


def run_program(program: Path) -> list[dict[str, Any]]:
    """The results of moe_act_bench_host: the bare launch, and a prepared plan in C. Of several processes the one whose
    bare launch is the fastest: one and the same call takes a quarter more or less from process to process."""
    runs = []
    for _ in range(PROCESSES):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "host.json"
            subprocess.run([program, "--json", file], check=True, stdout=subprocess.DEVNULL)
            runs.append(list(json.loads(file.read_text())["results"]))
    return min(runs, key=lambda results: float(results[0]["nanoseconds"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="the file to write")
    parser.add_argument("--program", type=Path, default=ROOT / "build" / "gpu" / "moe_act_bench_host")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    options = parser.parse_args()

    on_cuda = options.device == "cuda"
    now = date()
    facts = environment() if on_cuda else {"torch": torch.__version__, "commit": commit(), "date": now}
    values = names(options.device)
    check(values)
    if not on_cuda:
        values["map"].fill_(-1)
    results = run_program(options.program) if on_cuda else []
    bare = (
        {BARE: bare_launch(options.program.parent / "libmoe_act_bench_bare.so", values["plan_five"])} if on_cuda else {}
    )
    measured = measure(values, bare, torch.cuda.synchronize if on_cuda else lambda: None)
    for name, nanoseconds in measured.items():
        beyond = round(nanoseconds - measured[BARE], 1) if on_cuda else None
        goal = CALLS[name].goal_nanoseconds if name in CALLS else None
        figures = {"nanoseconds": round(nanoseconds, 1), "beyond_bare_nanoseconds": beyond, "goal_nanoseconds": goal}
        results.append({"call": name, **figures})
    for result in results:
        beyond, goal = result["beyond_bare_nanoseconds"], result["goal_nanoseconds"]
        more = "" if beyond is None else f", {beyond:7.0f} ns beyond the bare launch"
        print(f"{result['call']:36} {result['nanoseconds']:7.0f} ns{more}{f' (goal {goal:.0f})' if goal else ''}")
    options.json.write_text(json.dumps({"environment": facts, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()

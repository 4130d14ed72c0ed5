"""This build of the library beside an earlier one's, in turns on the same GPU:

    python bench/previous.py --before PROGRAM --now PROGRAM --before-commit NAME --json FILE

The programs are moe_act_bench of the two builds; each runs plain SwiGLU's workloads several times, and the least of its
medians counts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from environment import commit, date

TURNS = 3


def times(program: str, folder: str) -> tuple[dict[str, float], str]:
    """Microseconds of ours, by workload and cache, and the GPU's name."""
    file = Path(folder) / "turn.json"
    command = [program, "--quick", "--contender", "ours", "--json", str(file)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    result = json.loads(file.read_text())
    found = {
        f"{workload['name']} {cache}": contender[cache]["microseconds"]
        for workload in result["workloads"]
        for contender in workload["results"]
        for cache in ("hot", "cold")
        if contender["contender"] == "ours" and contender.get(cache)
    }
    return found, result["environment"]["gpu"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--before", "--now", "--before-commit"):
        parser.add_argument(name, required=True)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    best: dict[str, dict[str, float]] = {"before": {}, "now": {}}
    gpu = ""
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(TURNS):
            for build, program in (("before", options.before), ("now", options.now)):
                found, gpu = times(program, folder)
                for name, time in found.items():
                    best[build][name] = min(time, best[build].get(name, time))
    names = [name for name in best["now"] if name in best["before"]]
    results = [{"workload": n, "before": best["before"][n], "now": best["now"][n]} for n in names]
    environment = {"gpu": gpu, "commit": commit(), "before": options.before_commit, "date": date()}
    options.json.write_text(json.dumps({"environment": environment, "results": results}, indent=1) + "\n")
    for each in sorted(results, key=lambda each: each["now"] / each["before"])[-8:]:
        print(f"{each['workload']:<28} {each['before']:8.2f} {each['now']:8.2f} {each['now'] / each['before']:.3f}")


if __name__ == "__main__":
    main()

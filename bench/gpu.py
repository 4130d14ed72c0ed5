"""All that has to be proven on a GPU machine, in one command:

    python bench/gpu.py --out DIRECTORY

Builds and installs the library for this GPU, runs the GPU tests, the sanitizers, the main command and the benchmarks,
and writes DIRECTORY/<gpu>.json (of two GPUs <gpu>-x2.json) with everything that was found, and the benchmarks' figures
to contenders.json, conventions.json, frameworks.json, models.json, host.json, interop.json and, where transformers is
installed, experts.json beside it; search.json, of every plan there could be, on demand. --wheel FILE: what Python runs
comes from a wheel built elsewhere. Exit status 1 if anything failed. Nothing is fetched: torch and what
`pip install ".[test]"` brings have to be there. It takes 8.8 minutes on 16 cores that nobody else wants. MOE_ACT_COMMIT
names the commit where git does not.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path
from typing import Any

from environment import ROOT, commit, date
from tables.published import REFERENCE_SYSTEM, published

# Programs that launch every kernel without a framework: each buffer is an allocation of its own.
KERNEL_TESTS = ("test_gpu_kernels", "test_gpu_marks", "test_gpu_conventions")
MEASUREMENTS = ("contenders", "conventions", "search", "frameworks", "models", "host", "interop", "experts")
BY_DEFAULT = [name for name in MEASUREMENTS if name != "search"]  # of every plan, for whoever moves a threshold
SANITIZERS = ("memcheck", "initcheck", "synccheck", "racecheck")
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:benchmark"]
IN_PARALLEL = ["-n", "8"] if importlib.util.find_spec("xdist") is not None else []


def run(step: str, command: list[str]) -> tuple[subprocess.CompletedProcess[str], float]:
    print(f"{step} ...", flush=True)
    begin = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    seconds = time.monotonic() - begin
    verdict = "done" if done.returncode == 0 else f"FAILED ({done.returncode})"
    print(f"{step}: {verdict}, {seconds:.0f} s", flush=True)
    if done.returncode != 0:
        print(done.stdout[-6000:], flush=True)
    return done, seconds


def environment() -> dict[str, Any]:
    import torch

    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    name, driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0].split(", ")
    return {
        "gpu": name,
        "gpus": torch.cuda.device_count(),
        "driver": driver,
        "compute_capability": ".".join(map(str, torch.cuda.get_device_capability())),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        "libc": " ".join(platform.libc_ver()),
        "commit": commit(),
        "date": date(),
    }


def build(architecture: str) -> dict[str, Any]:
    define = f"cmake.define.MOE_ACT_CUDA_ARCHITECTURES={architecture}-real"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-build-isolation", "--no-deps"]
    done, seconds = run("build", [*command, "-C", "cmake.define.MOE_ACT_CUDA=ON", "-C", define, "."])
    return {"ok": done.returncode == 0, "seconds": round(seconds, 1)}


def install(wheel: Path) -> dict[str, Any]:
    """A wheel as it is, and by which compiler its library was built."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--force-reinstall", str(wheel)]
    done, seconds = run(f"install {wheel.name}", command)
    with zipfile.ZipFile(wheel) as content:
        library = content.read(next(name for name in content.namelist() if name.endswith("libmoe_act.so")))
    compilers = sorted({found.decode() for found in re.findall(rb"GCC: \([^)]*\) [0-9.]+", library)})
    return {"ok": done.returncode == 0, "seconds": round(seconds, 1), "wheel": wheel.name, "compilers": compilers}


def test(step: str, command: list[str], report: Path) -> dict[str, Any]:
    """Runs pytest and counts what it did."""
    done, seconds = run(step, [*command, f"--junitxml={report}"])
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    if report.is_file():
        for suite in ElementTree.parse(report).getroot().iter("testsuite"):
            for name in counts:
                counts[name] += int(suite.get(name, "0"))
    ok = done.returncode == 0 and counts["tests"] > counts["skipped"]
    return {"ok": ok, "seconds": round(seconds, 1), **counts, "output": done.stdout}


def build_cpp_tests(architecture: str) -> Path:
    """Where the C++ tests were built, and the program that times contenders beside them."""
    tree = ROOT / "build" / "gpu"
    defines = [
        "-DMOE_ACT_TESTS=ON",
        "-DMOE_ACT_BENCH=ON",
        "-DMOE_ACT_CUDA=ON",
        f"-DMOE_ACT_CUDA_ARCHITECTURES={architecture}-real",
    ]
    for step, command in (
        ("configure C++ tests", ["cmake", "-S", str(ROOT), "-B", str(tree), "-G", "Ninja", *defines]),
        ("build C++ tests and benchmarks", ["cmake", "--build", str(tree)]),
    ):
        if run(step, command)[0].returncode != 0:
            sys.exit(1)
    return tree / "tests" / "cpp"


def slower_than_reference(command: dict[str, Any]) -> list[str]:
    """The sizes at which the reference system, as published for this GPU, is faster; it must be so nowhere."""
    measured = {row["tokens"]: row for row in command["results"]}
    slower = []
    for (contender, tokens, kind), figure in published(REFERENCE_SYSTEM, command["device"]["name"]).items():
        limit = max(figure) if isinstance(figure, tuple) else figure
        if contender != "reference" or tokens not in measured:
            continue
        microseconds = measured[tokens][f"{kind}_seconds"] * 1e6
        if microseconds > limit:
            slower.append(f"{tokens} tokens, {kind}: {microseconds:.2f} us, not {limit}")
    return slower


def findings_of(output: str) -> int | None:
    """How much a sanitizer found; None if it did not come to its end, or its program failed a check of its own."""
    summary = re.search(r"(?:ERROR|RACECHECK) SUMMARY: (\d+) (?:error|hazard)", output)
    return int(summary[1]) if summary and re.search(r"\d+ tests, \d+ checks, 0 failed", output) else None


def sanitize(tool: str, tests: Path) -> dict[str, Any]:
    """Every kernel under the tool."""
    findings: list[int | None] = []
    report = {"ok": True, "seconds": 0.0, "checks": 0}
    for program in KERNEL_TESTS:
        command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", str(tests / program)]
        done, seconds = run(f"{tool}, {program}", command)
        findings.append(findings_of(done.stdout))
        report["ok"] = report["ok"] and done.returncode == 0 and findings[-1] == 0
        report["seconds"] = round(report["seconds"] + seconds, 1)
        report["checks"] += sum(map(int, re.findall(r"tests, (\d+) checks, 0 failed", done.stdout)))
    known = [each for each in findings if each is not None]
    return {**report, "findings": sum(known) if len(known) == len(findings) else None}


def measure(programs: Path, out: Path, only: list[str]) -> dict[str, dict[str, Any]]:
    """The library against others, compared before they are timed: in C++, in every convention and layout, every plan it
    could make, from Python, by every model; what a call costs the host, and how frameworks get on with it."""
    contenders, python = str(programs / "moe_act_bench"), sys.executable

    def named(*names: str) -> list[str]:
        return [word for name in names for word in ("--contender", name)]

    commands = {
        "contenders": [contenders],
        "conventions": [contenders, "--conventions"],
        "search": [contenders, "--search", "--quick", *named("ours", "search", "ours_pdl", "search_pdl")],
        "frameworks": [python, "bench/frameworks", "--device", "cuda"],
        "models": [python, "bench/models.py"],
        "host": [python, "bench/host.py", "--program", str(programs / "moe_act_bench_host")],
        "interop": [python, "bench/interop.py", "--device", "cuda"],
    }
    if importlib.util.find_spec("transformers") is not None:
        commands["experts"] = [python, "bench/experts.py", "--device", "cuda"]
    steps = {}
    for name in [name for name in commands if name in only]:
        command = commands[name]
        done, seconds = run(name, [*command, "--json", str(out / f"{name}.json")])
        (out / f"{name}.txt").write_text(done.stdout)
        steps[name] = {"ok": done.returncode == 0, "seconds": round(seconds, 1)}
    return steps


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory for the JSON and the logs")
    installed = parser.add_mutually_exclusive_group()
    installed.add_argument("--skip-build", action="store_true", help="test what is installed")
    installed.add_argument(
        "--wheel", type=Path, help="test what this wheel installs; C++ programs are built all the same"
    )
    parser.add_argument("--measurements", nargs="*", default=BY_DEFAULT, choices=MEASUREMENTS)
    parser.add_argument("--sanitizers", nargs="*", default=[*SANITIZERS], choices=SANITIZERS)
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)

    begin = time.monotonic()
    facts = environment()
    result: dict[str, Any] = {"environment": facts}
    if options.wheel is not None:
        result["build"] = install(options.wheel)
    elif not options.skip_build:
        result["build"] = build(facts["compute_capability"].replace(".", ""))
    result["tests"] = test("GPU tests", [*PYTEST, *IN_PARALLEL, "-m", "gpu", "-s", "tests/python"], out / "tests.xml")
    for line in re.findall(r"^.*largest error.*$", result["tests"].pop("output"), re.MULTILINE):
        result["tests"]["sigmoid"] = line.strip(". ")
    cpp_tests = build_cpp_tests(facts["compute_capability"].replace(".", ""))
    done, seconds = run("ctest", ["ctest", "--test-dir", str(cpp_tests.parents[1]), "--output-on-failure"])
    passed = re.search(r"100% tests passed.* out of (\d+)", done.stdout)
    result["ctest"] = {"ok": passed is not None, "seconds": round(seconds, 1), "tests": int(passed[1]) if passed else 0}
    result["sanitizers"] = {tool: sanitize(tool, cpp_tests) for tool in options.sanitizers}
    measured = out / "command.json"
    done, _ = run("main command", [sys.executable, "-m", "moe_act", "--json", str(measured)])
    print(done.stdout)
    result["command"] = json.loads(measured.read_text()) if measured.is_file() else None
    if result["command"]:
        del result["command"]["arguments"]  # they name folders of the machine that ran it

    result["measurements"] = measure(cpp_tests.parents[1], out, options.measurements)

    parts = [result.get("build", {"ok": True}), result["tests"], result["ctest"], *result["sanitizers"].values()]
    parts += result["measurements"].values()
    result["slower_than_reference"] = (
        slower_than_reference(result["command"]) if result["command"] else ["not measured"]
    )
    print("slower than the reference:", "; ".join(result["slower_than_reference"]) or "nowhere")
    result["ok"] = done.returncode == 0 and not result["slower_than_reference"] and all(part["ok"] for part in parts)
    result["seconds"] = round(time.monotonic() - begin, 1)
    name = re.search(r"[A-Z]+\d+", facts["gpu"])
    several = f"-x{facts['gpus']}" if facts["gpus"] > 1 else ""
    file = out / f"{name.group().lower() if name else 'gpu'}{several}.json"
    file.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{'all good' if result['ok'] else 'FAILED'}: {file}")
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())

"""What bench/gpu.py makes of the words of the programs that it runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import gpu
import pytest

CLEAN = "4 tests, 960 checks, 0 failed\n========= ERROR SUMMARY: 0 errors\n"
RACES = "4 tests, 960 checks, 0 failed\n========= RACECHECK SUMMARY: {} hazards displayed ({} errors, 0 warnings)\n"


@pytest.mark.parametrize(
    ("output", "findings"),
    [
        (CLEAN, 0),
        (CLEAN.replace("0 errors", "3 errors"), 3),
        (RACES.format(0, 0), 0),
        (RACES.format(2, 1), 2),
        (CLEAN.replace("960 checks, 0 failed", "960 checks, 1 failed"), None),
        ("4 tests, 960 checks, 0 failed\n", None),
        ("========= ERROR SUMMARY: 0 errors\n", None),
    ],
)
def test_findings(output: str, findings: int | None) -> None:
    assert gpu.findings_of(output) == findings


@pytest.mark.parametrize("tool", gpu.SANITIZERS)
def test_a_sanitizer_is_good_only_if_every_program_is_clean(tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = [RACES.format(0, 0) if tool == "racecheck" else CLEAN for _ in gpu.KERNEL_TESTS]

    def report() -> dict[str, object]:
        left = iter(outputs)
        monkeypatch.setattr(gpu, "run", lambda *_: (subprocess.CompletedProcess([], 0, stdout=next(left)), 1.0))
        return gpu.sanitize(tool, Path("tests"))

    count = len(outputs)
    assert report() == {"ok": True, "seconds": 1.0 * count, "checks": 960 * count, "findings": 0}
    outputs[-1] = RACES.format(1, 0)
    assert not report()["ok"] and report()["findings"] == 1
    outputs[-1] = ""
    assert not report()["ok"] and report()["findings"] is None

"""The committed stubs of the compiled module are what its generator says of the module that is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_stubs_are_current(tmp_path: Path) -> None:
    pytest.importorskip("nanobind")
    generated = tmp_path / "_core.pyi"
    command = [sys.executable, "-m", "nanobind.stubgen", "-q", "-m", "moe_act._core"]
    command += ["-p", str(ROOT / "src" / "bindings" / "stubs.txt"), "-o", str(generated)]
    subprocess.run(command, check=True)
    committed = ROOT / "python" / "moe_act" / "_core.pyi"
    assert committed.read_text() == generated.read_text(), f"run: {' '.join(command[1:-1])} {committed}"

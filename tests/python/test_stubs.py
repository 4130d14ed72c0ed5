"""The committed stubs of the compiled modules are what their generator says of the modules that are installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("module", ["_core", "_jax"])
def test_stubs_are_current(module: str, tmp_path: Path) -> None:
    pytest.importorskip("nanobind")
    pytest.importorskip(f"moe_act.{module}")
    generated = tmp_path / f"{module}.pyi"
    command = [sys.executable, "-m", "nanobind.stubgen", "-q", "-m", f"moe_act.{module}"]
    if module == "_core":
        command += ["-p", str(ROOT / "src" / "bindings" / "stubs.txt")]
    command += ["-o", str(generated)]
    subprocess.run(command, check=True)
    committed = ROOT / "python" / "moe_act" / f"{module}.pyi"
    assert committed.read_text() == generated.read_text(), f"run: {' '.join(command[1:-1])} {committed}"

"""The parts of `python -m moe_act`: timing, progress, provenance."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from moe_act.command import cuda, devices, files
from moe_act.command import run as run_function
from moe_act.command.progress import Progress

run_module = sys.modules["moe_act.command.run"]
progress_module = sys.modules["moe_act.command.progress"]


class CountingRuntime(cuda.CudaRuntime):
    """Graphs without a GPU: a clock that every call moves by a second."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def _capture(self, calls: list[devices.Call]) -> Callable[[], None]:
        return lambda: [call(None) for call in calls] and None

    def _elapsed(self, launch: Callable[[], None]) -> float:
        before = len(self.calls)
        launch()
        return len(self.calls) - before

    def run(self, call: devices.Call) -> None:
        call(None)

    def _stream(self, size: int) -> Any: ...
    def upload(self, array: devices.Array, copies: int = 1) -> Any: ...
    def download(self, tensor: Any) -> Any: ...


def test_graphs_rotate_through_the_buffers_and_time_is_per_call() -> None:
    runtime = CountingRuntime()
    calls = [lambda _, name=name: runtime.calls.append(name) for name in "abc"]
    assert runtime.time(calls, 6) == 1.0
    assert runtime.calls[:7] == ["a", *"abcabc"]  # the first outside of a graph


@pytest.mark.parametrize("terminal", [True, False])
def test_progress(terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setattr(progress_module, "PLAIN_SECONDS", 0.2)
    with Progress() as progress:
        progress.step("soon")
        progress.step("late")
        time.sleep(0.6)
    expected = "\r\x1b[Ksoon ...\r\x1b[Klate ...\r\x1b[K" if terminal else "late ...\n"
    assert capsys.readouterr().err == expected


def test_interruption_has_the_usual_status(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "_run", interrupt)
    assert run_function(argparse.Namespace()) == 130


def test_commit_is_that_of_a_checkout_of_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert files._commit() is None
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for arguments in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *arguments], check=True)
    assert files._commit() is None, "a checkout of something else"
    (tmp_path / "python" / "moe_act" / "oracle").mkdir(parents=True)
    commit = files._commit()
    assert commit is not None and len(commit) == 40

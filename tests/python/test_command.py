"""`python -m moe_act`: verdicts, files and exit statuses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import moe_act
import numpy as np
import pytest
from moe_act.__main__ import main

run_module = sys.modules["moe_act.command.run"]
SMALL = ["--device", "cpu", "--tokens", "1", "5", "--hidden", "192", "--experts", "16", "--top-k", "2"]


@pytest.fixture
def tensors(tmp_path: Path) -> Callable[..., str]:
    """Writes an .npz file and returns its path."""

    def write(**arrays: Any) -> str:
        np.savez(tmp_path / "tensors.npz", **arrays)
        return str(tmp_path / "tensors.npz")

    return write


def test_as_a_program(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    files = ["--json", str(tmp_path / "run.json"), "--plot", str(tmp_path / "run.png")]
    command = [sys.executable, "-m", "moe_act", *SMALL, *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" ok\n") == 2
    assert done.stdout.endswith("All results conform.\n")
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")

    figures = json.loads((tmp_path / "run.json").read_text())
    assert figures["ok"] is True
    assert figures["arguments"] == [*SMALL, *files]
    assert figures["library"]["version"] == moe_act.__version__
    assert figures["device"]["kind"] == "cpu"
    assert figures["stream"]["bytes_per_second"] > 0
    one, five = figures["results"]
    assert (one["tokens"], one["valid_rows"], one["tile"]) == (1, 2, 8)
    assert (five["tokens"], five["valid_rows"], five["checked_rows"]) == (5, 10, 10)
    assert five["bytes"] == 10 * (2 * 192 + 4 * 3 + 192 + 4 * 2) + 4 * 10
    for result in (one, five):
        assert result["ok"] and result["message"] == "" and result["copies"] > 1
        assert result["cold_seconds"] > 0 and result["hot_seconds"] > 0
        assert result["bytes_per_second"] == pytest.approx(result["bytes"] / result["cold_seconds"])


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert moe_act.__version__ in text and moe_act.build_info() in text and moe_act.cpu_level() in text
    assert ("no device: " in text) == (moe_act.cuda_device_count() == 0)
    for name in ("e4m3", "bf16", "fp16", "fp32"):
        assert f"\n{name} " in text
    assert "3 expanded to permuted" in text and "10 masked" in text


class Spoiled:
    """A plan whose results are touched up after each run."""

    def __init__(self, plan: moe_act.Plan, spoil: Callable[[dict[str, Any]], None]) -> None:
        self.plan, self.spoil = plan, spoil

    def run(self, **arguments: Any) -> None:
        self.plan.run(**arguments)
        self.spoil(arguments)


def one_wrong_code(arguments: dict[str, Any]) -> None:
    row = arguments["expanded_idx_to_permuted_idx"].ravel()[1]
    out = arguments["out"]
    out[row, 7] ^= 0x40 if out[row, 7] & 0x70 else 0x80 | 0x40  # far from the neighbouring code


def one_wrong_scale(arguments: dict[str, Any]) -> None:
    row = arguments["expanded_idx_to_permuted_idx"].ravel()[1]
    arguments["out_scale"][row] *= np.float32(1.001)


def a_row_left_out(arguments: dict[str, Any]) -> None:
    arguments["out"][arguments["expanded_idx_to_permuted_idx"].ravel()[0]] = 0xA5


def padding_written(arguments: dict[str, Any]) -> None:
    written = np.isin(np.arange(len(arguments["out"])), arguments["expanded_idx_to_permuted_idx"])
    arguments["out"][np.flatnonzero(~written)[-1], -1] = 0


@pytest.mark.parametrize("spoil", [one_wrong_code, one_wrong_scale, a_row_left_out, padding_written])
@pytest.mark.usefixtures("quick")
def test_what_is_wrong_is_found(
    spoil: Callable[[dict[str, Any]], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    genuine = moe_act.plan
    monkeypatch.setattr(moe_act, "plan", lambda *args, **options: Spoiled(genuine(*args, **options), spoil))
    path = tmp_path / "run.json"
    assert main([*SMALL, "--json", str(path)]) == 1
    text = capsys.readouterr().out
    assert text.count(" WRONG\n") == 2 and "expected" in text
    assert text.endswith("2 of 2 results WRONG.\n")
    figures = json.loads(path.read_text())
    assert figures["ok"] is False
    assert all(result["message"].startswith("row ") for result in figures["results"])


@pytest.mark.usefixtures("quick")
def test_copies_that_differ_are_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    genuine, seen = moe_act.plan, []

    def spoil(arguments: dict[str, Any]) -> None:
        seen.append(arguments["out"])
        if arguments["out"] is not seen[0]:
            one_wrong_code(arguments)

    monkeypatch.setattr(moe_act, "plan", lambda *args, **options: Spoiled(genuine(*args, **options), spoil))
    assert main([*SMALL[:2], "--tokens", "1", "--hidden", "2048"]) == 1
    assert "equal inputs gave other bytes" in capsys.readouterr().out


@pytest.mark.usefixtures("quick")
def test_failures_of_the_device_are_told_from_bad_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("cudaMalloc: out of memory")

    monkeypatch.setattr(moe_act, "plan", fail)
    assert main(SMALL) == 1
    assert capsys.readouterr().err == "moe_act: failed: cudaMalloc: out of memory\n"


BAD_USAGE = {
    "--tokens 0": "--tokens: expected at least 1, got 0",
    "--tokens 4 -3": "--tokens: expected at least 1, got -3",
    "--hidden 0": "--hidden: expected at least 1, got 0",
    "--top-k 129": "top_k: expected 1 to 128 (4 of 8 groups of 32 experts), got 129",
    "--experts 12 --top-k 13": "top_k: expected 1 to 12 (ungrouped experts), got 13",
    "--experts 0": "experts: expected at least 1, got 0",
    "--output x.npz": "--output: goes with --input",
    "--input x.npz --top-k 2": "--top-k: goes with the built-in workload, not with --input",
    "--input nowhere.npz": "nowhere.npz: cannot be read: No such file or directory",
    "--json no/such/place.json": "--json: no/such/place.json: no such directory",
    "--json .": "--json: .: is a directory",
    "--plot time.xyz": "--plot: expected a .png file, got time.xyz",
    "--device cpu --runtime torch": "--runtime: goes with --device cuda",
}


@pytest.mark.parametrize("arguments", BAD_USAGE)
def test_bad_usage(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments.split()) == 2
    captured = capsys.readouterr()
    assert captured.err == f"moe_act: error: {BAD_USAGE[arguments]}\n"
    assert captured.out == ""


@pytest.mark.parametrize("arguments", ["--tokens many", "--tokens", "--device tpu", "--no-such-option", "sing"])
def test_bad_syntax(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(arguments.split())
    assert exit.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_plot_needs_matplotlib(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(run_module.importlib.util, "find_spec", lambda name: None)
    assert main(["--plot", "x.png"]) == 2
    assert capsys.readouterr().err == "moe_act: error: --plot: needs matplotlib: pip install matplotlib\n"


X = np.ones((2, 256), np.float32)
CODES = np.full((2, 256), 0x38, np.uint8)
SCALES = np.ones((2, 2), np.float32)
INDICES = np.zeros((2, 2), np.int64)
MAP = "expanded_idx_to_permuted_idx"
BAD_FILES: dict[str, dict[str, Any]] = {
    "no array 'x', only gate": {"gate": "first_half"},
    "unknown array 'xscale'; known are x, x_scale,": {"x": X, "xscale": SCALES},
    "x: expected [rows, 2H] of float32, float16, uint16 (bf16) or uint8 (e4m3), got int64": {"x": INDICES},
    "(e4m3), got float32 [2, 255]": {"x": X[:, 1:]},
    "(e4m3), got float32 [0, 256]": {"x": X[:0]},
    "x_format: float32 holds fp32, not 'bf16'": {"x": X, "x_format": "bf16"},
    "gate: expected one string, got float64 []": {"x": X, "gate": 1.0},
    "gate: ": {"x": X, "gate": "third_half"},
    "x_scale: goes with e4m3 input and only with it; x holds e4m3": {"x": CODES},
    "x_scale: goes with e4m3 input and only with it; x holds fp32": {"x": X, "x_scale": SCALES},
    "x_scale: expected": {"x": CODES, "x_scale": SCALES[:1]},
    "expected int32 that names rows, got int64 [2]": {"x": X, MAP: INDICES[0]},
    "expected int32 that names rows, got no row": {"x": X, MAP: np.array([-1], np.int32)},
    "expanded_idx_to_permuted_idx: ": {"x": X, MAP: np.array([0, 2], np.int32)},
    "is no .npz file of plain arrays": {"x": np.array([None])},
}  # fmt: skip


@pytest.mark.parametrize("message", BAD_FILES)
@pytest.mark.usefixtures("quick")
def test_bad_files(message: str, tensors: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    path = tensors(**BAD_FILES[message])
    assert main(["--device", "cpu", "--input", path]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"moe_act: error: {path}: ") and message in error and error.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"no archive at all", b"PK\x03\x04broken"])
def test_damaged_files(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    assert main(["--input", str(tmp_path / "x.npz")]) == 2
    assert "is no .npz file of plain arrays" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["fp32", "fp16", "bf16", "e4m3", "e4m3 with a map"])
@pytest.mark.usefixtures("quick")
def test_own_tensors(
    kind: str, tensors: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.random.default_rng(0).standard_normal((9, 384), np.float32)
    arrays: dict[str, Any] = {"x": values, "gate": "first_half"}
    if kind == "fp16":
        arrays["x"] = values.astype(np.float16)
    elif kind == "bf16":
        arrays |= {"x": (values.view(np.uint32) >> 16).astype(np.uint16), "x_format": "bf16"}
    elif kind.startswith("e4m3"):
        arrays |= {"x": (values.view(np.uint32) >> 24).astype(np.uint8) & 0xBF, "x_format": "e4m3"}
        arrays["x_scale"] = 1 + np.abs(values[:3, :9])
    if kind.endswith("map"):
        arrays["expanded_idx_to_permuted_idx"] = np.array([[8, -1], [0, 3]], np.int32)
    result = tmp_path / "result.npz"
    path = tensors(**arrays, source="made up")
    assert main(["--device", "cpu", "--input", path, "--output", str(result)]) == 0
    text = capsys.readouterr().out
    assert f"{path} (made up)" in text.replace("\n  ", " ")
    assert f"{kind[:4]} [rows, 384] -> SwiGLU -> e4m3 [rows, 192]" in text

    expected = moe_act.gated_act_quant(**arrays)
    live = [0, 3, 8] if kind.endswith("map") else slice(None)
    with np.load(result) as delivered:
        np.testing.assert_array_equal(delivered["out"][live], expected.out[live])
        np.testing.assert_array_equal(delivered["out_scale"][:, live], expected.out_scale[:, live])


@pytest.mark.usefixtures("quick")
def test_default_sizes_end_in_time_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(run_module, "CPU_SECONDS", 0)
    path = tmp_path / "run.json"
    assert main(["--device", "cpu", "--hidden", "64", "--json", str(path)]) == 0
    assert "left out:  32 tokens, 256 tokens, " in capsys.readouterr().out
    figures = json.loads(path.read_text())
    assert len(figures["results"]) == 1 and len(figures["left_out"]) == 5


@pytest.mark.usefixtures("quick")
def test_large_sizes_are_sampled(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "cpu", "--tokens", "200", "--hidden", "64"]) == 0
    assert " 1,024 " in capsys.readouterr().out

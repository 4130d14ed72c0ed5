"""The operation on real pre-activations: the committed capture of a language model's feed-forward layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import devices
import ml_dtypes
import moe_act
import numpy as np
import pytest
from moe_act import oracle
from moe_act.__main__ import main

CAPTURE = Path(__file__).resolve().parents[2] / "bench" / "captures" / "minilm_ffn.npz"
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("device", DEVICES)
def test_real_bf16_conforms(device: str) -> None:
    with np.load(CAPTURE) as capture:
        arguments = {"x": capture["x"], "x_format": str(capture["x_format"]), "gate": str(capture["gate"])}
    assert CAPTURE.stat().st_size <= 1_000_000 and arguments["x"].shape == (256, 1536)
    out = np.empty((256, 768), np.uint8)
    if device == "cpu":
        _, out_scale = moe_act.gated_act_quant(**arguments, out=out)
    else:
        target = devices.to_cuda(out)
        x = devices.to_cuda(arguments["x"])
        scale = moe_act.gated_act_quant(**(arguments | {"x": x}), out=target).out_scale
        out, out_scale = devices.to_numpy(target), devices.to_numpy(scale)
    report = oracle.check(**arguments, out=out, out_scale=out_scale)
    assert report.ok, report.message
    assert report.differing <= report.elements // 10_000


def test_real_values_as_e4m3_conform() -> None:
    """Quantized per row and 128 columns, as the GEMM before it would deliver them."""
    with np.load(CAPTURE) as capture:
        values = capture["x"].view(ml_dtypes.bfloat16).astype(np.float32)
    blocks = values.reshape(256, 12, 128)
    x_scale = np.abs(blocks).max(axis=2) / np.float32(448)
    x = (blocks / x_scale[:, :, None]).reshape(256, 1536).astype(ml_dtypes.float8_e4m3fn)
    arguments: dict[str, Any] = {"x": x, "x_scale": np.ascontiguousarray(x_scale.T)}
    out, out_scale = moe_act.gated_act_quant(**arguments)
    report = oracle.check(**arguments, out=out, out_scale=out_scale)
    assert report.ok, report.message


def test_the_command_runs_on_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "cpu", "--input", str(CAPTURE)]) == 0
    assert "All results conform." in capsys.readouterr().out

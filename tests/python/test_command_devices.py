"""The command: which device and which runtime it takes."""

from __future__ import annotations

import moe_act
import pytest
from moe_act.__main__ import main
from moe_act.command import cuda, devices

SMALL = ["--tokens", "1", "5", "--hidden", "192", "--experts", "16", "--top-k", "2"]


@pytest.fixture
def gpu_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose GPU the library can use, but where nothing provides memory on it."""

    def unavailable() -> devices.Runtime:
        raise devices.Unavailable("this is not installed")

    monkeypatch.setattr(moe_act, "cuda_device_count", lambda: 1)
    monkeypatch.setattr(devices, "gpu_present", lambda: True)
    monkeypatch.setattr(cuda, "RUNTIMES", dict.fromkeys(cuda.RUNTIMES, unavailable))


@pytest.mark.usefixtures("quick", "gpu_without_memory")
def test_a_gpu_left_idle_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SMALL) == 0
    text = capsys.readouterr().out.replace("\n  ", " ")
    assert "on the CPU: nothing here provides memory on the GPU" in text
    assert 'pip install "moe_act[cuda]"' in text
    assert main([*SMALL, "--device", "cuda"]) == 2
    assert 'pip install "moe_act[cuda]"' in capsys.readouterr().err


@pytest.mark.skipif(moe_act.cuda_device_count() > 0, reason="there is a GPU")
def test_without_a_gpu_the_reason_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "cuda"]) == 2
    assert capsys.readouterr().err.startswith("moe_act: error: ")


@pytest.mark.gpu
@pytest.mark.parametrize("runtime", cuda.RUNTIMES)
def test_every_gpu_runtime(runtime: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        cuda.RUNTIMES[runtime]()
    except devices.Unavailable as error:
        pytest.skip(str(error))
    assert main(["--device", "cuda", "--runtime", runtime, "--tokens", "1", "33", "--hidden", "192"]) == 0
    assert "All results conform." in capsys.readouterr().out

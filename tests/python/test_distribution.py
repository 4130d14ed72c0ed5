"""What is handed out: the source distribution, and the wheel built from it, installed where nothing else is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WHEEL_BYTES = 8 << 20

pytest.importorskip("scikit_build_core")
pytestmark = pytest.mark.skipif(shutil.which("cmake") is None or shutil.which("c++") is None, reason="no compiler here")


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    build = f"from scikit_build_core.build import build_sdist; print(build_sdist({str(folder)!r}))"
    return folder / run(sys.executable, "-c", build, cwd=ROOT).split()[-1]


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of what every machine can build: no CUDA, no call for XLA. Its own build folder: a fresh build."""
    folder = tmp_path_factory.mktemp("wheel")
    command = (sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "-w", folder, sdist)
    parts = {"SKBUILD_CMAKE_DEFINE": "MOE_ACT_CUDA=OFF", "MOE_ACT_JAX": "OFF", "MOE_ACT_CUDA_FROM_WHEELS": "OFF"}
    run(*command, cwd=folder, SKBUILD_BUILD_DIR=str(folder / "build"), **parts)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.parametrize("asked", [True, False])
def test_a_compiler_from_wheels_is_required_when_asked_for(asked: bool) -> None:
    code = "from scikit_build_core.build import get_requires_for_build_wheel as ask; print(*ask(), sep='\\n')"
    required = run(sys.executable, "-c", code, cwd=ROOT, MOE_ACT_CUDA_FROM_WHEELS="1" if asked else "0").splitlines()
    assert ("cuda-toolkit[nvcc,cudart,cccl]==13.0.*" in required) is asked


def test_a_compiler_from_wheels_that_is_not_there(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    run(sys.executable, "-m", "venv", "--without-pip", bare, cwd=tmp_path)
    configure = ["cmake", "-S", ROOT, "-B", tmp_path / "build", "-DMOE_ACT_CUDA_FROM_WHEELS=ON"]
    configure.append(f"-DPython_EXECUTABLE={bare / 'bin' / 'python'}")
    refused = subprocess.run(configure, capture_output=True, text=True, timeout=300)
    assert refused.returncode != 0
    assert "has no cuda-toolkit[nvcc,cudart,cccl]==13.0.*" in " ".join(refused.stderr.split())


def test_the_source_distribution_is_complete(sdist: Path) -> None:
    """All that a user may want of a checkout: sources, tests, documentation; no files of past measurements."""
    with tarfile.open(sdist) as archive:
        name = sdist.name.removesuffix(".tar.gz")
        files = {member.name.removeprefix(f"{name}/") for member in archive if member.isfile()}
    for folder in ("cmake", "docs", "include", "python", "src", "tests"):
        present = {
            str(path.relative_to(ROOT))
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".so" and path.name[0] != "."
        }
        assert present <= files, folder
    assert {"CMakeLists.txt", "LICENSE", "README.md", "pyproject.toml", "PKG-INFO"} <= files
    assert not [file for file in files if file.startswith(("bench/results/", "build/", ".ci/"))]


def test_the_name_of_the_wheel(wheel: Path) -> None:
    """The stable interface of Python exists from 3.12 on: one wheel for it and all that follow."""
    name, version, python, abi, platform = wheel.stem.split("-")
    assert (name, version.count(".")) == ("moe_act", 2)
    own = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert (python, abi) == (("cp312", "abi3") if sys.version_info >= (3, 12) else (own, own))
    assert platform.startswith("linux_") or platform.startswith("manylinux")


def test_the_content_of_the_wheel(wheel: Path) -> None:
    assert wheel.stat().st_size <= WHEEL_BYTES
    with zipfile.ZipFile(wheel) as archive:
        files = archive.namelist()
    top = {file.partition("/")[0] for file in files}
    assert top == {"moe_act", "-".join(wheel.stem.split("-")[:2]) + ".dist-info"}
    libraries = sorted(Path(file).name.partition(".")[0] for file in files if file.endswith(".so"))
    assert libraries == ["_core", "libmoe_act"]
    assert not [file for file in files if file.endswith((".a", ".cpp", ".cu", ".pyc"))]


def test_the_wheel_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    """Nothing of this environment but NumPy is seen there, nor the checkout."""
    import numpy

    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=tmp_path)
    python = environment / "bin" / "python"
    (packages,) = environment.glob("lib/python*/site-packages")
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", packages, wheel, cwd=tmp_path)
    for part in Path(numpy.__file__).parent.parent.glob("numpy*"):
        (packages / part.name).symlink_to(part)
    code = """
import moe_act, numpy
print(moe_act.__file__)
print(moe_act.gated_act_quant(numpy.full((1, 8), 32, numpy.float32)).out.tolist())
"""
    file, out = run(python, "-I", "-W", "error", "-c", code, cwd=tmp_path).splitlines()
    assert Path(file).is_relative_to(packages)
    assert out == "[[126, 126, 126, 126]]"
    printed = run(python, "-I", "-m", "moe_act", "--cmakedir", cwd=tmp_path)
    assert Path(printed.strip()) == packages / "moe_act" / "lib" / "cmake" / "moe_act"

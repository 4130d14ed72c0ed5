"""The installed package as other builds and other systems meet it: folders, CMake package, shared libraries."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path

import moe_act
import pytest
from moe_act.__main__ import main

CONSUMERS = Path(__file__).resolve().parents[1] / "cpp"
PACKAGE = Path(moe_act._core.__file__).parent
LIBRARIES = [PACKAGE / "lib" / "libmoe_act.so", Path(moe_act._core.__file__)]

needs_cmake = pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake here")
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
needs_readelf = pytest.mark.skipif(shutil.which("readelf") is None, reason="no readelf here")


def output_of(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def folder(name: str) -> Path:
    """As a build script asks for it."""
    printed = output_of(sys.executable, "-m", "moe_act", f"--{name}")
    assert printed.count("\n") == 1
    return Path(printed.strip())


# --- folders


def test_folders() -> None:
    assert (folder("cmakedir") / "moe_actConfig.cmake").is_file()
    assert (folder("includedir") / "moe_act" / "c_api.h").is_file()
    assert (folder("includedir") / "moe_act" / "moe_act.hpp").is_file()
    assert (folder("libdir") / "libmoe_act.so").is_file()


def test_folders_are_asked_for_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["--libdir", "--cmakedir"])
    assert exit.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_the_entry_point_of_builds_under_scikit_build_core() -> None:
    """They load the module it names and search that module's folders as a CMake prefix."""
    (entry,) = (entry for entry in importlib.metadata.entry_points(group="cmake.prefix") if entry.name == "moe_act")
    assert entry.load() is moe_act


# --- consumers


@needs_cmake
@pytest.mark.parametrize("consumer", ["consumer_c", "consumer_cpp", "consumer_dlopen"])
def test_a_cmake_project_finds_it(consumer: str, tmp_path: Path) -> None:
    """The projects that tests/cpp builds against an install prefix, against the Python package."""
    source = CONSUMERS / consumer
    output_of(
        *("cmake", "-S", source, "-B", tmp_path, f"-Dmoe_act_DIR={folder('cmakedir')}"),
        *("-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF"),
    )
    output_of("cmake", "--build", tmp_path)
    assert output_of(tmp_path / "consumer").strip()


@needs_cmake
def test_a_cmake_prefix_is_enough(tmp_path: Path) -> None:
    """What the entry point adds to CMAKE_PREFIX_PATH."""
    configure = ("cmake", "-S", CONSUMERS / "consumer_c", "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={PACKAGE}")
    output_of(*configure)
    found = re.search(r"^moe_act_DIR:PATH=(.*)$", (tmp_path / "CMakeCache.txt").read_text(), re.MULTILINE)
    assert found is not None and Path(found[1]).samefile(folder("cmakedir"))


@needs_cmake
@pytest.mark.parametrize("version", ["0.2", "1.0"])
def test_another_version_is_not_found(version: str, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\n"
        "project(other LANGUAGES C)\n"
        f"find_package(moe_act {version} CONFIG REQUIRED)\n"
    )
    configure = ["cmake", "-S", tmp_path, "-B", tmp_path / "build", f"-Dmoe_act_DIR={folder('cmakedir')}"]
    refused = subprocess.run(configure, capture_output=True, text=True)
    assert refused.returncode != 0 and f'requested version "{version}"' in refused.stderr


@needs_compiler
def test_a_compiler_alone_is_enough(tmp_path: Path) -> None:
    program, libdir = tmp_path / "consumer", folder("libdir")
    flags = (f"-I{folder('includedir')}", f"-L{libdir}", "-lmoe_act", f"-Wl,-rpath,{libdir}")
    output_of("cc", "-std=c11", CONSUMERS / "consumer_c" / "main.c", "-o", program, *flags)
    assert "codes 7e f6 58 00, scale 1" in output_of(program)


@needs_cmake
def test_a_library_that_is_not_there(tmp_path: Path) -> None:
    output_of("cmake", "-S", CONSUMERS / "consumer_dlopen", "-B", tmp_path, f"-Dmoe_act_DIR={folder('cmakedir')}")
    output_of("cmake", "--build", tmp_path)
    missing = subprocess.run([tmp_path / "consumer", tmp_path / "libmoe_act.so"], capture_output=True, text=True)
    assert missing.returncode == 1 and missing.stderr.startswith("dlopen: ")


# --- shared libraries


# What Ubuntu 24.04 has: glibc 2.39, and the libstdc++, libgcc and libgomp of GCC 14.
NEWEST = {"GLIBC": "2.39", "GLIBCXX": "3.4.33", "CXXABI": "1.3.15", "GCC": "14.0.0", "GOMP": "5.0.1", "OMP": "5.0.2"}
# The C and C++ runtimes, and OpenMP's; cudart is static, the driver is loaded when it is there.
SYSTEM = {"libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1", "libgomp.so.1", "ld-linux-x86-64.so.2"}
SYSTEM |= {"libdl.so.2", "libpthread.so.0", "librt.so.1", "ld-linux-aarch64.so.1"}


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def too_new(listing: str) -> list[str]:
    """The symbol versions of `readelf --version-info` that Ubuntu 24.04 lacks."""
    needs = re.findall(r"Name: ([A-Z]+)_([0-9.]+) ", listing)
    assert needs, "no symbol versions found"
    return [f"{name}_{version}" for name, version in needs if numbers(version) > numbers(NEWEST[name])]


def dynamic(library: Path, tag: str) -> list[str]:
    return re.findall(rf"\({tag}\).*\[(.*)\]", output_of("readelf", "--dynamic", "--wide", library))


@needs_readelf
@pytest.mark.parametrize("library", LIBRARIES, ids=lambda path: path.name.partition(".")[0])
def test_symbol_versions(library: Path) -> None:
    """What was built here loads on Ubuntu 24.04."""
    assert too_new(output_of("readelf", "--version-info", "--wide", library)) == []


def test_symbol_versions_that_are_too_new_are_seen() -> None:
    needs = "Name: {} Flags: none  Version: 3"
    assert too_new("\n".join(map(needs.format, ("GLIBC_2.40", "GLIBC_2.4", "GLIBCXX_3.4.34")))) == [
        "GLIBC_2.40",
        "GLIBCXX_3.4.34",
    ]


@needs_readelf
def test_needed_libraries() -> None:
    """Neither CUDA's nor Python's; and the extension finds its neighbour wherever the package lies."""
    library, extension = LIBRARIES
    assert set(dynamic(library, "NEEDED")) <= SYSTEM
    assert set(dynamic(extension, "NEEDED")) <= SYSTEM | {"libmoe_act.so"}
    assert dynamic(library, "SONAME") == ["libmoe_act.so"]
    assert dynamic(extension, "RUNPATH") == ["$ORIGIN/lib"]
    assert dynamic(library, "RUNPATH") == dynamic(library, "RPATH") == []

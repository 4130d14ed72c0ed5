"""What importing the package costs and brings, seen in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import moe_act
import pytest

FRAMEWORKS = ("torch", "jax", "cupy", "ml_dtypes", "tensorflow", "triton", "cuda")


def child(code: str) -> str:
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return run.stdout.strip()


def test_importing_imports_no_framework() -> None:
    listed = child("import sys, moe_act; print(*sorted({name.partition('.')[0] for name in sys.modules}))").split()
    assert "moe_act" in listed and "numpy" in listed
    assert not set(listed) & set(FRAMEWORKS)


def test_importing_costs_little_more_than_numpy() -> None:
    """NumPy is the only other package; nothing that only the command line needs is loaded."""
    code = """
import sys, numpy
before = set(sys.modules)
import moe_act
print(*sorted(set(sys.modules) - before))
"""
    listed = set(child(code).split())
    assert {name.partition(".")[0] for name in listed} - sys.stdlib_module_names == {"moe_act"}
    assert not listed & {"argparse", "asyncio", "ctypes", "json", "subprocess", "unittest"}


def test_neither_does_using_it() -> None:
    """Nor are the oracle and the command line loaded by it."""
    code = """
import sys, numpy, moe_act
result = moe_act.gated_act_quant(numpy.ones((2, 256), numpy.float32))
str(moe_act.plan(numpy.ones((2, 256), numpy.float32)))
moe_act.cuda_device_count(), moe_act.build_info()
print(*sorted(sys.modules))
"""
    listed = set(child(code).split())
    assert not {name.partition(".")[0] for name in listed} & set(FRAMEWORKS)
    assert not {"moe_act.oracle", "moe_act.command"} & listed


def test_importing_prints_nothing() -> None:
    assert child("import moe_act") == ""


@pytest.mark.parametrize("name", moe_act.__all__)
def test_public_names_exist_and_say_what_they_are(name: str) -> None:
    assert (getattr(moe_act, name).__doc__ or "").strip()


def test_the_version() -> None:
    assert moe_act.__version__.count(".") == 2
    header = (Path(moe_act._core.__file__).parent / "include/moe_act/c_api.h").read_text(encoding="utf-8")
    for part, number in zip(("MAJOR", "MINOR", "PATCH"), moe_act.__version__.split("."), strict=True):
        assert f"#define MOE_ACT_VERSION_{part} {number}\n" in header


def test_the_installed_package_is_complete() -> None:
    """Types for type checkers; header, library and CMake package for C and C++."""
    assert (Path(moe_act.__file__).parent / "py.typed").is_file()
    package = Path(moe_act._core.__file__).parent
    for part in ("include/moe_act/c_api.h", "include/moe_act/moe_act.hpp", "lib/cmake/moe_act/moe_actConfig.cmake"):
        assert (package / part).is_file(), part
    assert [path.name for path in package.glob("lib/libmoe_act*")] == ["libmoe_act.so"]


def why_not_jax(before: str) -> str:
    """What importing moe_act.jax says after other code."""
    return child(f"{before}\ntry: import moe_act.jax\nexcept ImportError as error: print(error)")


def test_jax_says_what_is_missing() -> None:
    says = "moe_act.jax: expected jax >= 0.6: pip install 'jax>=0.6'"
    assert why_not_jax("import sys; sys.modules['jax'] = None") == says
    pytest.importorskip("jax")
    assert "this package was built without jax" in why_not_jax("import sys; sys.modules['moe_act._jax'] = None")
    pytest.importorskip("moe_act._jax")
    assert why_not_jax("") == ""
    old = "import jaxlib.version; jaxlib.version.__version_info__, jaxlib.version.__version__ = (0, 5, 3), '0.5.3'"
    assert "with whose headers this package was built, got 0.5.3" in why_not_jax(f"import jax; {old}")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_computes_too() -> None:
    """OpenMP's threads do not survive a fork; the child must not wait for them."""
    code = """
import os, signal, sys
import numpy as np, moe_act
x = np.ones((700, 1024), np.float32)
expected = moe_act.gated_act_quant(x).out.tobytes()
child = os.fork()
if child == 0:
    signal.alarm(20)
    os._exit(0 if moe_act.gated_act_quant(x).out.tobytes() == expected else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)

"""JAX for tests: the module under test, and arrays as NumPy's.

Importing this skips a test module where jax is not installed, or was not when the package was built.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # other tests need memory of the GPU, too
jax = pytest.importorskip("jax")
jax.config.update("jax_num_cpu_devices", 2)
moe_act_jax = pytest.importorskip("moe_act.jax", reason="built without jax", exc_type=ImportError)


def codes(array: Any) -> np.ndarray:
    """A JAX array as NumPy's, formats of a byte and bf16 as integers."""
    array = np.asarray(array)
    return array if array.dtype.kind in "fiu" else array.view({1: np.uint8, 2: np.uint16}[array.itemsize])


def same(first: Any, second: Any) -> bool:
    return first.shape == second.shape and codes(first).tobytes() == codes(second).tobytes()

"""The C interface of the installed library through ctypes: structs and enums as its header declares them."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Any

import moe_act
import numpy as np

_PACKAGE = Path(moe_act._core.__file__).parent
_HEADER = re.sub(r"/\*.*?\*/", "", (_PACKAGE / "include/moe_act/c_api.h").read_text(), flags=re.DOTALL)
_FIELD = re.compile(r"^\s*(?:const )?(\w+)\s*(\*?)\s*(\w+);\s*$", re.MULTILINE)

library = ctypes.CDLL(str(_PACKAGE / "lib/libmoe_act.so"))
library.moe_act_last_error.restype = ctypes.c_char_p

# MOE_ACT_FORMAT_FP32 -> 1, and so on
constants = {name: int(value) for name, value in re.findall(r"(MOE_ACT_\w+) = (-?\d+)", _HEADER)}


def _struct(name: str) -> type[ctypes.Structure]:
    declared = re.search(rf"typedef struct {name} {{(.*?)}} {name};", _HEADER, re.DOTALL)
    assert declared is not None, name
    fields = []
    for type_name, pointer, field in _FIELD.findall(declared[1]):
        kind = ctypes.c_void_p if pointer else getattr(ctypes, "c_" + type_name.removesuffix("_t"))
        fields.append((field, kind))
    return type(name, (ctypes.Structure,), {"_fields_": fields})


Problem = _struct("moe_act_problem")
Buffers = _struct("moe_act_buffers")
DeviceInfo = _struct("moe_act_device_info")
PlanInfo = _struct("moe_act_plan_info")
Tensor = _struct("moe_act_tensor")
Options = _struct("moe_act_options")
Tensors = _struct("moe_act_tensors")


def sized(struct: type[ctypes.Structure], **values: Any) -> Any:
    return struct(struct_size=ctypes.sizeof(struct), **values)


def last_error() -> str:
    return str(library.moe_act_last_error().decode())


def problem(rows: int, columns: int, x_format: str = "E4M3", out_format: str = "E4M3") -> Any:
    described = Problem()
    formats = constants["MOE_ACT_FORMAT_" + x_format], constants["MOE_ACT_FORMAT_" + out_format]
    sizes = ctypes.c_uint64(ctypes.sizeof(described)), *formats, ctypes.c_int64(rows), ctypes.c_int64(columns)
    assert library.moe_act_problem_init_sized(ctypes.byref(described), *sizes) == 0, last_error()
    return described


class Plan:
    """A plan for a problem; `status` is that of making it."""

    def __init__(self, described: Any) -> None:
        self.handle = ctypes.c_void_p()
        self.status = library.moe_act_plan_create(ctypes.byref(described), None, ctypes.byref(self.handle))

    def launch(self, buffers: Any) -> int:
        return int(library.moe_act_launch(self.handle, ctypes.byref(buffers), None, None))

    def __del__(self) -> None:
        library.moe_act_plan_destroy(self.handle)


def buffers(**arrays: np.ndarray | int | None) -> Any:
    """Arrays, or addresses, under their names."""
    pointers = {name: a.ctypes.data if isinstance(a, np.ndarray) else a for name, a in arrays.items()}
    return sized(Buffers, **pointers)

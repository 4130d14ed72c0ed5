"""Every axis along which calls of the operation differ, and which of their values cannot be together."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import cases
import covering
import numpy as np
from moe_act.oracle.activations import ACTIVATIONS, UNGATED
from moe_act.oracle.numerics import PRESETS
from scale_forms import FORMS, ScaleForm

ROWS = (
    "dense", "map", "prefix", "tile limits", "live tiles", "row to expert", "sorted ids", "sorted ids, by id",
    "offsets", "ends", "masked",
)  # fmt: skip
OUTPUTS = ("e4m3 block", "e5m2 block", "e4m3 row", "e5m2 row", "e4m3 tensor", "e5m2 tensor", "bf16", "fp16", "fp32")
LAYOUTS = tuple(dict.fromkeys((form.layout, form.format) for form in FORMS))
BLOCKS = (128, 64, 32)
GATES = ("second_half", "first_half", "interleaved 1", "interleaved 8", "interleaved 32")
NUMERICS = (*(name for name in PRESETS if name != "tilekernels"), "custom")
AXES: dict[str, tuple[Any, ...]] = {
    "rows": ROWS,
    "input": cases.INPUTS,
    "output": OUTPUTS,
    "x_layout": LAYOUTS,
    "x_block": BLOCKS,
    "out_layout": LAYOUTS,
    "out_block": BLOCKS,
    "rounding": (None, "power_of_two"),
    "activation": ACTIVATIONS,
    "parameters": ("none", "numbers", "per expert"),
    "gate": GATES,
    "bias": ("none", "fp32", "bf16"),
    "weight": (False, True),
    "numerics": NUMERICS,
    "copy": ("none", "bf16", "fp16", "fp32"),
    "index": (np.int32, np.int64),
    "padding": ("skip", "zero"),
    "capacity": (1, 37, 150),
    "columns": (1, 80, 192, 640),
    "odd": (False, True),
    "expected_rows": (None, 0, 1 << 40),
}


@dataclass(frozen=True)
class Combination:
    rows: str = "dense"
    input: str = "bf16"
    output: str = "e4m3 block"
    x_layout: tuple[str, str] = LAYOUTS[0]
    x_block: int = 128
    out_layout: tuple[str, str] = LAYOUTS[0]
    out_block: int = 128
    rounding: str | None = None
    activation: str = "swiglu"
    parameters: str = "none"
    gate: str = "second_half"
    bias: str = "none"
    weight: bool = False
    numerics: str = "flashinfer"
    copy: str = "none"
    index: Any = np.int32
    padding: str = "skip"
    capacity: int = 37
    columns: int = 192
    odd: bool = False
    expected_rows: int | None = None

    def __str__(self) -> str:
        plain, named = Combination(), {"rows", "input", "output"}
        text = f"{self.rows}, {self.input} -> {self.output}"
        for name, value in vars(self).items():
            if name not in named and value != getattr(plain, name):
                shown = "/".join(value) if isinstance(value, tuple) else getattr(value, "__name__", value)
                text += f", {name} {shown}"
        return text

    @property
    def x_form(self) -> ScaleForm:
        return ScaleForm(*self.x_layout, self.x_block)

    @property
    def out_form(self) -> ScaleForm:
        return ScaleForm(*self.out_layout, self.out_block)

    @property
    def gated(self) -> bool:
        return self.activation not in UNGATED

    @property
    def stored_columns(self) -> int:
        return (2 if self.gated else 1) * self.columns

    @property
    def needs_experts(self) -> bool:
        return self.bias != "none" or self.parameters == "per expert"


def excludes(name: str, value: Any, other: str, chosen: Any) -> bool:
    """Does `value` rule out, or make meaningless, that another axis has another value than its first?"""
    first = chosen == AXES[other][0]
    if name == "input":
        return other in ("x_layout", "x_block") and value != "e4m3" and not first
    if name == "output":
        scaled = "block" in value or "row" in value
        return not first and (
            (other in ("out_layout", "out_block") and "block" not in value)
            or (other == "rounding" and not scaled)
            or (other == "copy" and value in ("bf16", "fp16", "fp32"))
        )
    if name == "out_layout":
        return other == "rounding" and value[1] == "ue8m0" and not first
    if name == "rows":
        return other == "padding" and value in ("map", "sorted ids, by id") and not first
    if name == "gate":
        return other == "columns" and value.startswith("interleaved") and chosen % int(value.split()[1]) != 0
    if name == "activation":
        without = (other == "gate" and value in UNGATED) or (other == "parameters" and not value.startswith("swiglu"))
        return without and not first
    if name == "numerics" and value in PRESETS:
        mx = PRESETS[value].mx
        return (
            (other == "input" and chosen not in PRESETS[value].inputs)
            or (other == "output" and mx and "block" not in chosen)
            or (other == "out_layout" and mx and chosen[1] != "ue8m0")
            or (other == "out_block" and mx and chosen != 32)
        )
    return False


def sensible(case: Combination) -> Combination:
    """The same with the first value on every axis where another one of its values rules its own out."""
    for name, value in vars(case).items():
        for other, chosen in vars(case).items():
            if excludes(name, value, other, chosen):
                case = replace(case, **{other: AXES[other][0]})
    return case


@cache
def three_way() -> list[Combination]:
    """Cases in which every three axes have every combination of their values that can be."""
    return [Combination(**values) for values in covering.covering_array(covering.Space(AXES, excludes))]


def full_walk() -> list[Combination]:
    """Every row convention x input with its scales x output with its scales; the other axes at random."""
    rng, space = random.Random(11), covering.Space(AXES, excludes)
    plain = {"x_layout": LAYOUTS[0], "x_block": 128}
    inputs = [{"input": "e4m3", "x_layout": layout, "x_block": block} for layout in LAYOUTS for block in BLOCKS]
    inputs += [{"input": name} | plain for name in cases.INPUTS if name != "e4m3"]
    outputs = [
        {"output": output, "out_layout": layout, "out_block": block}
        for output in OUTPUTS for layout in LAYOUTS for block in BLOCKS
        if "block" in output or (layout, block) == (LAYOUTS[0], 128)
    ]  # fmt: skip
    walked = [{"rows": rows} | input | output for rows in ROWS for input in inputs for output in outputs]
    completed = (space.complete(space.numbers(**fixed), rng) for fixed in walked)
    return [Combination(**space.named(case)) for case in completed if case is not None]

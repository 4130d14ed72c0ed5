"""What Python calls in its own way: by position and by name, as signatures say, and what is refused."""

from __future__ import annotations

import copy
import gc
import inspect
import pickle
import pydoc
import re
import subprocess
import sys
import weakref
from collections.abc import Callable
from typing import Any, Literal, get_type_hints

import moe_act
import numpy as np
import pytest
from tensors import same_bytes

X = np.ones((4, 256), np.float32)
FUNCTIONS = {"gated_act_quant": moe_act.gated_act_quant, "plan": moe_act.plan}
CALLABLES: dict[str, Callable[..., Any]] = FUNCTIONS | {"run": moe_act.plan(X).run}


@pytest.mark.parametrize("name", ["gated_act_quant", "run"])
def test_accepted(name: str) -> None:
    """Whatever object a name is."""
    function = CALLABLES[name]
    expected = function(X).out
    built_name = "".join(["o", "ut"])  # not interned, as names in code are
    for arguments in ({"x": X}, {"x": X, built_name: np.zeros_like(expected)}, {"out_scale": None, "x": X}):
        assert same_bytes(function(**arguments).out, expected)
    assert same_bytes(function(X, None, validate=True).out, expected)


@pytest.mark.parametrize("name", CALLABLES)
def test_refused(name: str) -> None:
    refused: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("missing 1 required positional argument: 'x'", (), {"out": None}),
        ("got multiple values for argument 'x_scale'", (X, None), {"x_scale": None}),
        ("got an unexpected keyword argument 'gates'", (X,), {"gates": "first_half"}),
        ("takes from 1 to 2 positional arguments but 3 were given", (X, None, None), {}),
    ]
    for says, positional, named in refused:
        with pytest.raises(TypeError, match=f"^{re.escape(f'{name}() {says}')}$"):
            CALLABLES[name](*positional, **named)


FIRST_CALLS = """
import inspect, sys
import moe_act, numpy as np
x = np.ones((4, 256), np.float32)
plan = moe_act.plan(x)
bound = plan.bind(x)
for function in (moe_act.gated_act_quant, plan.run, plan.bind, bound.run):
    count = len(inspect.signature(function).parameters) + int(sys.argv[1])
    try:
        function(*[x] * count)
        print(function.__name__, count)
    except TypeError:
        pass
"""


@pytest.mark.parametrize("more", range(-1, 4))
def test_first_calls_with_too_many_values(more: int) -> None:
    """In a process of its own, where no call came before: whatever stands for none is no number of values."""
    child = [sys.executable, "-c", FIRST_CALLS, str(more)]
    done = subprocess.run(child, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_names_that_call_when_they_die() -> None:
    """Names may be any str: what the end of the last call's does must not be taken for this call."""

    class Name(str):
        def __del__(self) -> None:
            moe_act.gated_act_quant(x=X, x_scale=None, out=None, out_scale=None, static_scale=None, out_format="bf16")

    expected = moe_act.gated_act_quant(X).out
    for _ in range(3):
        assert same_bytes(moe_act.gated_act_quant(**{Name("x"): X}).out, expected)
        assert same_bytes(moe_act.gated_act_quant(x=X).out, expected)


def test_values_that_call_when_they_die() -> None:
    """Options' values, likewise."""

    class Format(str):
        def __del__(self) -> None:
            moe_act.gated_act_quant(X, out_format="fp32")

    for _ in range(3):
        assert moe_act.gated_act_quant(X, out_format=Format("fp32")).out.dtype == np.float32
        assert moe_act.gated_act_quant(X, out_format="fp16").out.dtype == np.float16


@pytest.mark.parametrize("name", ["gated_act_quant", "run"])
def test_the_names_of_the_call_before(name: str) -> None:
    """The same names, even the same tuple of them, as calls in one function share it, after others by position."""
    function = CALLABLES[name]
    out, other = function(X).out, function(X).out
    for _ in range(2):
        assert function(X, out=out).out is out
        assert function(X, None, out=other).out is other
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
            function(out=out)
        assert function(X, x_scale=None).out is not out
        with pytest.raises(TypeError, match="got multiple values for argument 'x_scale'"):
            function(X, None, x_scale=None)


def test_results_are_named_tuples() -> None:
    """In everything that Python knows of them, as if the class had been called."""
    out = np.zeros((4, 128), np.float32).__dlpack__()
    result = moe_act.gated_act_quant(X, out=out, out_format="fp32")
    assert type(result) is moe_act.Result and result == moe_act.Result(out, None) == (out, None)
    assert result.out is out and result.out_scale is None and len(result) == 2
    assert hash(result) == hash((out, None)) and gc.is_tracked(result)


def test_a_plan_that_none_is() -> None:
    with pytest.raises(TypeError, match=r"^self: expected a plan that moe_act\.plan made$"):
        moe_act.Plan.__new__(moe_act.Plan).run(X)
    with pytest.raises(TypeError, match="Plan"):
        moe_act.Plan.run(X, X)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CALLABLES)
def test_signatures_have_every_parameter(name: str) -> None:
    """Those that can be given are those that are shown: None is accepted for all of them, by name."""
    parameters = inspect.signature(CALLABLES[name]).parameters
    kinds = [parameter.kind.name for parameter in parameters.values()]
    assert kinds == ["POSITIONAL_OR_KEYWORD"] * 2 + ["KEYWORD_ONLY"] * (len(kinds) - 2)
    assert parameters["x"].default is inspect.Parameter.empty
    CALLABLES[name](X, **dict.fromkeys([name for name in parameters if name != "x"]))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_defaults_are_what_is_done(name: str) -> None:
    """What a call does without an argument, it does with the default that the signature shows."""
    parameters = inspect.signature(FUNCTIONS[name]).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items() if name != "x"}
    assert {"activation": "swiglu", "numerics": "flashinfer", "out_format": "e4m3"}.items() <= defaults.items()
    result, expected = FUNCTIONS[name](X, **defaults), FUNCTIONS[name](X)
    if isinstance(result, moe_act.Plan):
        assert result.problem == expected.problem
    else:
        assert same_bytes(result.out, expected.out) and same_bytes(result.out_scale, expected.out_scale)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_those_of_the_package(name: str) -> None:
    function = FUNCTIONS[name]
    assert inspect.isroutine(function) and function.__name__ == function.__qualname__ == name
    assert function.__module__ == "moe_act" and pickle.loads(pickle.dumps(function)) is function
    documented = inspect.getdoc(function)
    assert documented is not None and documented.startswith(("``silu(gate) * up``", "Decide once"))
    assert all(section in documented for section in ("\nArgs:\n    ", "\nReturns:\n    ", "\nRaises:\n    "))
    assert repr(function) == f"<function moe_act.{name}>" and copy.deepcopy(function) is function
    assert type("Class", (), {"method": function})().method is function  # not bound, as none of CPython's own are
    assert weakref.ref(function)() is function


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signatures_have_types(name: str) -> None:
    """Evaluated, so that help() shows the values that options have."""
    signature = inspect.signature(FUNCTIONS[name])
    assert signature.return_annotation is {"gated_act_quant": moe_act.Result, "plan": moe_act.Plan}[name]
    types = {parameter.name: parameter.annotation for parameter in signature.parameters.values()}
    assert inspect.Parameter.empty not in types.values() and not any(isinstance(kind, str) for kind in types.values())
    assert types["gate"] == Literal["second_half", "first_half", "interleaved"]
    assert types["x_block"] == Literal[32, 64, 128] | None
    assert get_type_hints(FUNCTIONS[name]) == types | {"return": signature.return_annotation}
    helped = pydoc.plain(pydoc.render_doc(FUNCTIONS[name]))
    # Since Python 3.13 each parameter of a long signature has a line.
    assert re.match(rf"Python Library Documentation: function in module moe_act\n\n{name}\(\s*x: Any,\s", helped)
    assert "gate: Literal['second_half', 'first_half', 'interleaved'] = 'second_half'" in helped
    assert str(inspect.getdoc(FUNCTIONS[name])).splitlines()[0] in helped


def test_functions_are_freed() -> None:
    """With what their attributes hold, themselves included."""
    function = moe_act._core.function("plan")
    function.itself = function
    freed = weakref.ref(function)
    del function
    gc.collect()
    assert freed() is None


def test_a_function_that_there_is_not() -> None:
    with pytest.raises(ValueError, match=r"^name: expected 'gated_act_quant' or 'plan', got 'gelu'$"):
        moe_act._core.function("gelu")

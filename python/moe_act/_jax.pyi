"""The call that XLA makes; the documented face is moe_act.jax."""

from typing import Any


def cpu_handler() -> Any: ...

def cuda_handler() -> Any: ...

def option_types() -> dict[str, type]:
    """The options that attributes can say, and by what."""

def jaxlib_version() -> str:
    """Of the headers that this was built with: the oldest it runs under."""

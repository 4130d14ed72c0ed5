"""Microseconds that were measured apart from this repository, on other machines of the same GPUs."""

from __future__ import annotations

from typing import TypeVar

# Of the reference system when its optimization was new, by (contender, tokens, cache); two are the ends of a range.
REFERENCE_SYSTEM: dict[str, dict[tuple[str, int, str], float | tuple[float, float]]] = {
    "H100": {
        ("before", 1, "hot"): 2.09,
        ("before", 32, "hot"): 6.1,
        ("before", 32, "cold"): 7.1,
        ("before", 256, "hot"): 40.6,
        ("before", 256, "cold"): 41.7,
        ("before", 1024, "cold"): 161,
        ("before", 4096, "cold"): 634,
        ("before", 16384, "cold"): 2530,
        ("reference", 1, "hot"): (1.8, 2.0),
        ("reference", 32, "hot"): 4.5,
        ("reference", 32, "cold"): 6.3,
        ("reference", 256, "hot"): 20.8,
        ("reference", 256, "cold"): 28.7,
        ("reference", 1024, "cold"): 102,
        ("reference", 4096, "cold"): 409,
        ("reference", 16384, "cold"): 1701,
    },
    "H200": {
        ("reference", 1, "hot"): 1.92,
        ("reference", 32, "hot"): 4.5,
        ("reference", 32, "cold"): 6.2,
        ("reference", 256, "hot"): 20.8,
        ("reference", 256, "cold"): 28.1,
        ("reference", 1024, "cold"): 99.9,
        ("reference", 4096, "cold"): 393,
        ("reference", 16384, "cold"): 1656,
    },
}

# Of torch.compile for bf16 to block-scaled e4m3, H = 2048, by rows.
TORCH_COMPILE: dict[str, dict[int, float]] = {
    "H100": {32: 1.98, 2048: 7.1, 8192: 30.0, 131072: 438},
    "H200": {32: 3.27, 2048: 7.1, 8192: 26.2, 131072: 373},
}

Key = TypeVar("Key")
Figure = TypeVar("Figure")


def published(figures: dict[str, dict[Key, Figure]], gpu: str) -> dict[Key, Figure]:
    """Those of the GPU, of which `gpu` is the whole name; none where there are none."""
    return next((found for name, found in figures.items() if name in gpu), {})

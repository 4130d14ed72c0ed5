"""What implementations of experts do to a layer's output: from results/experts/*.json."""

from __future__ import annotations

from typing import Any

from .markdown import source, table


def errors(result: dict[str, Any]) -> str:
    names = list(result["results"][0]["errors"])
    rows = [[each["experts"], *(f"{each['errors'][name]:.4f}" for name in names)] for each in result["results"]]
    environment = result["environment"]
    versions = f"torch {environment['torch']}, transformers {environment['transformers']}"
    return f"{source(environment)}, {versions}:\n\n{table(['experts', *names], rows, left=1)}"

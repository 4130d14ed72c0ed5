"""The pages' snippets run, and the support table is the installed library's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import moe_act
import numpy as np
import pytest
from moe_act.command import support

ROOT = Path(__file__).resolve().parents[2]
# What a page needs beside NumPy.
PAGES = {
    "README.md": "numpy",
    "docs/layouts.md": "numpy",
    "docs/torch.md": "torch",
    "docs/transformers.md": "transformers",
}


def snippets_of(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


SNIPPETS = [
    pytest.param(snippet, needed, id=f"{page}-{number}")
    for page, needed in PAGES.items()
    for number, snippet in enumerate(snippets_of(page))
]


@pytest.mark.parametrize(("snippet", "needed"), SNIPPETS)
def test_snippets_run(snippet: str, needed: str) -> None:
    pytest.importorskip(needed)
    names: dict[str, Any] = {}
    exec(snippet, names)


def test_every_call_that_replaces_a_peers_runs() -> None:
    """One page, one after the other: later snippets use what the first made."""
    names: dict[str, Any] = {}
    snippets = snippets_of("docs/coming_from.md")
    assert sum("gated_act_quant(" in snippet for snippet in snippets) >= 8
    for snippet in snippets:
        exec(snippet, names)


def test_the_page_is_current() -> None:
    page = (ROOT / "docs/support.md").read_text()
    assert page[page.index("## ") :].strip() == support.markdown().strip(), "python -m moe_act info --markdown"


def test_the_table_asks_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that supported less would have another table."""
    expected = support.tables("cpu")

    def refuses_masked(*arguments: Any, **options: Any) -> Any:
        if isinstance(options.get("rows"), moe_act.rows.Masked):
            raise NotImplementedError("rows: masked has no kernel")
        return plan(*arguments, **options)

    plan = moe_act.plan
    support.why_not.cache_clear()
    support.why_no_activation.cache_clear()
    monkeypatch.setattr(moe_act, "plan", refuses_masked)
    for before, after in zip(expected, support.tables("cpu"), strict=True):
        for cells, refused in zip(before.cells, after.cells, strict=True):
            if before.columns[-1] == "masked":
                assert refused[-1] == "-" and cells[:-1] == refused[:-1]
            else:
                assert refused == cells
    support.why_not.cache_clear()
    support.why_no_activation.cache_clear()


def test_what_is_not_supported_says_why() -> None:
    reason = support.why_not("expanded to permuted", "bf16", "bf16", padding="zero")
    assert "padding: 'zero' needs rows whose padding can be identified" in reason and "'skip'" in reason
    x = np.zeros((1, 256), np.float32)
    with pytest.raises(NotImplementedError, match=r"e2m1 output has no kernel; supported: 'fp32'.*'e4m3', 'e5m2'"):
        moe_act.gated_act_quant(x, out_format="e2m1")  # type: ignore[arg-type]

"""The pages' snippets run, and the support table is the installed library's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import moe_act
import numpy as np
import pytest
from moe_act.command import support

ROOT = Path(__file__).resolve().parents[2]
# Pages, and whether later snippets use what earlier ones made.
PAGES = {"README.md": False, "docs/layouts.md": False, "docs/coming_from.md": True}
RUN_SNIPPETS = r"""
import re, sys
_, page, shared = sys.argv
names = {}
for number, snippet in enumerate(re.findall(r"```python\n(.*?)```", open(page, encoding="utf-8").read(), re.DOTALL)):
    exec(compile(snippet, f"snippet {number}", "exec"), names if shared == "True" else {})
print(number + 1, "snippets")
"""


@pytest.mark.parametrize("page", PAGES)
def test_snippets_run(page: str) -> None:
    """In a process that has imported nothing else."""
    command = [sys.executable, "-W", "error", "-c", RUN_SNIPPETS, str(ROOT / page), str(PAGES[page])]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.endswith(" snippets\n")


def test_every_peer_has_its_call() -> None:
    page = (ROOT / "docs/coming_from.md").read_text(encoding="utf-8")
    assert page.count("gated_act_quant(") >= 8


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

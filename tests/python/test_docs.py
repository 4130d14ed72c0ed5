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
SNIPPETS = [
    pytest.param(snippet, module, id=f"{page}-{number}")
    for page, module in {"README.md": "moe_act", "docs/layouts.md": "moe_act", "docs/jax.md": "moe_act.jax"}.items()
    for number, snippet in enumerate(re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL))
]


@pytest.mark.parametrize(("snippet", "module"), SNIPPETS)
def test_snippets_run(snippet: str, module: str) -> None:
    pytest.importorskip(module, exc_type=ImportError)
    names: dict[str, Any] = {}
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
    monkeypatch.setattr(moe_act, "plan", refuses_masked)
    for (_, _, before), (_, _, after) in zip(expected, support.tables("cpu"), strict=True):
        assert set(after[-1]) == {"-"} and before[:-1] == after[:-1]
    support.why_not.cache_clear()


def test_what_is_not_supported_says_why() -> None:
    reason = support.why_not("expanded to permuted", "bf16", "bf16", padding="zero")
    assert "padding: 'zero' needs rows whose padding can be identified" in reason and "'skip'" in reason
    x = np.zeros((1, 256), np.float32)
    with pytest.raises(NotImplementedError, match=r"e2m1 output has no kernel; supported: 'fp32'.*'e4m3', 'e5m2'"):
        moe_act.gated_act_quant(x, out_format="e2m1")  # type: ignore[arg-type]

"""The pages' snippets run, what is generated is current, and the support table is the installed library's."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import moe_act
import numpy as np
import pytest
from moe_act.command import support
from moe_act.numerics import PresetName

ROOT = Path(__file__).resolve().parents[2]
NEEDS_GPU = {"docs/cupy.md"}
CONTINUED = {"docs/coming_from.md"}  # later snippets use what earlier ones made
WITHOUT_PROGRAMS = {"docs/api.md"}
PAGES = [
    pytest.param(page, marks=pytest.mark.gpu if page in NEEDS_GPU else ())
    for page in ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
    if page not in WITHOUT_PROGRAMS and "```python\n" in (ROOT / page).read_text(encoding="utf-8")
]
RUN_SNIPPETS = r"""
import re, sys
_, page, continued = sys.argv
names = {}
for number, snippet in enumerate(re.findall(r"```python\n(.*?)```", open(page, encoding="utf-8").read(), re.DOTALL)):
    exec(compile(snippet, f"snippet {number}", "exec"), names if continued == "True" else {})
print(number + 1, "snippets")
"""


@pytest.mark.parametrize("page", PAGES)
def test_snippets_run(page: str) -> None:
    """In a process that has imported nothing else."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for module in {
        *re.findall(r"^import (\w+)", text, re.MULTILINE),
        *re.findall(r"^import.*\b(moe_act\.\w+)", text, re.MULTILINE),
    }:
        pytest.importorskip(module, exc_type=ImportError)
    command = [sys.executable, "-W", "error", "-c", RUN_SNIPPETS, str(ROOT / page), str(page in CONTINUED)]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.endswith(" snippets\n")


# The numerics in which each section calls; those of the default, which needs no name, are None.
PEERS: dict[str, set[str | None]] = {
    "FlashInfer and TensorRT-LLM: block-FP8 activation": {None},
    "FlashInfer: CUTLASS MoE activation with bias": {None},
    "DeepGEMM and TileKernels": {"deepgemm"},
    "vLLM: per-block quantization": {"vllm_block"},
    "vLLM: persistent masked kernel": {"vllm_masked", None},
    "SGLang": {"sglang"},
    "LMDeploy": {"lmdeploy"},
    "Transformer Engine": {"te_mxfp8", None},
    "gpt-oss": {None},
}


def numerics_of_calls(snippets: str) -> set[str | None]:
    calls = (node for node in ast.walk(ast.parse(snippets)) if isinstance(node, ast.Call))
    options = [
        {keyword.arg: keyword.value for keyword in call.keywords}
        for call in calls
        if ast.unparse(call.func) == "moe_act.gated_act_quant"
    ]
    given = [given["numerics"] if "numerics" in given else ast.Constant(None) for given in options]
    presets = [value.args[0] if isinstance(value, ast.Call) else value for value in given]  # of moe_act.Numerics
    return {ast.literal_eval(preset) for preset in presets}


def test_every_peer_has_its_call() -> None:
    page = (ROOT / "docs/coming_from.md").read_text(encoding="utf-8")
    _, *parts = re.split("^## ", page, flags=re.MULTILINE)
    sections = {part.splitlines()[0]: part for part in parts}
    assert sections.keys() == PEERS.keys()
    called = {
        peer: numerics_of_calls("\n".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL)))
        for peer, section in sections.items()
    }
    assert called == PEERS
    same_as_deepgemm = {"tilekernels"}
    assert set.union(*PEERS.values()) - {None} == {*get_args(PresetName)} - {"flashinfer"} - same_as_deepgemm
    assert '`numerics="tilekernels"` says so' in sections["DeepGEMM and TileKernels"]


def generate(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, root / "docs/generate.py", "--check"], capture_output=True, text=True)


def test_generated_pages_are_current() -> None:
    checked = generate(ROOT)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    ("file", "page"),
    [
        ("python/moe_act/_face.py", "docs/api.md"),
        ("python/moe_act/_core.pyi", "docs/api.md"),
        ("tests/cpp/consumer_c/main.c", "docs/cpp.md"),
    ],
)
def test_generated_pages_that_are_stale_are_seen(file: str, page: str, tmp_path: Path) -> None:
    for folder in ("docs", "python/moe_act", "tests/cpp"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.so", "*.svg"))
    source = tmp_path / file
    source.write_text(source.read_text().replace("tensors", "arrays").replace("launch(", "start("))
    checked = generate(tmp_path)
    assert (checked.returncode, checked.stderr) == (1, f"{page} is not current: run python docs/generate.py\n")


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

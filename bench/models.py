"""What everything beyond SwiGLU in the default numerics costs, on a GPU:

    python bench/models.py --json FILE [--quick]

Dense rows to block-scaled e4m3, each model in turns with plain SwiGLU of the same rows. One set of tensors: small sizes
stay in L2, the largest come from memory.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import moe_act
import torch
from environment import commit, date
from frameworks.timing import QUICK, THOROUGH, GraphClock, rotated_medians

SIZES = ((32, 2880), (2048, 2880), (32768, 2880), (32768, 2048))
EXPERTS, TILE = 32, 8
GPT_OSS = {"gate": "interleaved", "alpha": 1.702, "beta": 1.0, "limit": 7.0}
MODELS: dict[str, dict[str, Any]] = {
    "swiglu": {},
    "gpt-oss": GPT_OSS,
    "gpt-oss, bias": GPT_OSS | {"bias": True},
    "geglu": {"activation": "geglu"},
    "geglu_tanh": {"activation": "geglu_tanh"},
    "situ": {"activation": "situ", "gate_bound": 4.0, "up_bound": 25.0},
    "routing weight": {"weight": True},
    "unquantized copy, bf16": {"out_unquantized": True},
    "deepgemm": {"numerics": "deepgemm"},
    "vllm_masked": {"numerics": "vllm_masked"},
    "sglang": {"numerics": "sglang"},
    "te_mxfp8": {"numerics": "te_mxfp8", "out_scale_layout": "swizzled_128x4"},
}
INPUTS = {"bf16": torch.bfloat16, "e4m3": torch.float8_e4m3fn}
ROUNDS_PRODUCTS = ("vllm_masked", "sglang", "te_mxfp8")  # to a 16-bit input's format


def call_of(model: dict[str, Any], x: torch.Tensor, x_scale: torch.Tensor | None, columns: int) -> Any:
    """A call into given memory."""
    rows, options = len(x), dict(model)
    if options.pop("bias", False):
        options["bias"] = torch.randn(EXPERTS, 2 * columns, device="cuda", dtype=torch.bfloat16)
        tiles = torch.randint(0, EXPERTS, (rows // TILE,), device="cuda", dtype=torch.int32)
        options["rows"] = moe_act.rows.Dense(tile_to_expert=tiles, tile_tokens=TILE)
    if options.pop("weight", False):
        options["weight"] = torch.rand(rows, device="cuda")
    if options.pop("out_unquantized", False):
        options["out_unquantized"] = torch.empty(rows, columns, device="cuda", dtype=torch.bfloat16)
    out, out_scale = moe_act.gated_act_quant(x, x_scale, **options)
    return lambda: moe_act.gated_act_quant(x, x_scale, out=out, out_scale=out_scale, **options)


def measure(input: str, rows: int, columns: int, effort: Any) -> dict[str, Any]:
    x = torch.randn(rows, 2 * columns, device="cuda").to(INPUTS[input])
    blocks = -(-2 * columns // 128)
    x_scale = torch.rand(blocks, rows, device="cuda") if input == "e4m3" else None
    names = [name for name in MODELS if input == "bf16" or name not in ROUNDS_PRODUCTS]
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        calls = [call_of(MODELS[name], x, x_scale, columns) for name in names]
    clock = GraphClock(stream)
    medians = rotated_medians([clock.turn([call], effort.turn_microseconds) for call in calls], effort.rounds)
    times = dict(zip(names, medians, strict=True))
    print(f"{input} [{rows}, 2 x {columns}]: " + ", ".join(f"{n} {t:.2f}" for n, t in times.items()), flush=True)
    return {"input": input, "rows": rows, "columns": columns, "microseconds": times}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    effort = (QUICK if options.quick else THOROUGH)["cuda"]
    environment = {"gpu": torch.cuda.get_device_name(), "commit": commit(), "date": date()}
    results = [measure(input, rows, columns, effort) for input in INPUTS for rows, columns in SIZES]
    options.json.write_text(json.dumps({"environment": environment, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()

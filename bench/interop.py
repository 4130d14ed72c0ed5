"""How the library gets on with frameworks: what calls cost, what is checked by torch, captured, refused and consumed:

    python bench/interop.py --json FILE [--device cuda|cpu]

Every check has an outcome: "ok" with its figures, "absent" where a package is not installed, "one GPU" where two would
be needed, "failed" with the reason. Exit status 1 if one failed. Nanoseconds are medians of batches, in turns.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import interop_calls
import interop_graphs
import moe_act
import numpy as np
from environment import commit, date
from moe_act import oracle
from moe_act.command.devices import CpuRuntime

Check = Callable[[], dict[str, Any]]
PACKAGES = ("numpy", "torch", "jax", "transformers", "ml_dtypes")
IMPORTS = """
import sys, time, numpy
before = set(sys.modules)
begin = time.perf_counter()
import moe_act
seconds = time.perf_counter() - begin
names = {name.partition(".")[0] for name in set(sys.modules) - before}
print(seconds, *sorted(names - sys.stdlib_module_names))
"""


class OneGpu(Exception):
    """Two would be needed."""


def outcome(check: Check) -> dict[str, Any]:
    """What became of a check."""
    try:
        return {"outcome": "ok", **check()}
    except ImportError as error:
        return {"outcome": "absent", "reason": str(error)}
    except OneGpu:
        return {"outcome": "one GPU"}
    except Exception as error:
        return {"outcome": "failed", "reason": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"}


def calls(device: str) -> list[dict[str, Any]]:
    """Of every framework that has such tensors on the device."""
    found, results = [], []
    for framework, make in interop_calls.FRAMEWORKS.items():
        try:
            found += list(make(device))
        except (ImportError, RuntimeError) as error:  # jax says so where it sees no GPU
            reason = str(error).partition("\n")[0]
            results.append({"check": f"{framework}, results given", "outcome": "absent", "reason": reason})
    nanoseconds = interop_calls.measure(found)
    return [{"check": name, "outcome": "ok", "nanoseconds": each} for name, each in nanoseconds.items()] + results


def opcheck(overload: str, device: str) -> dict[str, Any]:
    """torch's own checks of an operator: schema, autograd, fake tensors, ahead-of-time dispatch. fp8 results are given
    as integer views, for torch compares none."""
    import moe_act.torch  # noqa: F401 - registers the operators
    import torch

    operator = torch.ops.moe_act.gated_act_quant
    x = torch.randn(36, 512, dtype=torch.bfloat16, device=device)
    given: dict[str, Any] = {}
    if overload.endswith("out"):
        result = operator.default(x)
        given = {"out": result[0].view(torch.uint8), "out_scale": result[1]}
    inputs = (x, None) if overload == "plain_out" else (x,)  # it has no defaults before its results
    passed = torch.library.opcheck(getattr(operator, overload), inputs, given)
    return {"passed": sorted(name for name, said in passed.items() if said == "SUCCESS")}


def device_guard() -> dict[str, Any]:
    """Tensors of the second GPU while the first is current: the same bits, and the first stays current."""
    import torch

    if torch.cuda.device_count() < 2:
        raise OneGpu
    torch.cuda.set_device(0)
    x = torch.randn(33, 640, device="cuda:1")
    result, expected = moe_act.gated_act_quant(x), moe_act.gated_act_quant(x.to("cuda:0"))
    same = torch.equal(result.out.view(torch.uint8).cpu(), expected.out.view(torch.uint8).cpu())
    if not same or not torch.equal(result.out_scale.cpu(), expected.out_scale.cpu()):
        raise AssertionError("other bits on the second GPU")
    if torch.cuda.current_device() != 0 or result.out.device != x.device:
        raise AssertionError("the current device or that of the results is another")
    kept = expected.out.view(torch.uint8).clone()
    try:
        moe_act.gated_act_quant(x, out=expected.out)
    except ValueError as error:
        if torch.equal(kept, expected.out.view(torch.uint8)):
            return {"refusal": str(error)}
    raise AssertionError("tensors of two devices were not refused")


def stream_of_another_device() -> dict[str, Any]:
    """CUDA itself would run the kernel on the stream's device."""
    import torch

    if torch.cuda.device_count() < 2:
        raise OneGpu
    x = torch.randn(33, 640, device="cuda:0")
    result = moe_act.gated_act_quant(x)
    result.out.view(torch.uint8).zero_()
    torch.cuda.synchronize()
    try:
        moe_act.gated_act_quant(x, out=result.out, out_scale=result.out_scale, stream=torch.cuda.Stream("cuda:1"))
    except ValueError as error:
        torch.cuda.synchronize()
        if not result.out.view(torch.uint8).any():
            return {"refusal": str(error)}
    raise AssertionError("a stream of another device was not refused")


def numpy_consumer() -> dict[str, Any]:
    """Codes times scales times weights in float64, beside the same without quantization."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((64, 1024), dtype=np.float32)
    weights = generator.standard_normal((512, 256)) / 512**0.5
    out, out_scale = moe_act.gated_act_quant(x)
    values = oracle.decode(out, "e4m3") * np.repeat(out_scale, 128, axis=0).T
    up, gate = np.split(x.astype(np.float64), 2, axis=1)
    exact = gate / (1 + np.exp(-gate)) * up @ weights
    return {"relative_error": round(float(np.linalg.norm(values @ weights - exact) / np.linalg.norm(exact)), 5)}


def scaled_matmul(device: str) -> dict[str, Any]:
    """torch's block-wise GEMM on our codes and scales as they are; elsewhere than on Hopper the same dequantized."""
    import torch
    from moe_act import transformers as consumer

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 1024, generator=generator).to(device, torch.bfloat16)
    weights = (torch.randn(1, 256, 512, generator=generator) / 512**0.5).to(device, torch.bfloat16)
    quantized = consumer.quantize_blocks(weights)
    ends = torch.tensor([64], dtype=torch.int32, device=device)
    out, out_scale = moe_act.gated_act_quant(x)
    product = consumer._block_fp8_linear(out, out_scale, quantized, ends, torch.bfloat16)
    up, gate = x.double().chunk(2, dim=1)
    exact = (torch.nn.functional.silu(gate) * up) @ weights[0].double().t()
    gemm = "torch.nn.functional.scaled_mm" if consumer._has_scaled_matmul(quantized.codes) else "dequantized"
    return {"relative_error": round(float((product.double() - exact).norm() / exact.norm()), 5), "gemm": gemm}


def expert_block(device: str) -> dict[str, Any]:
    """Both GEMMs of Mixtral's experts, bf16 and with the second in block-scaled fp8, beside float64."""
    import experts

    errors = experts.measure("mixtral", device)["errors"]
    return {"relative_error": round(errors["moe_act_block_fp8"], 5), "relative_error_bf16": round(errors["moe_act"], 5)}


def importing() -> dict[str, Any]:
    """What `import moe_act` takes and brings where NumPy is there already, in processes of their own."""
    answers = [subprocess.check_output([sys.executable, "-c", IMPORTS], text=True).split() for _ in range(7)]
    if any(packages != ["moe_act"] for _, *packages in answers):
        raise AssertionError(f"importing brings {answers[0][1:]}")
    return {"milliseconds": round(statistics.median(float(answer[0]) for answer in answers) * 1e3, 2)}


def checks(device: str) -> Iterator[tuple[str, Check]]:
    on_cuda = device == "cuda"
    for overload in ("default", "out", "plain", "plain_out"):
        for each in ("cpu", "cuda") if on_cuda else ("cpu",):
            yield f"opcheck on {each}, {overload}", partial(opcheck, overload, each)
    if on_cuda:
        for pdl in ("off", "on"):
            yield f"CUDA graph of torch, pdl={pdl}", partial(interop_graphs.by_torch, pdl)
            yield f"CUDA graph of CuPy, pdl={pdl}", partial(interop_graphs.by_cupy, pdl)
        yield "second GPU while the first is current", device_guard
        yield "stream of the second GPU for tensors of the first", stream_of_another_device
    yield "NumPy multiplies codes and scales", numpy_consumer
    yield "torch's block-wise GEMM", partial(scaled_matmul, device)
    yield "experts of transformers, second GEMM in fp8", partial(expert_block, device)
    yield "import moe_act, beyond NumPy", importing


def environment(device: str) -> dict[str, Any]:
    if device == "cuda":
        from gpu import environment as of_gpu

        facts = of_gpu()
    else:
        facts = {"cpu": CpuRuntime().facts["name"], "commit": commit(), "date": date()}
    installed = {found.metadata["Name"]: found.version for found in importlib.metadata.distributions()}
    names = [*PACKAGES, *(name for name in installed if name and name.startswith("cupy"))]
    return {**facts, "packages": {name: installed[name] for name in names if name in installed}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="the file to write")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    options = parser.parse_args()
    results = calls(options.device)
    results += [{"check": name, **outcome(check)} for name, check in checks(options.device)]
    for result in results:
        print(*(f"{value}" for value in result.values()), sep="  ")
    document = {"environment": environment(options.device), "results": results}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document, indent=1) + "\n")
    return int(any(result["outcome"] == "failed" for result in results))


if __name__ == "__main__":
    sys.exit(main())

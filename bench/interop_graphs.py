"""CUDA graphs of launches, captured by torch and by CuPy: what replays deliver, and what the driver says is in them."""

from __future__ import annotations

import ctypes
from typing import Any

import moe_act

LAUNCHES = 3
KERNEL_NODE, PROGRAMMATIC_EDGE = 0, 1  # of CUgraphNodeType and of CUgraphDependencyType


class EdgeData(ctypes.Structure):
    _fields_ = (
        ("from_port", ctypes.c_ubyte),
        ("to_port", ctypes.c_ubyte),
        ("type", ctypes.c_ubyte),
        ("reserved", ctypes.c_ubyte * 5),
    )


def contents(graph: int | None) -> dict[str, Any]:
    """Nodes, kernel nodes and programmatic edges of a captured graph; None: its framework does not show it."""
    if not graph:
        return {"kernel_nodes": None, "programmatic_edges": None}
    driver = ctypes.CDLL("libcuda.so.1")

    def call(name: str, *arguments: Any) -> None:
        status = getattr(driver, name)(*arguments)
        if status != 0:
            raise RuntimeError(f"{name}: CUresult {status}")

    handle, count = ctypes.c_void_p(graph), ctypes.c_size_t()
    call("cuGraphGetNodes", handle, None, ctypes.byref(count))
    nodes = (ctypes.c_void_p * count.value)()
    call("cuGraphGetNodes", handle, nodes, ctypes.byref(count))
    kernels = 0
    for node in nodes:
        kind = ctypes.c_int()
        call("cuGraphNodeGetType", ctypes.c_void_p(node), ctypes.byref(kind))
        kernels += kind.value == KERNEL_NODE
    # Edges with data are in the driver from CUDA 12.3 on.
    call("cuGraphGetEdges_v2", handle, None, None, None, ctypes.byref(count))
    begins, ends = (ctypes.c_void_p * count.value)(), (ctypes.c_void_p * count.value)()
    data = (EdgeData * count.value)()
    call("cuGraphGetEdges_v2", handle, begins, ends, data, ctypes.byref(count))
    edges = sum(each.type == PROGRAMMATIC_EDGE for each in data)
    return {"nodes": len(nodes), "kernel_nodes": kernels, "programmatic_edges": edges}


def by_torch(pdl: str) -> dict[str, Any]:
    """A chain of launches, replayed for values that were written after the capture."""
    import torch

    x = torch.randn(64, 512, device="cuda")
    out, out_scale = torch.zeros(64, 256, dtype=torch.uint8, device="cuda"), torch.zeros(2, 64, device="cuda")
    call: dict[str, Any] = {"x": x, "out": out, "out_scale": out_scale, "pdl": pdl}
    moe_act.gated_act_quant(**call)
    torch.cuda.synchronize()
    try:
        graph, is_shown = torch.cuda.CUDAGraph(keep_graph=True), True
    except TypeError:  # of before torch 2.8
        graph, is_shown = torch.cuda.CUDAGraph(), False
    with torch.cuda.graph(graph):
        for _ in range(LAUNCHES):
            moe_act.gated_act_quant(**call)
    found = contents(graph.raw_cuda_graph() if is_shown else None)
    for seed in range(3):
        x.copy_(torch.randn(64, 512, generator=torch.Generator().manual_seed(seed)))
        out.fill_(0x7F)
        graph.replay()
        torch.cuda.synchronize()
        eager = moe_act.gated_act_quant(x)
        if not (torch.equal(out, eager.out.view(torch.uint8)) and torch.equal(out_scale, eager.out_scale)):
            raise AssertionError("a replay delivers other bits than a call")
    return checked(found, pdl)


def by_cupy(pdl: str) -> dict[str, Any]:
    """The same through CuPy's streams."""
    import cupy

    x = cupy.random.default_rng(0).standard_normal((64, 512), dtype=cupy.float32)
    out, out_scale = cupy.zeros((64, 256), "uint8"), cupy.zeros((2, 64), "float32")
    call: dict[str, Any] = {"x": x, "out": out, "out_scale": out_scale, "pdl": pdl}
    moe_act.gated_act_quant(**call)
    cupy.cuda.get_current_stream().synchronize()
    with cupy.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        for _ in range(LAUNCHES):
            moe_act.gated_act_quant(**call)
        graph = stream.end_capture()
        found = contents(getattr(graph, "graph", None))
        for seed in range(3):
            x[...] = cupy.random.default_rng(seed).standard_normal((64, 512), dtype=cupy.float32)
            out.fill(0x7F)
            graph.launch()
            eager = moe_act.gated_act_quant(x)
            stream.synchronize()
            if not ((out == eager.out).all() and (out_scale == eager.out_scale).all()):
                raise AssertionError("a replay delivers other bits than a call")
    return checked(found, pdl)


def checked(found: dict[str, Any], pdl: str) -> dict[str, Any]:
    """One kernel for each launch, nothing else, and programmatic edges between them if that was asked for."""
    edges = LAUNCHES - 1 if pdl != "off" else 0
    if found["kernel_nodes"] is not None and found != {
        "nodes": LAUNCHES,
        "kernel_nodes": LAUNCHES,
        "programmatic_edges": edges,
    }:
        raise AssertionError(f"expected {LAUNCHES} kernels and {edges} programmatic edges, got {found}")
    return found

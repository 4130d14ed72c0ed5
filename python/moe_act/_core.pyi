"""
The compiled part of moe_act; the documented face is the package itself.
"""

from collections.abc import Callable
from typing import Any

from moe_act._frameworks import Result, RowConvention


class DeviceInfo:
    """A GPU, as far as planning is concerned."""

    def __init__(self, *, multiprocessors: int, compute_capability: tuple[int, int], memory_gigabytes_per_second: int = 0, l2_bytes: int = 0) -> None: ...

    @property
    def multiprocessors(self) -> int: ...

    @property
    def compute_capability(self) -> tuple[int, int]: ...

    @property
    def memory_gigabytes_per_second(self) -> int: ...

    @property
    def l2_bytes(self) -> int: ...

    def __repr__(self) -> str: ...

class Plan:
    """
    Everything that was decided about running one problem; made once, run often.
    """

    def __str__(self) -> str: ...

    @property
    def problem(self) -> dict[str, Any]:
        """
        What the plan is for: formats, sizes, strides in elements, promised alignments in bytes.
        """

    @property
    def schedule(self) -> str:
        """
        How work is laid over warps: "rows", "tiles", "sparse", "loop", "list", "segments", "span" or "entry"; "" on the CPU.
        """

    @property
    def grid(self) -> tuple[int, int, int]:
        """CTAs in x, y and z; (0, 0, 0) on the CPU."""

    @property
    def rows_per_cta(self) -> int:
        """Rows that a CTA has in hand at once."""

    @property
    def units_per_cta(self) -> int:
        """
        Rows or map entries that a CTA answers for; "sparse": that the CTAs of the grid's z share.
        """

    @property
    def warps_per_row(self) -> int: ...

    @property
    def threads_per_cta(self) -> int: ...

    @property
    def columns_per_lane(self) -> int: ...

    @property
    def vectors_per_lane(self) -> int: ...

    @property
    def kernel(self) -> int:
        """Which of the compiled kernels runs: below ``kernels``."""

    @property
    def kernels(self) -> int:
        """How many are compiled; 0 on the CPU."""

    @property
    def shared_bytes(self) -> int:
        """Per CTA."""

    @property
    def workspace_bytes(self) -> int:
        """
        Scratch memory of a launch, which run() allocates with the framework of x.
        """

    def alternatives(self) -> list[Plan]:
        """
        Every way to run this problem on this device, as plans: what a search for the fastest tries.

        Results do not depend on which one runs. Empty on the CPU.
        """

    def run(self, x: Any, x_scale: Any = None, *, out: Any = None, out_scale: Any = None, static_scale: Any = None, expanded_idx_to_permuted_idx: Any = None, total_num_padded_tokens: Any = None, rows: RowConvention | None = None, bias: Any = None, alpha: Any = None, beta: Any = None, limit: Any = None, weight: Any = None, out_unquantized: Any = None, stream: Any = None, validate: bool = False) -> Result:
        """
        Launch the plan for these tensors; the arguments are those of :func:`moe_act.gated_act_quant`.

        Their description must be the plan's: same dtypes, shapes, strides and device, at least the promised alignment.

        Returns:
            ``(out, out_scale)``, as :func:`moe_act.gated_act_quant` does.

        Raises:
            ValueError: a tensor is not what the plan was made for; the text says in what.
        """

    def bind(self, x: Any, x_scale: Any = None, *, out: Any = None, out_scale: Any = None, static_scale: Any = None, expanded_idx_to_permuted_idx: Any = None, total_num_padded_tokens: Any = None, rows: RowConvention | None = None, bias: Any = None, alpha: Any = None, beta: Any = None, limit: Any = None, weight: Any = None, out_unquantized: Any = None) -> BoundLaunch:
        """
        Import and check these tensors once, to launch the plan on them again and again; nothing is launched yet.

        The arguments are those of :meth:`Plan.run`, and what it refuses is refused here.

        Returns:
            The plan with its tensors, which :meth:`BoundLaunch.run` launches. Results that are not given, and the workspace
            of a plan that has one, are allocated now, on the stream that is current in the framework of ``x``.

        Raises:
            ValueError: a tensor is not what the plan was made for; the text says in what.
        """

class BoundLaunch:
    """
    A plan with its tensors: what is launched again and again on fixed buffers. Plan.bind() makes it.

    It holds the plan and the tensors, which must stay where they are: that one is resized or given another storage later, or
    that a DLPack capsule is taken by another consumer, is not noticed, and the old memory is used, released or not. What does
    not speak DLPack's exchange API (CuPy's and JAX's arrays, for example) was made ready for the stream that was current when
    it was bound: what is written to it later must be ordered with the stream that run() uses.

    With a workspace it must not run on two streams at the same time. Keep it as long as work that it launched on another
    stream than that of its making is under way, and as long as a CUDA graph that captured it is replayed.
    """

    @property
    def plan(self) -> Plan: ...

    @property
    def result(self) -> Result:
        """What every run() returns."""

    def run(self, *, stream: Any = None, validate: bool = False) -> Result:
        """
        Launch the plan for the bound tensors, whatever they hold now.

        Args:
            stream: as for :func:`moe_act.gated_act_quant`; None is the stream that is current at the time of this call.
            validate: as for :func:`moe_act.gated_act_quant`.

        Returns:
            ``(out, out_scale)``, the same object from each run, overwritten by the next.

        Raises:
            ValueError: a stream for tensors on the CPU, or of another device than theirs.
            RuntimeError: CUDA reported an error.
        """

def function(name: str) -> object:
    """
    A function of the public face by its name, without what its declaration says of it.
    """

def operator_kernels(count_writes: Callable[[list[Any]], None], gradients_are_on: Callable[[], bool]) -> tuple[Any, Any, Any, Any]:
    """
    What the operators of moe_act.torch run: the one that allocates its results, the one that is given them, and both
    again for a few arguments, by position.

    Args:
        count_writes: is told which tensors were written.
        gradients_are_on: whether tensors that require grad are refused.
    """

def version() -> str: ...

def build_info() -> str:
    """One line: was CUDA compiled in, and for which architectures."""

def cuda_device_count() -> int:
    """How many CUDA devices are usable; 0 without CUDA, driver or device."""

def last_error() -> str: ...

def device_info(device_id: int) -> DeviceInfo:
    """
    What planning needs to know of a CUDA device.

    Raises:
        ValueError: there is no such device.
        NotImplementedError: this build has no CUDA.
        RuntimeError: CUDA reported an error.
    """

def cpu_level() -> str:
    """The instruction set that CPU kernels use: "x86-64-v3", for example."""

def set_cpu_level(level: str | None) -> None:
    """
    Cap the instruction set of the CPU kernels, which no result depends on.

    Args:
        level: "baseline", "x86-64-v3" or "x86-64-v4"; None for the best there is.

    Raises:
        ValueError: an unknown level.
        NotImplementedError: this CPU lacks it.
    """

"""One file for each contender."""

from ..contender import Contender
from .copy import Copy
from .numpy_eager import NumpyEager
from .ours import Ours
from .torch_compiled import TorchCompiled
from .torch_eager import TorchEager
from .triton_fused import TritonFused


def all_contenders(device: str) -> list[Contender]:
    """Those that are meant for the device, in the order of the tables, installed or not."""
    known = (NumpyEager(), TorchEager(), TorchCompiled(), TritonFused(), Ours(), Copy())
    return [contender for contender in known if device in contender.devices]

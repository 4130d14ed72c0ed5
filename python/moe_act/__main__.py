"""Command line: `python -m moe_act` runs, verifies and times the main workload; see `--help`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import _core

# What other builds need of the installed package. An editable install has its Python elsewhere.
PACKAGE = Path(_core.__file__).parent
FOLDERS = {
    "cmakedir": (PACKAGE / "lib" / "cmake" / "moe_act", "find_package's: cmake -Dmoe_act_DIR=..."),
    "includedir": (PACKAGE / "include", "the headers: cc -I..."),
    "libdir": (PACKAGE / "lib", "libmoe_act.so: cc -L... -Wl,-rpath,..."),
}


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(
        prog="python -m moe_act",
        description="Runs the gated activation on the DeepSeek-V3 workload, checks the result against the "
        "oracle and compares its speed with this machine's memory. Exit status: 0 all results conform, "
        "1 they do not or the run failed, 2 bad usage.",
    )
    add = main.add_argument
    add("--tokens", type=int, nargs="+", metavar="N", help="batch sizes (default: 1 32 256 1024 4096 16384)")
    add("--hidden", type=int, metavar="H", help="expert intermediate size: x is [rows, 2H] (default: 2048)")
    add("--top-k", type=int, metavar="K", help="experts per token (default: 8)")
    add("--experts", type=int, metavar="E", help="experts in the layer (default: 256)")
    names = "x, and optionally x_scale, x_format, expanded_idx_to_permuted_idx, gate, source"
    add("--input", metavar="FILE.npz", help=f"run on these tensors instead: {names}")
    add("--output", metavar="FILE.npz", help="with --input: write out and out_scale here")
    add("--device", choices=("cuda", "cpu"), help="default: cuda where it is usable, else cpu")
    providers = ("torch", "cupy", "cuda-core")
    add("--runtime", choices=providers, help="what provides GPU memory (default: the first that works)")
    add("--json", metavar="FILE", help="write all figures here")
    add(
        "--plot",
        metavar="FILE.png",
        help="draw time against rows, with the memory's limit (needs matplotlib)",
    )
    folders = main.add_argument_group("folders for builds against the installed package").add_mutually_exclusive_group()
    for name, (folder, words) in FOLDERS.items():
        folders.add_argument(
            f"--{name}", dest="folder", action="store_const", const=folder, help=f"print it and exit; {words}"
        )
    commands = main.add_subparsers(dest="command", metavar="info")
    info = commands.add_parser("info", help="what the installed library can do on this machine")
    info.add_argument("--markdown", action="store_true", help="only the tables of docs/support.md")
    return main


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    options = parser().parse_args(arguments)
    options.arguments = list(sys.argv[1:] if arguments is None else arguments)
    if options.folder is not None:
        print(options.folder)
        return 0
    from . import command  # after parsing: --help and bad usage answer at once

    return command.info(options.markdown) if options.command == "info" else command.run(options)


if __name__ == "__main__":
    sys.exit(main())

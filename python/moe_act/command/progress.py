"""Progress on stderr: one line that overwrites itself on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

PLAIN_SECONDS = 2.0  # without a terminal, a line is worth printing after so much silence


class Progress:
    """A context manager; the terminal's line is gone when it ends."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self.last = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def step(self, text: str) -> None:
        """Says what is being done from now on."""
        if self.terminal:
            print(f"\r\x1b[K{text} ...", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - self.last > PLAIN_SECONDS:
            print(f"{text} ...", file=sys.stderr, flush=True)
            self.last = time.monotonic()

    def clear(self) -> None:
        """Makes room for other output."""
        if self.terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

"""Progress on stderr: one line that overwrites itself on a terminal, plain lines for slow steps elsewhere."""

from __future__ import annotations

import sys
import threading
from types import TracebackType

PLAIN_SECONDS = 2.0  # without a terminal, a step that takes longer is worth a line


class Progress:
    """A context manager; the terminal's line is gone when it ends."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self.timer: threading.Timer | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def step(self, text: str) -> None:
        """Says what is being done from now on."""
        self.clear()
        if self.terminal:
            print(f"{text} ...", end="", file=sys.stderr, flush=True)
            return
        stream = sys.stderr
        self.timer = threading.Timer(PLAIN_SECONDS, lambda: print(f"{text} ...", file=stream, flush=True))
        self.timer.daemon = True
        self.timer.start()

    def clear(self) -> None:
        """The step is over: makes room for other output."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

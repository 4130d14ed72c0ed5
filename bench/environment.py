"""Facts that every committed measurement carries."""

from __future__ import annotations

import datetime
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def commit() -> str:
    """From git, or from MOE_ACT_COMMIT where there is no .git."""
    given = os.environ.get("MOE_ACT_COMMIT", "")
    if given:
        return given
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return "unknown"
    return head.stdout.strip() or "unknown"


def date() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")

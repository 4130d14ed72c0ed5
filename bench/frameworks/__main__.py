"""`python bench/frameworks`: see command.py."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # was this folder, whose modules belong to a package
    from frameworks.command import main

    sys.exit(main())

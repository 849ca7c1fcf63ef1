"""`python -m seg_engine` is the command `seg`."""

from __future__ import annotations

import sys

from seg_engine.cli import main

if __name__ == "__main__":
    sys.exit(main())

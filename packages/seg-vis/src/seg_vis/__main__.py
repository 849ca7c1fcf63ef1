"""`python -m seg_vis overlay IMAGE MASK`: label maps over images, from the command line."""

from __future__ import annotations

import sys

from seg_vis.command.command import main

if __name__ == "__main__":
    sys.exit(main())

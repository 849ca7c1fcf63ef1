"""Put the fork's engine back where mmcv-lite has pulled in the original over it: both are imported as `mmengine`."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

ASK = "import mmengine; print(mmengine.__version__)"


def main() -> int:
    """Ask in a fresh process which engine is imported, and install the fork's over it if it is not that."""
    wanted = version("onedl-mmengine")
    for last in (False, True):
        found = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True).stdout.strip()
        if found == wanted:
            return 0
        if not last:
            install = ["uv", "pip", "install", "--quiet", "--no-deps", "--reinstall", f"onedl-mmengine=={wanted}"]
            subprocess.check_call([*install, "--python", sys.executable])
    print(f"fork_engine: mmengine {found} is imported, the fork's {wanted} is wanted", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

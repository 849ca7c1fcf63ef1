"""`./run site --screenshots DIR`: pictures of the built site, to be looked at: light and dark, narrow and wide.

Debian's `chromium` (or Chrome, by its name on PATH) takes them, headless, from a server on this machine that ends with
the command. Which pages: one of each kind.
"""

from __future__ import annotations

import functools
import http.server
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PAGES = {
    "front": "en/index.html",
    "front-zh": "zh/index.html",
    "install": "en/install.html",
    "tutorial": "en/tutorial/index.html",
    "from-mmsegmentation": "en/from-mmseg.html",
    "hooks-zh": "zh/hooks.html",
    "reference": "en/reference/hooks.html",
    "api": "en/api/seg-runner.html",
    "timetable": "en/timetable.html",
    "search": "en/search.html?q=ema",
    "search-zh": f"zh/search.html?q={quote('训练')}",
}
SCHEMES = {"light": 1, "dark": 0}
WIDTHS = (390, 1440)
ALONE = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
ALONE += ["--disable-component-update", "--disable-sync", "--hide-scrollbars", "--virtual-time-budget=5000"]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A server of files that prints nothing."""

    def log_message(self, *given: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine; gives the address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def take(browser: str, address: str, target: Path, width: int, scheme: int) -> None:
    """Take one picture. A browser makes no window of 390 pixels: the page lies in a frame of that width."""
    with tempfile.TemporaryDirectory() as profile:
        frame = Path(profile) / "frame.html"
        frame.write_text(
            f'<body style="margin:0"><iframe src="{address}" style="border:0;width:{width}px;height:1400px"></iframe>'
        )
        command = [browser, *ALONE, f"--user-data-dir={profile}/data", f"--screenshot={target}"]
        command += [f"--window-size={max(width, 500)},1400", f"--blink-settings=preferredColorScheme={scheme}"]
        subprocess.run([*command, frame.as_uri()], check=True, capture_output=True, timeout=120)


def take_all(version: Path, folder: Path) -> int:
    """Take every picture of a version of the site; returns how many, 0 where no browser is there."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print(f"site: no screenshots, since none of {', '.join(BROWSERS)} is installed")
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    with served(version.parent) as address:
        for name, page in PAGES.items():
            for scheme, number in SCHEMES.items():
                for width in WIDTHS:
                    target = folder.resolve() / f"{name}-{width}-{scheme}.png"
                    take(browser, f"{address}/{version.name}/{page}", target, width, number)
                    count += 1
    print(f"site: {count} screenshots in {folder}")
    return count

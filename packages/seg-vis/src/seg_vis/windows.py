"""Windows on the screen, through OpenCV, with an error that helps where there can be none."""

from __future__ import annotations

import os
import sys

from seg_vis.arrays import Image
from seg_vis.libraries import load_cv2

__all__ = ["check_windows", "show_window"]

NO_WINDOWS = """\
show=True needs an OpenCV that opens windows, and the headless wheel is installed. Either
    pip uninstall -y opencv-python-headless
    pip install --force-reinstall "opencv-python>=5"
or write files instead: show=False with out_file= or a LocalVisBackend"""
NO_SCREEN = """\
show=True needs a screen, and neither DISPLAY nor WAYLAND_DISPLAY is set (a server, a container or ssh without -X).
Write files instead: show=False with out_file= or a LocalVisBackend"""


def check_windows() -> None:
    """Make sure that windows can be opened.

    Raises:
        RuntimeError: no screen, or an OpenCV without windows; the message says what helps.
    """
    if gui_of(load_cv2().getBuildInformation()) == "NONE":
        raise RuntimeError(NO_WINDOWS)
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise RuntimeError(NO_SCREEN)


def show_window(picture: Image, title: str, wait_time: float = 0.0, continue_key: str = " ") -> None:
    """Show an RGB picture until the key, the window's closing, or the end of `wait_time` seconds (0: for ever).

    Raises:
        RuntimeError: no screen, or an OpenCV without windows.
    """
    check_windows()
    cv2 = load_cv2()
    cv2.imshow(title, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    left = round(wait_time * 1000) if wait_time > 0 else None
    while left is None or left > 0:
        step = 100 if left is None else min(left, 100)
        key = cv2.waitKey(step)
        left = None if left is None else left - step
        if key == ord(continue_key) or cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) < 1:
            break
    cv2.destroyWindow(title)


def gui_of(build: str) -> str:
    """What OpenCV's build says about windows: `QT5`, `GTK3`, `COCOA`, `WIN32UI` or `NONE`."""
    lines = [line.split(":", 1)[1] for line in build.splitlines() if line.strip().startswith("GUI:")]
    return lines[0].strip() if lines else ""

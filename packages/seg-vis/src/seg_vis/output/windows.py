"""Windows on the screen, through OpenCV, with an error that helps where there can be none."""

from __future__ import annotations

import os
import sys
import threading
from functools import cache
from subprocess import PIPE, Popen

from seg_vis.arrays import Image
from seg_vis.checks import check_number
from seg_vis.libraries import load_cv2

__all__ = ["check_windows", "show_window"]

NO_WINDOWS = """\
show=True needs an OpenCV that opens windows, and the headless wheel is installed. Either
    pip uninstall -y opencv-python-headless
    pip install --force-reinstall opencv-python
or write files instead: show=False with out_file= or a LocalVisBackend"""
NO_SCREEN = """\
show=True needs a screen, and {reason}.
Write files instead: show=False with out_file= or a LocalVisBackend"""
UNSET = "neither DISPLAY nor WAYLAND_DISPLAY is set (a server, a container or ssh without -X)"
DEAD = "no window opens on DISPLAY={display!r} (is it the one of an ssh session that has ended?): {words}"
NAME = "seg-vis"
PROBE = f"import cv2, sys; cv2.namedWindow({NAME!r}); print('open', flush=True); sys.stdin.read()"
SECONDS = 60
"""So long a screen may take to answer."""


def check_windows() -> None:
    """Make sure that windows can be opened.

    Raises:
        RuntimeError: no screen, or an OpenCV without windows; the message says what helps.
    """
    if gui_of(load_cv2().getBuildInformation()) == "NONE":
        raise RuntimeError(NO_WINDOWS)
    if not sys.platform.startswith("linux"):
        return
    display, wayland = os.environ.get("DISPLAY", ""), os.environ.get("WAYLAND_DISPLAY", "")
    reason = failure_on(display, wayland) if display or wayland else UNSET
    if reason:
        raise RuntimeError(NO_SCREEN.format(reason=reason))


@cache
def failure_on(display: str, wayland: str) -> str:
    """Return why no window opens on a screen; empty if one does.

    Tried in a process of its own first, because OpenCV's window library ends the process where the screen does not
    answer. That process stays until we are connected too: a screen that loses its last window may start anew.
    """
    with Popen([sys.executable, "-c", PROBE], stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) as probe:
        assert probe.stdout is not None
        assert probe.stderr is not None
        late = threading.Timer(SECONDS, probe.kill)
        late.start()
        answer = probe.stdout.readline()
        late.cancel()
        if answer:
            cv2 = load_cv2()
            cv2.namedWindow(NAME)
            cv2.destroyWindow(NAME)
            return ""
        words = probe.stderr.readline().strip() or f"no answer within {SECONDS} seconds"
    return DEAD.format(display=display or wayland, words=words.rstrip("."))


def show_window(picture: Image, title: str, wait_time: float = 0.0, continue_key: str = " ") -> None:
    """Show an RGB picture until the key, the window's closing, or the end of `wait_time` seconds (0: for ever).

    Raises:
        RuntimeError: no screen, or an OpenCV without windows.
    """
    check_windows()
    cv2 = load_cv2()
    cv2.imshow(title, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    wait_time = check_number(wait_time, "wait_time", -1)
    left = round(wait_time * 1000) if wait_time > 0 else None
    while left is None or left > 0:
        step = 100 if left is None else min(left, 100)
        key = cv2.waitKey(step)
        left = None if left is None else left - step
        if key == ord(continue_key) or cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) < 1:
            break
    cv2.destroyWindow(title)


def gui_of(build: str) -> str:
    """Return what OpenCV's build says about windows: `QT5`, `GTK3`, `COCOA`, `WIN32UI` or `NONE`."""
    lines = [line.split(":", 1)[1] for line in build.splitlines() if line.strip().startswith("GUI:")]
    return lines[0].strip() if lines else ""

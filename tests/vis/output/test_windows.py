"""Windows, and the error where there can be none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from seg_vis import SegLocalVisualizer
from seg_vis.output import windows
from seg_vis.output.windows import gui_of, show_window

PICTURE = np.zeros((4, 4, 3), np.uint8)


def test_the_gui_is_read_from_the_build() -> None:
    assert gui_of("  GUI:                           QT5\n    QT:     YES\n") == "QT5"
    assert gui_of("  GUI:                           NONE\n") == "NONE"
    assert gui_of("nothing about it") == ""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a screen")
def test_no_screen_is_an_error_that_helps(monkeypatch: Any) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(RuntimeError, match="show=True needs"):
        SegLocalVisualizer().add_datasample("x", PICTURE, show=True)


def test_the_headless_wheel_is_an_error_with_both_commands(monkeypatch: Any) -> None:
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:      NONE\n")
    with pytest.raises(RuntimeError, match="headless") as raised:
        show_window(PICTURE, "x")
    assert "pip uninstall -y opencv-python-headless" in str(raised.value)
    assert "pip install --force-reinstall opencv-python\n" in str(raised.value)


def test_a_window_shows_the_picture_in_bgr_and_closes(monkeypatch: Any) -> None:
    monkeypatch.setenv("DISPLAY", ":9")
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:      QT5\n")
    monkeypatch.setattr(windows, "failure_on", lambda display, wayland: "")
    calls: list[Any] = []
    monkeypatch.setattr(cv2, "imshow", lambda title, picture: calls.append((title, picture[0, 0].tolist())))
    monkeypatch.setattr(cv2, "waitKey", lambda wait: calls.append(wait) or -1)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda title, what: 1)
    monkeypatch.setattr(cv2, "destroyWindow", lambda title: calls.append(title))
    show_window(np.full((2, 2, 3), [1, 2, 3], np.uint8), "street", wait_time=0.25)
    assert calls == [("street", [3, 2, 1]), 100, 100, 50, "street"]
    calls.clear()
    monkeypatch.setattr(cv2, "waitKey", lambda wait: ord(" "))
    show_window(PICTURE, "street")
    assert calls[1:] == ["street"]


SHOW = """
import numpy as np
from seg_vis import SegLocalVisualizer
SegLocalVisualizer().show(np.full((90, 120, 3), [250, 40, 10], np.uint8), wait_time={seconds})
print("shown")
"""
opens_windows = pytest.mark.skipif(
    not sys.platform.startswith("linux") or gui_of(cv2.getBuildInformation()) == "NONE",
    reason="needs Linux and an OpenCV with windows",
)


def show_on(display: str, seconds: float) -> subprocess.Popen[str]:
    """A process that shows a picture on a screen."""
    environment = {key: value for key, value in os.environ.items() if key != "WAYLAND_DISPLAY"} | {"DISPLAY": display}
    command = [sys.executable, "-c", SHOW.format(seconds=seconds)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@opens_windows
def test_a_screen_that_does_not_answer_is_an_error_and_does_not_end_the_process() -> None:
    """OpenCV's window library aborts there: a run would be lost."""
    with show_on(":987", 0.1) as showing:
        _, words = showing.communicate()
    assert showing.returncode == 1
    assert "RuntimeError: show=True needs a screen, and no window opens on DISPLAY=':987'" in words
    assert "could not connect to display" in words


@opens_windows
@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="needs Xvfb, a screen without hardware")
def test_a_real_window_shows_the_picture_and_closes(tmp_path: Path) -> None:
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "640x480x24", "-fbdir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as screen:
        assert screen.stdout is not None
        try:
            display = f":{screen.stdout.readline().strip()}"
            seen = [pixels_shown(display, 1.5, tmp_path / "Xvfb_screen0")]
            while not seen[-1] and len(seen) < 4:  # a busy machine may not come to drawing it in that time
                seen.append(pixels_shown(display, 1.5 * 4 ** len(seen), tmp_path / "Xvfb_screen0"))
        finally:
            screen.terminate()
    assert seen[-1] == 90 * 120


def pixels_shown(display: str, seconds: float, screen: Path) -> int:
    """How many pixels of the picture's colour the screen has, at most, while its window is open."""
    colour, most = bytes([10, 40, 250]), 0  # the screen stores blue, green, red
    with show_on(display, seconds) as showing:
        while showing.poll() is None:
            most = max(most, screen.read_bytes().count(colour))
        printed, _ = showing.communicate()
    assert (showing.returncode, printed) == (0, "shown\n")
    return most

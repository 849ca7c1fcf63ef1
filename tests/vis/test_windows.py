"""Windows, and the error where there can be none."""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np
import pytest
from seg_vis import SegLocalVisualizer
from seg_vis.windows import gui_of, show_window

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
    assert 'pip install --force-reinstall "opencv-python>=5"' in str(raised.value)


def test_a_window_shows_the_picture_in_bgr_and_closes(monkeypatch: Any) -> None:
    monkeypatch.setenv("DISPLAY", ":9")
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:      QT5\n")
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

"""OpenCV and optional libraries, imported at first use, with errors that say what to install."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["load_cv2", "load_library"]

MISSING = """\
seg-vis draws with OpenCV, and Python could not import it: {error}
Install it with one of
    pip install opencv-python            (also opens windows: show=True)
    pip install opencv-python-headless   (servers and containers: no windows, no system libraries)"""

MISSING_LIBRARY = """\
OpenCV is installed, but a system library that it needs is not: {error}
Either install the libraries (Debian, Ubuntu)
    apt-get install libgl1 libglib2.0-0
or take the wheel that needs none (it cannot open windows)
    pip uninstall -y opencv-python && pip install opencv-python-headless"""


def load_cv2() -> Any:
    """Import `cv2`, and return it.

    Raises:
        ImportError: it is missing or lacks a system library; the message has the commands that help.
    """
    try:
        import cv2
    except ImportError as error:
        text = MISSING_LIBRARY if ".so" in str(error) else MISSING
        raise ImportError(text.format(error=error)) from error
    return cv2


def load_library(module: str, package: str, install: str) -> Any:
    """Import a module of an optional library, and return it.

    Raises:
        ImportError: it is not installed; the message says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{package} is not installed: pip install {install}") from error

"""The packages know nothing of one another, and yet name the files of an image alike."""

from __future__ import annotations

import inspect

import seg_runner.names
import seg_vis.names


def test_one_rule_names_files_everywhere() -> None:
    sources = {inspect.getsource(module) for module in (seg_runner.names, seg_vis.names)}
    assert len(sources) == 1

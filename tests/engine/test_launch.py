"""Commands that are printed work as they stand."""

from __future__ import annotations

import pytest

from seg_engine.launch import as_typed


def test_commands_stand_behind_the_wrapper_where_it_was_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert as_typed("seg demo --resume") == "seg demo --resume"
    monkeypatch.setenv("SEG_COMMAND_PREFIX", "./run")
    assert as_typed("seg demo --resume") == "./run seg demo --resume"

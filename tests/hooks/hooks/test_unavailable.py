from __future__ import annotations

import pytest
from seg_hooks import NaiveVisualizationHook, NPUProfilerHook


def test_names_that_are_gone_name_their_successor() -> None:
    with pytest.raises(NotImplementedError, match="SegVisualizationHook"):
        NaiveVisualizationHook(interval=1)
    with pytest.raises(NotImplementedError, match="ProfilerHook"):
        NPUProfilerHook(begin=0)

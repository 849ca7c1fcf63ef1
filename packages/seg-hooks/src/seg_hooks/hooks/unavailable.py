"""Names of hooks that other frameworks had and that have a successor: each is an error that names it."""

from __future__ import annotations

__all__ = ["NPUProfilerHook", "NaiveVisualizationHook"]


class NaiveVisualizationHook:
    """Not there any more: use `SegVisualizationHook` of seg-vis."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise NotImplementedError(
            "NaiveVisualizationHook expects batches in an old layout. Use dict(type='SegVisualizationHook', draw=True, "
            'interval=...) of seg-vis: pip install "seg-vis @ git+https://github.com/seg-engine/seg-engine'
            '#subdirectory=packages/seg-vis"'
        )


class NPUProfilerHook:
    """Not there: use `ProfilerHook`."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise NotImplementedError(
            "NPUProfilerHook needs torch_npu and ends the process. Use dict(type='ProfilerHook', by_epoch=False, "
            "profile_times=...), which profiles with torch.profiler."
        )

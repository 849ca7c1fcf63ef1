"""Graphs of the device: the kernels of a function captured on a stream of their own, and launched again all at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["DeviceGraphs"]

Result = TypeVar("Result")


class DeviceGraphs:
    """Captures functions on the current device.

    All graphs share one pool of memory: they run one after the other, and what each leaves behind is copied out.

    Args:
        module: What torch offers for the device.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        self._stream = module.Stream()
        self._pool = module.graph_pool_handle()

    def warm(self, function: Callable[[], Result]) -> Result:
        """Run a function in the ordinary way, on the stream of the captures, as torch asks for before the first."""
        current = self._module.current_stream()
        self._stream.wait_stream(current)
        with self._module.stream(self._stream):
            result = function()
        current.wait_stream(self._stream)
        return result

    def capture(self, function: Callable[[], Result]) -> tuple[Result, Callable[[], Any]]:
        """Capture a function, and run it once.

        Only the calls of this thread are looked at: others pin memory, and read ahead, meanwhile.

        Returns:
            What the function gave, which each further run overwrites in place; and what runs it again.

        Raises:
            RuntimeError: it does what no graph can, such as waiting for the device.
        """
        graph = self._module.CUDAGraph()
        with self._module.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            result = function()
        graph.replay()
        return result, graph.replay

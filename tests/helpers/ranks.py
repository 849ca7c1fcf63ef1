"""Several real processes that work together, started as torchrun starts them: ranks with an environment and a store.

They are forked from a server that has imported torch, so two or four of them are there in a fraction of a second. Each
has its output in a file, and its result is handed back. Needs nothing but torch, so every environment has it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable, Mapping
from multiprocessing import forkserver
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from helpers.children import run_as_child
from torch.distributed import TCPStore

PACKAGES = ("seg_hooks", "seg_optim", "seg_runner", "seg_vis", "seg_registry")


class Ranks:
    """Processes that run one function each, as ranks 0, 1, ... of one world.

    Args:
        world: How many.
        folder: Gets `rank0.log`, ... with what they print, and their results.
        function: Called as `function(*args, **options)`; of a module that can be imported, or of a test's own.
        environment: Further variables, for all ranks.
        restart: What torchrun calls the number of this try.
        **options: Keywords of the function.

    Example:
        def work(factor):
            torch.distributed.init_process_group("gloo")
            ...
        with Ranks(2, tmp_path, work, 3) as ranks:
            assert ranks.results() == [0, 3]
    """

    _server = multiprocessing.get_context("forkserver")

    def __init__(
        self,
        world: int,
        folder: Path,
        function: Callable[..., Any],
        *args: Any,
        environment: Mapping[str, str] | None = None,
        restart: int = 0,
        **options: Any,
    ) -> None:
        self.world, self.folder = world, Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        _start_server()
        self.processes = []
        for rank in range(world):
            told = {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(world),
                "LOCAL_WORLD_SIZE": str(world),
                "GROUP_RANK": "0",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(self.store.port),
                "TORCHELASTIC_RESTART_COUNT": str(restart),
                "TORCHELASTIC_USE_AGENT_STORE": "True",
                **(environment or {}),
            }
            target = (self.log(rank), self._result(rank), told, function, args, options)
            process = self._server.Process(target=_work, args=target)
            process.start()
            self.processes.append(process)

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.join()

    def log(self, rank: int) -> Path:
        """The file with what a rank printed."""
        return self.folder / f"rank{rank}.log"

    def _result(self, rank: int) -> Path:
        return self.folder / f"rank{rank}.result"

    def said(self, rank: int) -> str:
        """What a rank has printed so far."""
        return self.log(rank).read_text(encoding="utf-8", errors="replace") if self.log(rank).exists() else ""

    def signal(self, rank: int, number: int) -> None:
        """Send a signal to one rank."""
        os.kill(self.processes[rank].pid, number)

    def codes(self) -> list[int]:
        """The exit codes, once all have ended; -9 for one that was killed."""
        for process in self.processes:
            process.join()
        return [process.exitcode for process in self.processes]

    def results(self) -> list[Any]:
        """What the function has returned on each rank; fails with what the ranks printed where one did not end well."""
        if any(codes := self.codes()):
            told = "\n".join(f"--- rank {rank}: exit code {code}\n{self.said(rank)}" for rank, code in enumerate(codes))
            pytest.fail(told)
        return [pickle.loads(self._result(rank).read_bytes()) for rank in range(self.world)]


def on_ranks(world: int, folder: Path, function: Callable[..., Any], *args: Any, **options: Any) -> list[Any]:
    """Run a function on so many ranks to its end, and return what each gives back."""
    with Ranks(world, folder, function, *args, **options) as ranks:
        return ranks.results()


def _start_server() -> None:
    there = [name for name in PACKAGES if importlib.util.find_spec(name)]
    preload = ["torch", "torch.distributed", "torch._dynamo", "torch.distributed.checkpoint", "pytest", *there]
    forkserver.set_forkserver_preload(preload)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
        patch.setenv("PYTHONWARNINGS", "ignore")
        forkserver.ensure_running()


def _work(
    log: Path, result: Path, told: dict[str, str], function: Callable[..., Any], args: Any, options: dict[str, Any]
) -> None:
    def work() -> None:
        import torch

        os.environ |= told
        torch.set_num_threads(1)
        result.write_bytes(pickle.dumps(function(*args, **options)))

    run_as_child(log, work)

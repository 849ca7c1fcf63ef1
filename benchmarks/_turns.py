"""The two ends of a pipe over which a contestant is given its turns: `Player` gives them, `serve` takes them."""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import inspect
import json
import math
import os
import platform
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from _environments import installed

if TYPE_CHECKING:
    from _contest import Contest

__all__ = ["Player", "Put_out", "Seat", "Turn", "cores", "serve"]

PATIENCE = 600.0
"""Seconds that setting up, or a turn, may take."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Put_out(Exception):
    """A contestant that can go on no more, and why."""


class Over(BaseException):
    """Leaves a contestant's loop from inside of it when there are no more turns."""


def cores() -> list[int | None]:
    """Return the cores that this process may run on; [None] where nothing tells."""
    return [*sorted(os.sched_getaffinity(0))] if hasattr(os, "sched_getaffinity") else [None]


class Player:
    """A contestant's process, as the one who gives the turns sees it."""

    def __init__(
        self, command: list[str], threads: int | None = 1, freezes: bool = False, more: Mapping[str, str] | None = None
    ) -> None:
        self.versions: dict[str, str] = {}
        self._freezes = freezes
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - until `close`
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            start_new_session=True,
            env={**os.environ, **({} if threads is None else dict.fromkeys(THREADS, str(threads))), **(more or {})},
        )

    @property
    def alive(self) -> bool:
        """Whether it can take part."""
        return self._process.poll() is None

    def begin(self, title: str, name: str, shared: bool = False) -> None:
        """Let it set itself up. `shared`: in a thread, so that others in the same process can do so, too."""
        self._thaw()
        self._say({"title": title, "name": name, "shared": shared})

    def wait_until_ready(self) -> None:
        """Wait until it has set itself up."""
        self.versions = self._hear("ready")
        self._freeze()

    def turn(self, core: int | None = None, to: str | None = None) -> dict[str, float]:
        """Give it a turn, on one core if asked; returns what it took. `to`: the one of a shared process."""
        self._thaw()
        self._say({"go": True, "core": core} | ({"to": to} if to else {}))
        found: dict[str, float] = self._hear("turn")
        self._freeze()
        return found

    def end(self, to: str | None = None) -> None:
        """There are no more turns in this contest."""
        self._thaw()
        self._say({"go": False} | ({"to": to} if to else {}))
        self._hear("ended")

    def close(self) -> None:
        """End the process, and its workers."""
        self._thaw()
        with contextlib.suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._kill()
        self._process.stdout.close()  # type: ignore[union-attr]
        self._said.close()

    def _say(self, message: object) -> None:
        try:
            print(json.dumps(message), file=self._process.stdin, flush=True)
        except OSError:
            raise Put_out(self._last_words()) from None

    def _hear(self, key: str) -> Any:
        """Read one message; only one is ever on its way, so that nothing waits in the reader's buffer."""
        pipe = self._process.stdout
        if not select.select([pipe], [], [], PATIENCE)[0]:
            self._kill()
            raise Put_out(f"said nothing for {PATIENCE:.0f} s")
        line = pipe.readline()  # type: ignore[union-attr]
        if not line:
            raise Put_out(self._last_words())
        message = json.loads(line)
        if "absent" in message:
            raise Put_out(message["absent"])
        return message[key]

    def _last_words(self) -> str:
        code = self._process.wait(30)
        self._said.seek(0)
        lines = [line.rstrip() for line in self._said if line.strip()]
        return "\n    ".join([f"ended with exit code {code}", *lines[-6:]])

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _freeze(self) -> None:
        if self._freezes and self.alive:
            self._signal(signal.SIGSTOP)

    def _thaw(self) -> None:
        if self._freezes and self.alive:
            self._signal(signal.SIGCONT)

    def _kill(self) -> None:
        self._signal(signal.SIGKILL)
        self._process.wait()


class Seat:
    """A contestant in a process that it shares with others, with the parts of a `Player`.

    They set themselves up one after the other: there is one pipe, on which one message at a time is on its way.
    """

    def __init__(self, player: Player) -> None:
        self.versions: dict[str, str] = {}
        self._player, self._asked = player, ("", "")

    def begin(self, title: str, name: str) -> None:
        """Keep in mind who it is."""
        self._asked = title, name

    def wait_until_ready(self) -> None:
        """Let it set itself up."""
        self._player.begin(*self._asked, shared=True)
        self._player.wait_until_ready()
        self.versions = self._player.versions

    def turn(self, core: int | None = None) -> dict[str, float]:
        """Give it a turn; returns what it took."""
        return self._player.turn(core, self._asked[1])

    def end(self) -> None:
        """There are no more turns in this contest."""
        self._player.end(self._asked[1])


class Turn:
    """What a contestant's loop calls where one turn ends and the next begins; the first call ends the setting up."""

    def __init__(self, count: int, say: Callable[[object], None], hear: Callable[[], Any]) -> None:
        self.count = count
        """So many turns there are at most, those that are not counted included."""
        self._say, self._hear = say, hear
        self._began: tuple[float, float] | None = None

    def __call__(self, steps: int = 1, own: float | None = None) -> None:
        """Say what the turn took, a step of `steps`, and wait for the next. `own`: seconds as the contestant counts."""
        wall, cpu = time.perf_counter(), time.process_time()
        if self._began is None:
            gc.collect()
            gc.freeze()  # what was set up is not looked through before each turn: that takes longer than a turn
            self._say({"ready": versions()})
        else:
            found = {"cpu": (cpu - self._began[1]) / steps, "wall": (wall - self._began[0]) / steps, "peak": peak()}
            self._say({"turn": found if own is None else found | {"own": own / steps}})
        heard = self._hear()
        if not heard or not heard["go"]:
            raise Over
        stay_on(heard["core"])
        gc.collect()
        forget_peak()
        self._began = time.perf_counter(), time.process_time()


def repeat(work: Callable[[], object], turn: Turn, least: float) -> None:
    """Do the work again and again; a turn of short work is as many calls as take `least` seconds."""
    turn()
    work()
    began = time.perf_counter()
    work()
    once = time.perf_counter() - began
    calls = max(1, math.ceil(least / max(once, 1e-7)))
    turn(2)
    while True:
        own = [value for value in (work() for _ in range(calls)) if isinstance(value, float)]
        turn(calls, sum(own) if own else None)


def serve(contests: Mapping[str, Contest]) -> None:
    """Take part in the contests that the other end names, until it says no more.

    What the contestant prints goes where its errors go: the pipe is for the turns.
    """
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(message: object) -> None:
        print(json.dumps(message), file=pipe, flush=True)

    def hear() -> Any:
        line = sys.stdin.readline()
        return json.loads(line) if line else None

    seats: dict[str, SimpleQueue[Any]] = {}
    while (asked := hear()) is not None:
        if "to" in asked:
            seats[asked["to"]].put(asked)
            continue
        contest = contests[asked["title"]]
        contestant = contest.of[asked["name"]]
        if missing := [name for name in contestant.modules if not installed(name)]:
            say({"absent": f"not installed: {', '.join(missing)}"})
            continue
        told = seats[asked["name"]] = SimpleQueue()
        turn = Turn(contest.warm + contest.rounds, say, told.get if asked["shared"] else hear)
        if asked["shared"]:
            threading.Thread(target=sit, args=(contest, contestant.set_up, turn, say), daemon=True).start()
        else:
            with contextlib.suppress(Over):
                take_part(contest, contestant.set_up, turn)
            tidy_up()
            say({"ended": True})


def sit(contest: Contest, set_up: Callable[..., Any], turn: Turn, say: Callable[[object], None]) -> None:
    """Take part in a thread: one that dies says so, and the others of its process go on."""
    try:
        take_part(contest, set_up, turn)
    except Over:
        tidy_up()
        say({"ended": True})
    except BaseException:
        lines = [line for line in traceback.format_exc().splitlines() if line.strip()]
        say({"absent": "\n    ".join(["died in a process that it shares", *lines[-6:]])})


def tidy_up() -> None:
    """Give back what a contestant has left."""
    gc.unfreeze()
    gc.collect()


def stay_on(core: int | None) -> None:
    """Let the present thread run on one core alone, where the system can."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


def take_part(contest: Contest, set_up: Callable[..., Any], turn: Turn) -> None:
    """Set up, and work turn by turn until `Over` is raised."""
    if contest.threads is not None and (torch := sys.modules.get("torch")):
        torch.set_num_threads(contest.threads)
    if inspect.signature(set_up).parameters:
        set_up(turn)
        raise RuntimeError("the loop came to its end before its turns were over: it must ask `turn.count`")
    work = set_up()
    for name, setter in (("torch", "set_num_threads"), ("cv2", "setNumThreads")):
        if contest.threads is not None and name in sys.modules:
            getattr(sys.modules[name], setter)(contest.threads)
    repeat(work, turn, contest.least)


def peak() -> float:
    """Bytes of memory that this process had at most since `forget_peak`; 0 where nothing tells."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return 1024.0 * next((int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM")), 0)


def forget_peak() -> None:
    """Let `peak` begin anew, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def versions() -> dict[str, str]:
    """The versions of the distributions whose modules this process has imported."""
    found = {"python": platform.python_version()}
    homes = importlib.metadata.packages_distributions()
    for module in {name.partition(".")[0] for name in sys.modules} & homes.keys() & KNOWN:
        found[homes[module][0]] = importlib.metadata.version(homes[module][0])
    return dict(sorted(found.items()))


KNOWN = {"torch", "numpy", "cv2", "PIL", "mmengine", "mmseg", "mmcv", "lightning", "accelerate", "transformers", "timm"}
KNOWN |= {"ignite", "albumentations", "kornia", "torchmetrics", "supervision", "torchvision", "safetensors"}

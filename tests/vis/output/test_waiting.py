"""What one backend is sent later: in order, bounded, and said in words that are true."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seg_vis.output import waiting
from seg_vis.output.waiting import Line


class Disk:
    """Takes what it is given while there is room."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.error: Exception | None = None

    def send(self, line: Line, what: Any, kind: str = "rows", size: int = 0) -> None:
        def call() -> None:
            if self.error is not None:
                raise self.error
            self.got.append(what)

        line.take(call, kind, size)


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that stands: no try takes long."""
    monkeypatch.setattr(waiting.time, "monotonic", lambda: 1.0)


@given(st.lists(st.sampled_from(["row", "fill", "free"])))
def test_every_row_arrives_once_and_in_order(steps: list[str]) -> None:
    disk, line = Disk(), Line("disk")
    sent = 0
    for step in steps:
        if step == "row":
            disk.send(line, sent)
            sent += 1
        else:
            disk.error = OSError("no space") if step == "fill" else None
    disk.error = None
    line.finish(None)
    assert disk.got == list(range(sent))


def test_a_picture_without_room_holds_up_no_row(still: None, caplog: Any) -> None:
    disk, pictures, line = Disk(), Disk(), Line("disk")
    pictures.error = OSError("no space")
    for number in range(3):
        pictures.send(line, number, "pictures", 1000)
        disk.send(line, number)
    assert (disk.got, pictures.got) == ([0, 1, 2], [])
    assert "works again" not in caplog.text
    pictures.error = None
    disk.send(line, 3)
    assert (disk.got, pictures.got) == ([0, 1, 2, 3], [0, 1, 2])
    assert caplog.messages[-1] == "backend disk works again; 3 calls that waited are written"


@pytest.mark.parametrize(("size", "kept"), [(0, 5), (1000, 2)])
def test_too_much_is_dropped_from_the_front_and_counted(
    still: None, caplog: Any, monkeypatch: Any, size: int, kept: int
) -> None:
    monkeypatch.setattr(waiting, "MOST", 5)
    monkeypatch.setattr(waiting, "MOST_BYTES", 2500)
    disk, line = Disk(), Line("disk")
    disk.error = OSError("no space")
    for number in range(8):
        disk.send(line, number, size=size)
    disk.error = None
    line.finish(None)
    assert disk.got == list(range(8))[-kept:]
    assert caplog.text.count("the oldest is dropped") == 1
    assert f"; {8 - kept} were lost" in caplog.messages[-1]


def test_a_mistake_is_left_out_and_what_comes_after_it_is_written(still: None, caplog: Any) -> None:
    disk, line = Disk(), Line("disk")
    disk.error = ZeroDivisionError("a mistake")
    disk.send(line, 0)
    disk.send(line, 1)
    assert len(caplog.records) == 1
    disk.error = None
    disk.send(line, 2)
    assert disk.got == [2]
    assert "2 were lost" in caplog.messages[-1]


def test_a_call_that_a_service_never_takes_holds_up_no_other(still: None, caplog: Any) -> None:
    class Refused(Exception):
        """What a client library raises."""

    good, bad, line = Disk(), Disk(), Line("service")
    bad.error = Refused("invalid name")
    bad.send(line, "bad")
    for number in range(3):
        good.send(line, number)
    line.finish(None)
    assert good.got == [0, 1, 2]
    assert "1 were lost" in caplog.text


def test_what_still_waits_at_the_end_is_said(caplog: Any) -> None:
    disk, line = Disk(), Line("disk")
    disk.error = OSError("no space")
    disk.send(line, 0)
    disk.send(line, 1, "pictures")
    line.finish(None)
    assert caplog.messages[-1] == "backend disk still fails; it lacks 1 rows, 1 pictures"
    assert line.lacks == 2


def test_threads_send_side_by_side(still: None) -> None:
    disk, line = Disk(), Line("disk")
    threads = [threading.Thread(target=disk.send, args=(line, n, kind)) for n in range(20) for kind in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(disk.got) == sorted([*range(20), *range(20)])


@pytest.mark.parametrize(
    ("error", "fate"), [(OSError("away"), "waits and is tried again"), (ValueError("\x1b[2J"), "is left out")]
)
def test_what_becomes_of_a_call_is_said_truly(still: None, caplog: Any, error: Exception, fate: str) -> None:
    disk, line = Disk(), Line("disk")
    disk.error = error
    disk.send(line, "first")
    disk.error = None
    disk.send(line, "second")
    assert disk.got == (["first", "second"] if isinstance(error, OSError) else ["second"])
    assert fate in caplog.messages[0]
    assert "\x1b" not in caplog.messages[0]

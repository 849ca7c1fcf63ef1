"""The queue that works off the calling thread."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from seg_vis.output.writer import Writer


def test_jobs_run_in_order_on_another_thread() -> None:
    done: list[tuple[int, bool]] = []
    writer = Writer(4)
    here = threading.get_ident()
    for number in range(200):
        writer.put(lambda number=number: done.append((number, threading.get_ident() == here)))
    writer.wait()
    assert done == [(number, False) for number in range(200)]


def test_the_queue_is_bounded() -> None:
    """While one job is held, two may wait; the fourth `put` returns only when there is room."""
    held, entered, put = threading.Event(), threading.Event(), []
    writer = Writer(2)

    def first() -> None:
        entered.set()
        held.wait()

    def fill() -> None:
        for number in range(4):
            writer.put(first if number == 0 else lambda: None)
            put.append(number)

    filler = threading.Thread(target=fill)
    filler.start()
    entered.wait()
    filler.join(timeout=0.2)
    assert filler.is_alive()
    assert put == [0, 1, 2]
    held.set()
    filler.join()
    writer.wait()
    assert put == [0, 1, 2, 3]


def test_the_thread_ends_when_there_is_nothing_to_do() -> None:
    writer, threads = Writer(1), []
    for _ in range(3):
        writer.put(lambda: threads.append(threading.current_thread()))
        writer.wait()
    for thread in threads:
        thread.join()
    assert not any(thread.daemon for thread in threads)


def test_waiting_for_nothing_returns_at_once() -> None:
    Writer(1).wait()


def test_a_queue_holds_one_job_at_least() -> None:
    with pytest.raises(ValueError, match="one job at least"):
        Writer(0)


@pytest.mark.parametrize("ending", ["", "raise SystemExit(3)", "raise ValueError('x')"])
def test_nothing_is_lost_however_the_process_ends(ending: str, tmp_path: object) -> None:
    code = f"""
import numpy as np
from seg_vis import SegLocalVisualizer
visualizer = SegLocalVisualizer(vis_backends=dict(type="LocalVisBackend"), save_dir={str(tmp_path)!r})
visualizer.write_in_background(queue_size=4)
for step in range(40):
    visualizer.add_image("picture", np.full((300, 300, 3), step, np.uint8), step)
{ending}
"""
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    written = list((tmp_path / "vis_data/vis_image").glob("*.png"))  # type: ignore[operator]
    assert len(written) == 40

"""Two runs in one folder are refused: one after the other, and both at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from seg_hooks import CheckpointHook, TrainState
from seg_hooks.own_loop.lock import LOCK
from torch import nn

Make = Callable[..., TrainState]


def make(folder: Path, overwrite: bool = False, steps: int = 2) -> TrainState:
    net = nn.Linear(2, 2)
    hooks = [CheckpointHook(1, by_epoch=False, max_keep_ckpts=1)]
    return TrainState(net, torch.optim.SGD(net.parameters(), 0.1), folder, steps, hooks, overwrite=overwrite)


def train(state: TrainState) -> None:
    with state:
        for batch in state.batches([torch.ones(1, 2)] * 4):
            loss = state.model(batch).mean()
            loss.backward()
            state.optimizer.step()
            state.after_step(loss=loss)


def test_a_second_run_says_what_can_be_done(tmp_path: Path) -> None:
    train(make(tmp_path))
    with pytest.raises(FileExistsError, match=r"iter_2\.pth.*state\.resume\(\).*overwrite=True.*another work_dir"):
        train(make(tmp_path))
    assert [path.name for path in tmp_path.glob("*.pth")] == ["iter_2.pth"]
    assert not (tmp_path / LOCK).exists()


def test_resume_goes_on_and_overwrite_deletes(tmp_path: Path) -> None:
    train(make(tmp_path))
    longer = make(tmp_path, steps=3)
    longer.resume()
    train(longer)
    assert [path.name for path in tmp_path.glob("*.pth")] == ["iter_3.pth"]
    train(make(tmp_path, overwrite=True, steps=1))
    assert [path.name for path in tmp_path.glob("*.pth")] == ["iter_1.pth"]
    assert (tmp_path / "last_checkpoint").read_text().strip().endswith("iter_1.pth")


def test_the_same_state_may_go_on(tmp_path: Path) -> None:
    state = make(tmp_path)
    train(state)
    state.max_iters = 4
    train(state)
    assert state.iter == 4


def test_files_of_others_are_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"mine")
    (tmp_path / "iter_7-0123abcd.pth").write_bytes(b"published")
    train(make(tmp_path, overwrite=True))
    assert (tmp_path / "weights.pth").read_bytes() == b"mine"
    assert (tmp_path / "iter_7-0123abcd.pth").read_bytes() == b"published"


TRY = """
import fcntl, sys
with open(sys.argv[1], "r+") as file:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
"""


def is_held(folder: Path) -> bool:
    """Whether another process cannot have the lock."""
    if not (folder / LOCK).exists():
        return False
    done = subprocess.run([sys.executable, "-c", TRY, str(folder / LOCK)], capture_output=True, text=True, check=False)
    return "BlockingIOError" in done.stderr


def test_the_end_of_one_run_leaves_the_lock_of_another(tmp_path: Path) -> None:
    """Two runs of one process in one folder, whichever ends first."""
    pytest.importorskip("fcntl")
    first, second, third = make(tmp_path), make(tmp_path), make(tmp_path)
    with first:
        with second:
            pass
        assert is_held(tmp_path)
        third.__enter__()
    assert is_held(tmp_path)
    third.__exit__(None, None, None)
    assert not is_held(tmp_path)
    assert not (tmp_path / LOCK).exists()


def test_a_run_that_is_refused_leaves_the_lock_of_another(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with make(tmp_path):
        (tmp_path / "iter_9.pth").touch()
        with pytest.raises(FileExistsError), make(tmp_path):
            pass
        assert is_held(tmp_path)


def test_a_folder_that_was_made_anew_has_a_lock_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    folder = tmp_path / "run"
    first = make(folder)
    with first:
        shutil.rmtree(folder)
        folder.mkdir()
        second = make(folder)
        second.__enter__()
        assert is_held(folder)
    assert is_held(folder)
    second.__exit__(None, None, None)
    assert not is_held(folder)


def test_beside_a_run_that_is_alive_there(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    other = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from seg_hooks.own_loop.lock import only_run
        with only_run(Path({str(tmp_path)!r})):
            print("training", flush=True)
            sys.stdin.readline()
    """)
    with subprocess.Popen(
        [sys.executable, "-c", other], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "training\n"
        with pytest.raises(RuntimeError, match=rf"another run is training in .*process {process.pid} on "):
            train(make(tmp_path))
        process.communicate("\n")
    train(make(tmp_path))

"""Runs whose work directory lies on a real FTP server that is slow, or fails; and some that are killed meanwhile."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from helpers.drill import Child, KillAt, checkpoint_differences, in_child, make_runner, train
from helpers.ftp import FTPServer
from helpers.ranks import Ranks, on_ranks
from seg_hooks import CheckpointHook
from seg_runner import DefaultSampler, Runner
from seg_runner.checkpoint.read import verify_checkpoint

pytest.importorskip("pyftpdlib")
pytest.importorskip("fsspec")

FAST = {"interval": 0.2, "patience": 20.0}


@pytest.fixture
def server(tmp_path):
    made = FTPServer(tmp_path / "served")
    yield made
    made.stop()


class Waits:
    """Stands in a step until a file is gone; a second file says that it stands there."""

    def __init__(self, iteration: int, file: Path) -> None:
        self.iteration, self.file = iteration, file

    def after_train_iter(self, runner):
        if runner.iter == self.iteration:
            self.file.write_text("here")
            while self.file.exists():
                time.sleep(0.005)


def remote_train(folder, address, stand=None, size=0, **plan):
    """Train at an address, with the cache in a folder; with a `size` a checkpoint has so many bytes more."""
    remote = {**FAST, "cache_dir": folder, **plan.pop("remote", {})}
    runner = make_runner(address, remote=remote, **plan)
    if stand is not None:
        runner.register_hook(Waits(*stand))
    if size:
        runner.message_hub.update_info("ballast", "x" * size)
        runner.model.register_buffer("ballast", torch.zeros(size // 4))
    runner.train()
    if runner.lost:
        raise SystemExit(1)


def stand_in(child, mark):
    """Wait until a child stands in its step."""
    until(mark.exists, child)


def until(condition, child=None):
    while not condition():
        assert child is None or child.code is None, child.log.read_text()[-3000:]
        time.sleep(0.005)


def text_of(folder):
    return folder.with_suffix(".log").read_text()


def whole_there(server):
    """The checkpoints at the address; each is whole."""
    found = sorted(server.run.glob("*.pth"))
    for path in found:
        verify_checkpoint(path)
    return [path.name for path in found]


def test_a_run_killed_in_an_upload_goes_on_on_another_machine_as_if_nothing_was(server, tmp_path):
    whole, one, two = tmp_path / "whole", tmp_path / "one", tmp_path / "two"
    assert in_child(train, whole) == 0
    server.stop()
    server.limit = 2_000_000
    server.start()
    child = Child(remote_train, one, server.address, (15, tmp_path / "mark"), size=400_000)
    until(lambda: "iter_7.pth" in whole_there(server) and list(server.run.glob(".iter_14.pth.*.tmp")), child)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -9
    assert "iter_14.pth" not in whole_there(server)
    server.stop()
    server.limit = 0
    server.log.unlink()
    server.start()
    assert in_child(remote_train, two, server.address, size=400_000) == 0
    assert "Resumed from" in text_of(two)
    fetched = [name for name in server.asked("RETR") if name.endswith(".pth")]
    assert len(fetched) - len(set(fetched)) == 1  # the ends of all, and one whole
    assert list(server.run.glob(".*")) == []
    assert Path((server.run / "last_checkpoint").read_text()).name == "iter_20.pth"
    ours = torch.load(server.run / "iter_20.pth", weights_only=True)
    expected = torch.load(whole / "iter_20.pth", weights_only=True)["state_dict"]
    assert all(torch.equal(ours["state_dict"][name], tensor) for name, tensor in expected.items())
    assert len(whole_there(server)) == 4  # three regular ones, and the best


def test_a_server_that_vanishes_for_a_while_costs_no_step_and_is_told_once(server, tmp_path):
    mark, cut = tmp_path / "mark", tmp_path / "cut"
    child = Child(remote_train, cut, server.address, (8, mark))
    stand_in(child, mark)
    until(lambda: (server.run / "last_checkpoint").exists(), child)
    server.stop()
    (folder,) = (cut / "work_dirs").glob("*/a")
    (folder / "note.txt").write_text("something to bring")
    until(lambda: "Training goes on; files wait in" in text_of(cut), child)
    mark.unlink()
    until(lambda: "at 14 iterations" in text_of(cut), child)
    server.start()
    assert child.wait() == 0
    assert text_of(cut).count("Training goes on; files wait in") == 1
    assert text_of(cut).count("takes files again") == 1
    assert "geheim" not in text_of(cut)
    assert Path((server.run / "last_checkpoint").read_text()).name == "iter_20.pth"
    assert "iter_20.pth" in whole_there(server)
    (log,) = server.run.glob("*/*.log")
    assert "is up to date" in log.read_text()


def test_a_server_that_is_gone_at_the_end_leaves_the_files_here_and_a_resume_brings_them(server, tmp_path):
    mark, cut = tmp_path / "mark", tmp_path / "cut"
    child = Child(remote_train, cut, server.address, (8, mark), remote={"patience": 1.0})
    stand_in(child, mark)
    until(lambda: (server.run / "last_checkpoint").exists(), child)
    server.stop()
    mark.unlink()
    assert child.wait() == 1
    last = text_of(cut).splitlines()[-1]
    assert "not brought to ftp://me:***@127.0.0.1" in last
    assert "iter_20.pth" in last
    assert str(cut) in last
    server.start()
    assert in_child(remote_train, cut, server.address) == 0
    assert "iter_20.pth" in whole_there(server)


def test_a_server_that_is_not_there_at_the_start_is_told_before_anything(server, tmp_path):
    server.stop()
    assert in_child(remote_train, tmp_path / "cut", server.address) == 1
    assert "RemoteError: ftp://me:***@127.0.0.1" in text_of(tmp_path / "cut")
    assert "cannot be opened" in text_of(tmp_path / "cut")
    assert "Iter(train)" not in text_of(tmp_path / "cut")


def test_a_signal_has_all_brought_over_before_the_process_leaves(server, tmp_path):
    mark, cut = tmp_path / "mark", tmp_path / "cut"
    child = Child(remote_train, cut, server.address, (8, mark), remote={"interval": 600})
    stand_in(child, mark)
    os.kill(child.pid, signal.SIGTERM)
    until(lambda: "finishing the step" in text_of(cut), child)
    mark.unlink()
    assert child.wait() == 143
    assert Path((server.run / "last_checkpoint").read_text()).name == "iter_9.pth"
    assert "iter_9.pth" in whole_there(server)
    (log,) = server.run.glob("*/*.log")
    assert "saved iter_9.pth after iteration 9 and stopped" in log.read_text()


def test_a_signal_whose_time_is_over_names_what_was_not_brought(server, tmp_path):
    mark, cut = tmp_path / "mark", tmp_path / "cut"
    child = Child(remote_train, cut, server.address, (8, mark), signals={"grace": 0.5})
    stand_in(child, mark)
    until(lambda: (server.run / "last_checkpoint").exists(), child)
    server.stop()
    os.kill(child.pid, signal.SIGTERM)
    mark.unlink()
    assert child.wait() == 143
    assert "not brought to ftp://me:***@127.0.0.1" in text_of(cut)
    assert "iter_9.pth" in text_of(cut).rpartition("not brought to")[2]


def test_a_second_run_at_the_same_address_is_refused(server, tmp_path):
    mark = tmp_path / "mark"
    child = Child(remote_train, tmp_path / "one", server.address, (8, mark))
    stand_in(child, mark)
    assert in_child(remote_train, tmp_path / "two", server.address) == 1
    assert "another run is training in ftp://me:***@127.0.0.1" in text_of(tmp_path / "two")
    mark.unlink()
    assert child.wait() == 0
    assert "has taken" not in text_of(tmp_path / "one")


def test_old_files_go_there_too_when_another_machine_goes_on(server, tmp_path):
    assert in_child(train, tmp_path / "whole", total=40) == 0
    assert in_child(remote_train, tmp_path / "one", server.address, total=40, kill=KillAt(17)) == -9
    assert in_child(remote_train, tmp_path / "two", server.address, total=40) == 0
    regular = [name for name in whole_there(server) if name.startswith("iter")]
    assert regular == ["iter_28.pth", "iter_35.pth", "iter_40.pth"]
    assert checkpoint_differences(tmp_path / "whole" / "iter_40.pth", server.run / "iter_40.pth") == []


class Pairs(torch.utils.data.Dataset):
    """Images of random classes, by number."""

    def __len__(self):
        return 24

    def __getitem__(self, index):
        label = torch.randint(0, 3, (6, 6), generator=torch.Generator().manual_seed(index))
        return label.float().expand(3, 6, 6).clone(), label


def train_on_a_rank(address, cache, iters, **more):
    """Train on this rank; return its weights and whether it has brought something over."""
    torch.manual_seed(0)
    net = torch.nn.Conv2d(3, 3, 1)
    loader = {"dataset": Pairs(), "sampler": {"type": DefaultSampler}, "batch_size": 4, "num_workers": 0}
    runner = Runner(
        **{
            "model": net,
            "loss": torch.nn.CrossEntropyLoss(),
            "work_dir": address,
            "remote": {**FAST, "cache_dir": cache},
            "train_dataloader": loader,
            "train_cfg": {"max_iters": iters},
            "optim_wrapper": torch.optim.AdamW(net.parameters(), 0.01),
            "hooks": [CheckpointHook(interval=2, by_epoch=False)],
            **more,
        }
    )
    runner.train()
    weights = {name.removeprefix("module."): value.clone() for name, value in runner.model.state_dict().items()}
    return weights, runner.resumed, runner.lost


@pytest.mark.parametrize("sharded", [False, True])
def test_of_several_ranks_the_first_brings_over_and_another_number_goes_on(server, tmp_path, sharded):
    kept = {"checkpoint": {"sharded": sharded}}
    first = on_ranks(2, tmp_path / "first", train_on_a_rank, server.address, tmp_path / "one", 4, **kept)
    assert sorted(path.name for path in server.run.glob("*.pth")) == ["iter_2.pth", "iter_4.pth"]
    assert all(path.is_dir() == sharded for path in server.run.glob("*.pth"))
    assert len(list(server.run.glob("*/*rank1.log"))) == 1
    sent = [name for name in server.asked("STOR") if ("rest.pth" if sharded else "iter_4") in name]
    assert len(sent) == (2 if sharded else 1)
    for world in (1, 2):
        cache = tmp_path / f"on{world}"
        found = on_ranks(world, cache, train_on_a_rank, server.address, cache, 4, resume=True)
        for weights, resumed, lost in found:
            assert resumed
            assert lost == ""
            assert all(torch.equal(weights[name], tensor) for name, tensor in first[0][0].items())


def test_a_server_that_is_not_there_is_told_on_all_ranks(server, tmp_path):
    server.stop()
    with Ranks(2, tmp_path / "ranks", train_on_a_rank, server.address, tmp_path / "one", 4) as ranks:
        assert ranks.codes() == [1, 1]
        for rank in range(2):
            assert "RemoteError: rank 0: ftp://me:***@127.0.0.1" in ranks.said(rank)

"""Runs at an address: what arrives there, and what is said and done at their start and end."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest
import torch
from seg_runner import Runner
from seg_runner.checkpoint.checkpoints import Checkpoints
from seg_runner.checkpoint.read import verify_checkpoint
from seg_runner.remote.address import RemoteError
from seg_runner.remote.stubs import is_stub


class Saves:
    """Saves each second step, and writes a file of its own."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter % 2 == 1:
            runner.save_last()
            (runner.log_dir / "own").mkdir(exist_ok=True)
            (runner.log_dir / "own" / "note.txt").write_text(f"{runner.iter}")


@pytest.fixture
def address(request):
    return f"memory://mirror/{request.node.name}"


@pytest.fixture
def train(make_runner, address, tmp_path):
    def run(cache="one", **changed):
        remote = {"cache_dir": tmp_path / cache, "interval": 0.2, "patience": 2}
        runner = make_runner(**{"work_dir": address, "remote": remote, "hooks": [Saves()], **changed})
        runner.train()
        return runner

    return run


def listed(address):
    files, root = fsspec.core.url_to_fs(address)
    return sorted(name.removeprefix(f"{root}/") for name in files.find(root))


def test_all_that_a_run_writes_is_at_its_address(train, address):
    runner = train()
    assert runner.lost == ""
    here = [path.relative_to(runner.work_dir).as_posix() for path in Path(runner.work_dir).rglob("*") if path.is_file()]
    assert listed(address) == sorted(here)
    assert {"iter_2.pth", "iter_4.pth", "iter_6.pth", "last_checkpoint"} < set(here)
    files, root = fsspec.core.url_to_fs(address)
    for name in here:
        assert files.cat_file(f"{root}/{name}") == (runner.work_dir / name).read_bytes()


def test_another_machine_goes_on_from_there(train, address):
    whole = train(work_dir=f"{address}-whole", train_cfg={"max_iters": 10})
    train()
    second = train("two", resume=True, train_cfg={"max_iters": 10})
    assert second.resumed
    assert is_stub(second.work_dir / "iter_4.pth")
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], tensor)


def test_a_new_run_there_is_refused_as_in_a_folder_here(train, address, tmp_path):
    train()
    with pytest.raises(FileExistsError, match=f"an earlier run has left the checkpoints in {address} "):
        train("two")
    (folder,) = (tmp_path / "two" / "work_dirs").iterdir()
    assert all(map(is_stub, folder.glob("*/*.pth")))  # nothing was fetched to say so
    train("two", overwrite=True, train_cfg={"max_iters": 2})


def test_overwrite_deletes_there(train, address):
    train()
    train("two", overwrite=True, train_cfg={"max_iters": 2})
    assert [name for name in listed(address) if name.endswith(".pth")] == ["iter_2.pth"]


def test_weights_from_an_address(train, address, make_runner, tmp_path):
    trained = train()
    remote = {"cache_dir": tmp_path / "three"}
    runner = make_runner(work_dir=tmp_path / "out", load_from=f"{address}/iter_6.pth", remote=remote)
    runner.val()
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(runner.model.state_dict()[name], tensor)
    (copy,) = (tmp_path / "three" / "files").glob("*/iter_6.pth")
    verify_checkpoint(copy)


def test_weights_of_its_own_folder_by_their_address(train, address):
    train()
    assert train("two", resume=f"{address}/iter_4.pth").resumed


def test_weights_that_are_not_there_are_told(make_runner, address):
    with pytest.raises(FileNotFoundError, match=f"there is no checkpoint '{address}/none.pth'"):
        make_runner(load_from=f"{address}/none.pth").val()


def test_a_validation_leaves_its_log_there_and_takes_no_folder(train, address, make_runner, tmp_path):
    train()
    before = set(listed(address))
    runner = make_runner(work_dir=address, resume=True, remote={"cache_dir": tmp_path / "two"})
    runner.val()
    new = set(listed(address)) - before
    assert new
    assert all(name.startswith(runner.log_dir.name) for name in new)


def test_a_second_training_of_one_runner_is_brought_over_too(train, address):
    runner = train()
    runner.train_loop.stop_training = False
    (runner.work_dir / "more.txt").write_text("more")
    runner.val()
    assert "more.txt" in listed(address)


def test_a_store_that_is_only_read_is_told_before_the_first_step(make_runner, tmp_path):
    pytest.importorskip("aiohttp", reason="fsspec reads http:// with aiohttp")
    with pytest.raises(RemoteError):
        make_runner(work_dir="http://127.0.0.1:9/runs", remote={"cache_dir": tmp_path}).train()


def test_options_are_checked(make_runner, address):
    with pytest.raises(TypeError, match=r"remote has 'intervall'.* Did you mean 'interval'"):
        make_runner(work_dir=address, remote={"intervall": 3})
    with pytest.raises(ValueError, match="interval"):
        make_runner(work_dir=address, remote={"interval": 0})
    with pytest.raises(TypeError, match=r"remote.options must be a dict"):
        make_runner(work_dir=address, remote={"options": "x"})


def test_file_addresses_are_paths(make_runner, tmp_path):
    runner = make_runner(work_dir=(tmp_path / "a b").as_uri())
    assert runner.work_dir == tmp_path / "a b"
    assert runner.remote is None


def test_a_path_object_keeps_its_address(make_runner, address, tmp_path):
    runner: Runner = make_runner(work_dir=Path(address), remote={"cache_dir": tmp_path / "one"})
    assert runner.remote is not None
    assert runner.remote.store.address == address
    assert isinstance(runner.checkpoints, Checkpoints)

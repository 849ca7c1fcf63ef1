"""A start on this machine and on others: which files are fetched, kept, deleted and put aside."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from seg_runner import find_resumable
from seg_runner.checkpoint.read import read_place, verify_checkpoint
from seg_runner.checkpoint.write import write_checkpoint
from seg_runner.errors import CheckpointError
from seg_runner.remote.mirror import Mirror, RemoteOptions
from seg_runner.remote.stubs import is_stub

pytest.importorskip("fsspec")


class Machine:
    """A machine with a cache of its own, on which runs come and go."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.address = folder, address

    def start(self) -> Mirror:
        mirror = Mirror(self.address, RemoteOptions(cache_dir=self.folder))
        mirror.pull()
        return mirror

    def run(self, **files: int | str | None) -> Mirror:
        """Write checkpoints of an iteration, or texts; delete for None; and bring all over."""
        mirror = self.start()
        change(mirror.work_dir, **files)
        mirror.begin(logging.getLogger("test"))
        mirror.finish()
        assert mirror.left == ""
        return mirror


def change(folder: Path, **files: int | str | None) -> None:
    for name, content in files.items():
        if isinstance(content, int):
            write_checkpoint(folder / f"{name}.pth", checkpoint(content))
        elif content is None:
            (folder / f"{name}.pth").unlink()
        else:
            (folder / name).write_text(content)


def checkpoint(iteration: int) -> dict[str, Any]:
    meta = {"iter": iteration, "epoch": 0, "run_id": "r", "generation": 1}
    return {"meta": meta, "state_dict": {"w": torch.full((3000,), float(iteration))}, "optimizer": {"state": {}}}


@pytest.fixture
def one(tmp_path: Path, request: pytest.FixtureRequest) -> Machine:
    return Machine(tmp_path / "one", f"memory://pull/{request.node.name}")


@pytest.fixture
def two(tmp_path: Path, one: Machine) -> Machine:
    return Machine(tmp_path / "two", one.address)


def listed(mirror: Mirror) -> list[str]:
    return sorted(mirror.store.entries())


def test_another_machine_fetches_only_the_checkpoint_that_it_takes(one, two):
    one.run(iter_1=1, iter_2=2, last_checkpoint="/elsewhere/iter_2.pth")
    folder = two.start().work_dir
    assert sorted(path.name for path in folder.iterdir()) == ["iter_1.pth", "iter_2.pth", "last_checkpoint"]
    assert all(path.stat().st_size < 5000 for path in folder.iterdir())
    assert find_resumable(folder) == folder / "iter_2.pth"
    assert not is_stub(folder / "iter_2.pth")
    assert is_stub(folder / "iter_1.pth")
    assert (read_place(folder / "iter_1.pth") or {})["iter"] == 1
    verify_checkpoint(folder / "iter_1.pth")
    assert not is_stub(folder / "iter_1.pth")


def test_what_was_fetched_is_not_brought_over_again(one, two):
    one.run(iter_1=1, iter_2=2)
    mirror = two.start()
    find_resumable(mirror.work_dir)
    before = mirror.store.entries()
    mirror.begin(logging.getLogger("test"))
    mirror.finish()
    assert mirror.store.entries() == before


def test_a_stand_in_that_is_deleted_is_deleted_there(one, two):
    one.run(iter_1=1, iter_2=2)
    assert listed(two.run(iter_1=None)) == ["iter_2.pth"]


def test_a_stand_in_that_is_renamed_goes_there_as_the_file(one, two):
    one.run(best_1=1)
    mirror = two.start()
    (mirror.work_dir / "best_1.pth").rename(mirror.work_dir / "best_2.pth")
    mirror.begin(logging.getLogger("test"))
    mirror.finish()
    assert listed(mirror) == ["best_2.pth"]
    verify_checkpoint(Machine(two.folder / "x", two.address).start().work_dir / "best_2.pth")


def test_a_damaged_one_falls_back_to_the_older(one, two):
    mirror = one.run(iter_1=1, iter_2=2)
    files, path = mirror.store.files, f"{mirror.store.root}/iter_2.pth"
    data = bytearray(files.cat_file(path))
    data[len(data) // 2] ^= 1
    files.pipe_file(path, bytes(data))
    folder = two.start().work_dir
    assert find_resumable(folder) == folder / "iter_1.pth"


def test_the_same_machine_fetches_nothing(one):
    folder = one.run(iter_1=1).work_dir
    stamp = (folder / "iter_1.pth").stat().st_mtime_ns
    assert one.start().work_dir == folder
    assert (folder / "iter_1.pth").stat().st_mtime_ns == stamp


def test_what_a_killed_run_did_not_bring_over_goes_first(one):
    change(one.run(iter_1=1).work_dir, iter_2=2)
    mirror = one.start()
    assert find_resumable(mirror.work_dir) == mirror.work_dir / "iter_2.pth"
    assert listed(one.run()) == ["iter_1.pth", "iter_2.pth"]


def test_what_another_machine_deleted_does_not_come_back(one, two):
    one.run(iter_1=1, iter_2=2)
    two.run(iter_1=None, iter_3=3)
    folder = one.start().work_dir
    assert sorted(path.name for path in folder.iterdir()) == ["iter_2.pth", "iter_3.pth"]
    assert listed(one.run()) == ["iter_2.pth", "iter_3.pth"]


def test_what_another_machine_wrote_under_the_same_name_goes_first(one, two):
    change(one.run(iter_1=1).work_dir, iter_2=20)
    two.run(iter_2=2)
    mirror = one.start()
    verify_checkpoint(mirror.work_dir / "iter_2.pth")
    assert (read_place(mirror.work_dir / "iter_2.pth") or {})["iter"] == 2
    assert [path.name.partition(".pth")[0] for path in mirror.copy.aside.iterdir()] == ["iter_2"]


def test_a_store_that_lost_all_gets_it_again(one):
    mirror = one.run(iter_1=1, **{"run.log": "text"})
    mirror.store.files.rm(mirror.store.root, recursive=True)
    assert (one.start().work_dir / "iter_1.pth").exists()
    assert listed(one.run()) == ["iter_1.pth", "run.log"]


def test_one_that_was_brought_but_not_noted_is_known(one):
    mirror = one.run(iter_1=1)
    (mirror.copy.base / "known.json").unlink()
    before = mirror.store.entries()
    assert one.run().store.entries() == before


def test_a_note_that_cannot_be_read_costs_nothing(one):
    mirror = one.run(iter_1=1)
    (mirror.copy.base / "known.json").write_text('{"iter_1.pth": [1]')
    assert listed(one.run()) == ["iter_1.pth"]


def test_numbers_of_earlier_sessions_are_fetched_and_pictures_are_not(one, two):
    mirror = one.start()
    vis = mirror.work_dir / "20260101_000000" / "vis_data"
    (vis / "vis_image").mkdir(parents=True)
    change(vis, **{"scalars.json": "{}\n"})
    change(vis / "vis_image", **{"a.png": "picture"})
    one.run(iter_1=1)
    mirror = two.run()
    there = mirror.work_dir / "20260101_000000" / "vis_data"
    assert [path.name for path in there.iterdir()] == ["scalars.json"]
    assert "20260101_000000/vis_data/vis_image/a.png" in listed(mirror)


def test_what_earlier_starts_noted_is_fetched_with_its_time(one, two):
    mirror = one.start()
    for name in ("20260101_000000", "20260102_000000"):
        (mirror.work_dir / name).mkdir()
        change(mirror.work_dir / name, **{"run.json": "{}"})
        one.run(iter_1=1)
    folder = two.start().work_dir
    verify_checkpoint(folder / "iter_1.pth")
    first, second = (folder / name / "run.json" for name in ("20260101_000000", "20260102_000000"))
    assert first.stat().st_mtime < (folder / "iter_1.pth").stat().st_mtime
    assert first.stat().st_mtime < second.stat().st_mtime


def test_half_written_files_of_a_killed_run_are_removed_once_the_folder_is_taken(one, two):
    mirror = one.run(iter_1=1)
    mirror.store.write(".iter_2.pth.0123456789ab.tmp", b"half")
    second = two.start()
    assert ".iter_2.pth.0123456789ab.tmp" in listed(second)
    second.take()
    assert listed(second) == [".running", "iter_1.pth"]


def test_a_stand_in_whose_store_nobody_knows_is_told(one, two, tmp_path):
    one.run(iter_1=1)
    copied = tmp_path / "iter_1.pth"
    copied.write_bytes((two.start().work_dir / "iter_1.pth").read_bytes())
    with pytest.raises(CheckpointError, match=f"it lies at {one.address}/iter_1.pth. Give that address"):
        verify_checkpoint(copied)


def write_set(folder: Path, iteration: int) -> None:
    """Write a checkpoint of several files as two ranks do, one after the other."""
    from seg_runner.checkpoint.several.layout import Manifest, digest_of, write_manifest

    folder.mkdir()
    write_checkpoint(folder / "rest.pth", checkpoint(iteration))
    (folder / "rank_0.shards").write_bytes(bytes(9000))
    place = {"iter": iteration, "epoch": 0, "run_id": "r", "generation": 1, "complete": True, "finite": True}
    files = {path.name: (path.stat().st_size, digest_of(path)) for path in folder.iterdir()}
    write_manifest(folder, Manifest(place, files))


def test_a_checkpoint_of_several_files_is_there_once_its_manifest_is(one, two):
    mirror = one.start()
    write_set(mirror.work_dir / "iter_1.pth", 1)
    write_set(mirror.work_dir / "iter_2.pth", 2)
    one.run()
    for name in ("manifest.json", "rank_0.shards"):  # as a killed upload and a killed deletion leave them
        mirror.store.remove(f"iter_2.pth/{name}")
    second = two.start()
    assert sorted(path.name for path in second.work_dir.iterdir()) == ["iter_1.pth"]
    assert is_stub(second.work_dir / "iter_1.pth" / "rank_0.shards")
    assert find_resumable(second.work_dir) == second.work_dir / "iter_1.pth"
    assert not is_stub(second.work_dir / "iter_1.pth" / "rank_0.shards")
    second.take()
    second.finish()
    assert [name for name in listed(second) if name.startswith("iter_2")] == []


def test_a_set_that_is_deleted_here_goes_there_manifest_first(one):
    mirror = one.start()
    write_set(mirror.work_dir / "iter_1.pth", 1)
    one.run()
    shutil.rmtree(mirror.work_dir / "iter_1.pth")
    assert listed(one.run()) == []

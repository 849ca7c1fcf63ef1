"""Checkpoints as sets of files: each rank writes its part, whole or absent, and any number of ranks goes on."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.ranks import Ranks, on_ranks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runner.distributed.test_checkpoints import Blocks, assert_equal, bare, make_runner, rank, train
from seg_runner import find_resumable, read_checkpoint
from seg_runner.checkpoint.content import to_plain
from seg_runner.checkpoint.read import read_place, verify_checkpoint
from seg_runner.checkpoint.saver import CheckpointSaver
from seg_runner.checkpoint.several import layout, save
from seg_runner.checkpoint.several.layout import MANIFEST, REST, is_set
from seg_runner.checkpoint.write import CheckpointWriteError
from seg_runner.distributed.world import adopt_world
from seg_runner.errors import CheckpointError

SHARDED = {"sharded": True}


def payload(count: int = 5) -> dict[str, Any]:
    weight = torch.arange(400.0).view(20, 20) + count
    other = torch.randn(20, 20, generator=torch.Generator().manual_seed(2))
    drawn = torch.randn(600, generator=torch.Generator().manual_seed(1))
    weights = {"a": weight, "tied": weight, "b": drawn.bfloat16()}
    moments = {"exp_avg": weight * 2, "step": torch.tensor(3.0)}
    buffer = torch.full((600,), 1.0 + rank_here())
    state = {"state": {0: moments}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    return {
        "meta": {"iter": count, "epoch": 0, "run_id": "x", "generation": 1},
        "state_dict": {**weights, "buffer": buffer, "t": other.t(), "wide": other.expand(2, 20, 20)},
        "optimizer": state,
        "hooks": {"Some": {"names": ("x", 1), "value": None}},
    }


NAMES = ("a", "tied", "b")


def rank_here() -> int:
    return int(os.environ.get("RANK", "0"))


def write(folder: Path, count: int = 5, **options: Any) -> list[str]:
    saver = CheckpointSaver(sharded=True, **options)
    saver.world = adopt_world()
    saver.save_set(folder / f"iter_{count}.pth", payload(count), NAMES)
    saver.wait()
    return [] if saver.failure is None else [str(saver.failure.strerror)]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_a_set_holds_what_a_file_holds(tmp_path, world):
    on_ranks(world, tmp_path / "ranks", write, tmp_path)
    path = tmp_path / "iter_5.pth"
    assert is_set(path)
    verify_checkpoint(path)
    found = read_checkpoint(path)
    assert_equal(found, to_plain(payload()))
    assert found["state_dict"]["a"].data_ptr() == found["state_dict"]["tied"].data_ptr()
    assert read_place(path)["iter"] == 5
    assert find_resumable(tmp_path) == path
    names = {each.name for each in path.iterdir()}
    assert {MANIFEST, REST} < names
    assert len(names) == 2 + min(world, 3)  # three tensors are worth a place of their own
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


def test_whole_files_lie_beside_and_over_one_another(tmp_path):
    saver = CheckpointSaver(sharded=True)
    path = tmp_path / "iter_5.pth"
    for count in (1, 2):
        saver.save_set(path, payload(count), NAMES)
        assert read_checkpoint(path)["meta"]["iter"] == count
        saver.save(path, payload(count + 10))
        assert read_checkpoint(path)["meta"]["iter"] == count + 10
    assert [each.name for each in tmp_path.iterdir()] == ["iter_5.pth"]


def test_asynchronous_sets_hold_the_moment_of_saving(tmp_path):
    saver, state = CheckpointSaver(sharded=True, async_save=True), payload()
    saver.save_set(tmp_path / "a.pth", state, NAMES)
    state["state_dict"]["a"].fill_(-1)
    saver.wait()
    assert_equal(read_checkpoint(tmp_path / "a.pth"), to_plain(payload()))


PHASES = {
    "before the plan": (save._Writer, "prepare_local_plan"),
    "before its shards": (save._Writer, "write_data"),
    "in its shards": (save, "_local"),
    "after its shards": (save, "optimizer_not_finite"),
}
OF_RANK_0 = {
    "before the folder": (save._Writer, "prepare_global_plan"),
    "before the rest": (save._Writer, "finish"),
    "before the manifest": (save, "write_manifest"),
    "before its name": (save, "put_in_place"),
    "between two names": (os, "rename"),
}


def write_and_die(folder: Path, victim: int, phase: str) -> None:
    """Write a set; then another one of the same name, and kill one rank in it."""
    write(folder)
    if rank() == victim:
        owner, name = {**PHASES, **OF_RANK_0}[phase]
        usual = getattr(owner, name)

        def die(*args: Any, **options: Any) -> Any:
            if phase == "between two names":
                usual(*args)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(owner, name, die)
    state = payload()
    state["state_dict"]["a"] += 1
    saver = CheckpointSaver(sharded=True)
    saver.world = adopt_world()
    saver.save_set(folder / "iter_5.pth", state, NAMES)


@pytest.mark.parametrize(
    ("victim", "phase"), [*((v, phase) for phase in PHASES for v in (0, 1)), *((0, phase) for phase in OF_RANK_0)]
)
def test_a_rank_killed_at_any_moment_leaves_the_older_set(tmp_path, victim, phase):
    with Ranks(2, tmp_path / "ranks", write_and_die, tmp_path, victim, phase) as ranks:
        codes = ranks.codes()
    assert codes[victim] == -signal.SIGKILL
    assert codes[1 - victim] == 1, ranks.said(1 - victim)
    from seg_runner.files import clean_leftovers

    clean_leftovers(tmp_path)
    assert_equal(read_checkpoint(tmp_path / "iter_5.pth"), to_plain(payload()))
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


def fail_to_write(folder: Path, beside: bool) -> list[str]:
    write(folder)
    if rank() == 1:

        def full(*args: Any) -> None:
            raise OSError(28, "No space left on device")

        save._write_items = full
    return write(folder, 6, async_save=beside)


@pytest.mark.parametrize("beside", [False, True])
def test_a_full_disk_of_one_rank_is_told_on_all_and_leaves_nothing(tmp_path, beside):
    found = on_ranks(2, tmp_path / "ranks", fail_to_write, tmp_path, beside)
    assert found[0] == found[1]
    assert "the disk is full" in found[0][0]
    assert "(told by rank 1)" in found[0][0]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["iter_5.pth", "ranks"]


def stop_on_full(folder: Path) -> str:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    if rank() == 1:
        save._write_items = full
    with pytest.raises(CheckpointWriteError, match="the disk is full"):
        write(folder, on_full="stop")
    return "raised"


def test_where_it_is_to_stop_all_ranks_stop(tmp_path):
    assert on_ranks(2, tmp_path / "ranks", stop_on_full, tmp_path) == ["raised"] * 2


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "changed shard": lambda path: spoil(path / "rank_1.shards"),
    "cut shard": lambda path: os.truncate(path / "rank_0.shards", 100),
    "missing shard": lambda path: (path / "rank_1.shards").unlink(),
    "changed rest": lambda path: spoil(path / REST),
    "missing rest": lambda path: (path / REST).unlink(),
    "changed manifest": lambda path: spoil(path / MANIFEST),
    "missing manifest": lambda path: (path / MANIFEST).unlink(),
}


@pytest.fixture(scope="module")
def two_sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    on_ranks(2, folder / "ranks", write_twice, folder)
    return folder


def write_twice(folder: Path) -> None:
    write(folder, 5)
    write(folder, 6)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_set_is_seen_and_the_older_one_taken(tmp_path, two_sets, damage, caplog):
    folder = tmp_path / "run"
    shutil.copytree(two_sets, folder)
    assert find_resumable(folder).name == "iter_6.pth"
    DAMAGE[damage](folder / "iter_6.pth")
    with pytest.raises(CheckpointError):
        read_checkpoint(folder / "iter_6.pth")
    assert find_resumable(folder).name == "iter_5.pth"
    assert "iter_6.pth" in caplog.text


def rewrite(path: Path, change: Any) -> None:
    """Change a manifest, and give it a checksum that fits."""
    found = json.loads((path / MANIFEST).read_bytes().splitlines()[0])
    change(found)
    data = json.dumps(found).encode() + b"\n"
    (path / MANIFEST).write_bytes(data + layout.xxhash.xxh3_128(data).hexdigest().encode() + b"\n")


def first(found: dict[str, Any]) -> dict[str, Any]:
    return found["tensors"]["state_dict/a"]


def reshape(stored: dict[str, Any], shape: list[int]) -> None:
    stored["shape"] = stored["parts"][0]["sizes"] = shape
    stored["parts"][0]["offsets"] = [0] * len(shape)


HOSTILE = {
    "outside the file": lambda found: first(found)["parts"][0].update(begin=2**40),
    "a huge shape": lambda found: first(found).update(shape=[2**40, 20]),
    "a negative shape": lambda found: first(found).update(shape=[-20, -20]),
    "outside the tensor": lambda found: first(found)["parts"][0].update(offsets=[5, 0]),
    "parts that are not all": lambda found: first(found).update(parts=[]),
    "a file elsewhere": lambda found: found["files"].update({"../x": [1, ""]}),
    "no such file": lambda found: first(found)["parts"][0].update(file="/etc/passwd"),
    "no such type": lambda found: first(found).update(dtype="object"),
    "another order of bytes": lambda found: found.update(byteorder="other"),
    "another format": lambda found: found.update(format="set 9"),
    "no dict": lambda found: found.update(tensors=[1]),
    "one file many times": lambda found: found["tensors"].update({str(i): first(found) for i in range(50)}),
    "too many sides": lambda found: reshape(first(found), [20, 20] + [1] * 100),
    "no elements of a huge shape": lambda found: reshape(first(found), [0, 2**40, 2**40]),
    "no rest": lambda found: found["files"].pop(REST),
    "a tensor less": lambda found: found["tensors"].pop("state_dict/a"),
}


@pytest.mark.parametrize("harm", HOSTILE)
def test_a_manifest_made_to_harm_is_refused(tmp_path, two_sets, harm):
    folder = tmp_path / "iter_6.pth"
    shutil.copytree(two_sets / "iter_6.pth", folder)
    rewrite(folder, HOSTILE[harm])
    with pytest.raises(CheckpointError, match=r"iter_6\.pth"):
        read_checkpoint(folder)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in items for found in leaves(item, (*path, key)))]


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([]), st.just({})
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_manifest_says_it_is_read_or_refused(two_sets, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("changed") / "iter_6.pth"
    shutil.copytree(two_sets / "iter_6.pth", folder)

    def change(found: dict[str, Any]) -> None:
        *path, key = data.draw(st.sampled_from(leaves(found)[1:]))
        for each in path:
            found = found[each]
        found[key] = data.draw(ANYTHING)

    rewrite(folder, change)
    with contextlib.suppress(CheckpointError):
        assert isinstance(read_checkpoint(folder, verify=False), dict)
    find_resumable(folder.parent)
    shutil.rmtree(folder.parent)


@pytest.mark.parametrize("name", [MANIFEST, REST])
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_in_a_set_is_not_waited_for(tmp_path, two_sets, name):
    folder = tmp_path / "iter_6.pth"
    shutil.copytree(two_sets / "iter_6.pth", folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    for verify in (True, False):
        with pytest.raises(CheckpointError, match="is missing"):
            read_checkpoint(folder, verify=verify)
    assert find_resumable(tmp_path) is None


def not_finite_on_rank_1(folder: Path) -> None:
    state = payload()
    state["state_dict"]["a"][3, 3] = float("nan")
    state["optimizer"]["state"][0]["exp_avg"] = torch.full((20, 20), float("inf"))
    saver = CheckpointSaver(sharded=True)
    saver.world = adopt_world()
    saver.save_set(folder / "iter_5.pth", state, NAMES)


def test_what_is_not_finite_is_marked(tmp_path):
    on_ranks(2, tmp_path / "ranks", not_finite_on_rank_1, tmp_path)
    place = read_place(tmp_path / "iter_5.pth")
    assert place["finite"] is False
    assert place["optimizer_not_finite"] == ["exp_avg of parameter 0"]
    assert read_checkpoint(tmp_path / "iter_5.pth")["meta"]["not_finite"] == ["a"]


@pytest.mark.parametrize(("strategy", "beside"), [("ddp", False), ("fsdp", True)])
def test_saved_on_two_ranks_and_gone_on_from_on_one_two_and_four(tmp_path, strategy, beside):
    options = {"checkpoint": {**SHARDED, "async_save": beside}, "strategy": strategy}
    on_ranks(2, tmp_path / "first", train, tmp_path / "run", 6, **options)
    saved = tmp_path / "run" / "iter_6.pth"
    assert is_set(saved)
    verify_checkpoint(saved)
    plain = on_ranks(2, tmp_path / "plain", train, tmp_path / "whole", 6, strategy=strategy)
    del plain
    whole = read_checkpoint(tmp_path / "whole" / "iter_6.pth")
    assert_equal(read_checkpoint(saved)["optimizer"], whole["optimizer"])
    assert_equal(read_checkpoint(saved)["state_dict"], whole["state_dict"])
    ends = []
    for world, other in ((1, "single"), (2, "fsdp"), (4, "ddp")):
        folder = tmp_path / f"on{world}"
        found = on_ranks(world, folder, go_on, folder, str(saved), strategy=other)
        for each in found:
            assert_equal(each, found[0])
        assert_equal(found[0]["began"], {"weights": whole["state_dict"], "optimizer": whole["optimizer"]["state"]})
        ends.append(found[0]["ended"])
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0], rtol=1e-4, atol=1e-6)


def go_on(folder: Path, saved: str, strategy: str) -> dict[str, Any]:
    """Go on from a set; return what the run holds at the beginning and at the end, in whole tensors."""
    from seg_runner.distributed.shards import gathered

    runner = make_runner(folder, 12, resume=saved, strategy=strategy)
    seen: dict[str, Any] = {}

    def look() -> dict[str, Any]:
        state = {"weights": runner.model.state_dict(), "optimizer": runner.optim_wrapper.state_dict()["state"]}
        return torch.utils._pytree.tree_map_only(torch.Tensor, torch.clone, bare(gathered(state)))

    class Looks:
        def before_train(self, runner: Any) -> None:
            seen["began"] = look()

    runner.register_hook(Looks())
    runner.train()
    return {**seen, "ended": look()}


def evaluate(folder: Path, file: str) -> dict[str, Any]:
    from seg_runner import IoUMetric

    held = {"dataset": Blocks(4), "batch_size": 2, "num_workers": 0}
    loading = {"load_from": file, "train_cfg": None, "train_dataloader": None, "optim_wrapper": None}
    return make_runner(folder, 8, val_dataloader=held, val_evaluator=IoUMetric(num_classes=3), **loading).val()


def test_load_from_takes_a_set_as_it_takes_a_file(tmp_path):
    options = {"checkpoint": SHARDED}
    on_ranks(2, tmp_path / "first", train, tmp_path / "run", 4, **options)
    content = read_checkpoint(tmp_path / "run" / "iter_4.pth")
    CheckpointSaver().save(tmp_path / "whole.pth", content)
    found = [
        on_ranks(2, tmp_path / name, evaluate, tmp_path / f"of_{name}", str(file))
        for name, file in (("set", tmp_path / "run" / "iter_4.pth"), ("file", tmp_path / "whole.pth"))
    ]
    assert found[0][0] == found[1][0]


def break_on_one_rank(folder: Path, strategy: str) -> None:
    """Let one rank fail in the middle of a run."""

    class Breaks:
        def before_train_iter(self, runner: Any, batch_idx: int, data_batch: object = None) -> None:
            if runner.iter == 5 and rank() == 0:
                raise ValueError("broken on purpose")

    make_runner(folder, 8, hooks=[Breaks()], checkpoint=SHARDED, strategy=strategy).train()


@pytest.mark.parametrize(("strategy", "kept"), [("ddp", True), ("fsdp", False)])
def test_what_an_exception_leaves_is_written_without_the_others(tmp_path, strategy, kept):
    with Ranks(2, tmp_path / "ranks", break_on_one_rank, tmp_path / "run", strategy) as ranks:
        assert ranks.codes()[0] == 1
    assert "broken on purpose" in ranks.said(0)
    left = tmp_path / "run" / "interrupted_iter_5.pth"
    assert left.is_file() == kept
    if not kept:
        assert "each rank has only a part of the weights" in ranks.said(0)


class Slow:
    """Tells that a rank is training, and keeps its steps from being too fast to be met."""

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: object = None) -> None:
        print(f"step {runner.iter}", flush=True)
        time.sleep(0.002)


def train_long(folder: Path) -> None:
    saving = {"sharded": True, "async_save": True}
    make_runner(folder, 100_000, hooks=[Slow()], checkpoint=saving, strategy="fsdp").train()


def test_a_signal_to_one_rank_saves_a_set_of_all(tmp_path):
    with Ranks(2, tmp_path / "ranks", train_long, tmp_path / "run") as ranks:
        until = time.monotonic() + 60
        while "step 5\n" not in ranks.said(1) and time.monotonic() < until:
            time.sleep(0.01)
        ranks.signal(1, signal.SIGTERM)
        assert ranks.codes() == [128 + signal.SIGTERM] * 2, ranks.said(0)
    (saved,) = (path for path in (tmp_path / "run").glob("*.pth"))
    assert is_set(saved)
    verify_checkpoint(saved)
    assert f"saved {saved.name}" in ranks.said(0)
    assert find_resumable(tmp_path / "run") == saved

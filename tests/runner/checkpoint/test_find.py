from __future__ import annotations

import os
import shutil

import pytest
import torch
from seg_runner import find_resumable
from seg_runner.checkpoint.find import next_generation
from seg_runner.checkpoint.write import MARK, write_checkpoint


def save(folder, name, iteration, run="a", optimizer=True, **meta):
    payload = {"meta": {"iter": iteration, "epoch": 0, "run_id": run, **meta}, "state_dict": {"w": torch.zeros(100)}}
    if optimizer:
        payload["optimizer"] = {"state": {}}
    write_checkpoint(folder / name, payload)
    return folder / name


def damage(path):
    data = bytearray(path.read_bytes())
    data[data.index(bytes(300))] ^= 4
    path.write_bytes(data)


def test_nothing_to_resume(tmp_path):
    assert find_resumable(tmp_path) is None
    assert find_resumable(tmp_path / "none") is None
    save(tmp_path, "best_mIoU_iter_3.pth", 3, optimizer=False)
    (tmp_path / "notes.pth").write_text("no checkpoint")
    assert find_resumable(tmp_path) is None


def test_the_newest_is_taken_even_if_the_pointer_lags(tmp_path):
    for iteration in (9, 10, 100):
        newest = save(tmp_path, f"iter_{iteration}.pth", iteration)
    (tmp_path / "last_checkpoint").write_text("iter_10.pth")
    assert find_resumable(tmp_path) == newest


@pytest.mark.parametrize("how", ["flip", "cut", "empty"])
def test_a_damaged_file_is_named_and_passed_over(tmp_path, how, caplog):
    save(tmp_path, "iter_1.pth", 1)
    good = save(tmp_path, "iter_2.pth", 2)
    bad = save(tmp_path, "iter_3.pth", 3)
    (tmp_path / "last_checkpoint").write_text("iter_3.pth")
    if how == "flip":
        damage(bad)
    else:
        os.truncate(bad, 0 if how == "empty" else bad.stat().st_size // 2)
    assert find_resumable(tmp_path) == good
    assert "iter_3.pth" in caplog.text


def test_any_flipped_bit_leads_to_the_file_before(tmp_path):
    """Also one in what the file says of its own place in the run."""
    good = save(tmp_path, "iter_2.pth", 2, generation=1)
    bad = save(tmp_path, "iter_3.pth", 3, generation=1)
    whole, wrong = bad.read_bytes(), []
    for bit in [*range(0, len(whole) * 8, 173), *range((len(whole) - 200) * 8, len(whole) * 8, 3)]:
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        bad.write_bytes(data)
        if find_resumable(tmp_path) != good:
            wrong.append(bit)
    if not hasattr(torch.serialization, "set_crc32_options"):  # before 2.6 torch has checksums of its own, and a
        first = whole.rindex(MARK) * 8  # damaged mark leaves a file that they say is whole
        wrong = [bit for bit in wrong if not first <= bit < first + len(MARK) * 8]
    assert wrong == []


@pytest.mark.parametrize("where", ["meta", "data.pkl"])
def test_a_foreign_file_with_a_damaged_pickle_is_passed_over(tmp_path, where, caplog):
    good = save(tmp_path, "iter_2.pth", 2)
    bad = tmp_path / "iter_9.pth"
    torch.save({"meta": {"iter": 9, "epoch": 0}, "state_dict": {"w": torch.zeros(9)}, "optimizer": {}}, bad)
    data = bytearray(bad.read_bytes())
    data[data.index(b"meta" if where == "meta" else b"ctorch")] ^= 1
    bad.write_bytes(data)
    assert find_resumable(tmp_path) == good
    assert "iter_9.pth" in caplog.text


def test_no_file_is_unpickled_to_find_the_newest(tmp_path, monkeypatch):
    """So a hundred large checkpoints cost nothing, and no damaged one reaches an unpickler."""
    newest = [save(tmp_path, f"iter_{iteration}.pth", iteration) for iteration in (1, 2, 3)][-1]
    monkeypatch.setattr("seg_runner.checkpoint.find.read_checkpoint", None)
    assert find_resumable(tmp_path) == newest
    assert next_generation(tmp_path) == 1


def test_clocks_that_jump_back_change_nothing(tmp_path):
    save(tmp_path, "iter_1.pth", 1)
    newest = save(tmp_path, "iter_2.pth", 2)
    os.utime(newest, (1, 1))
    assert find_resumable(tmp_path) == newest


def test_an_older_run_in_the_same_folder_is_not_gone_on_with(tmp_path):
    save(tmp_path, "iter_1000.pth", 1000, run="old")
    mine = save(tmp_path, "iter_20.pth", 20, run="new")
    (tmp_path / "last_checkpoint").write_text("iter_20.pth")
    assert find_resumable(tmp_path) == mine


@pytest.mark.parametrize("pointer", ["iter_1000.pth", "gone.pth", None])
def test_the_run_that_began_last_is_gone_on_with_whatever_clocks_and_pointers_say(tmp_path, pointer):
    old = save(tmp_path, "iter_1000.pth", 1000, run="old", generation=1)
    assert next_generation(tmp_path) == 2
    mine = save(tmp_path, "iter_20.pth", 20, run="new", generation=2)
    os.utime(old, (4e9, 4e9))
    os.utime(mine, (1, 1))
    if pointer:
        (tmp_path / "last_checkpoint").write_text(pointer)
    assert find_resumable(tmp_path) == mine
    assert next_generation(tmp_path) == 3


def test_what_another_engine_made_of_our_run_is_gone_on_with(tmp_path):
    """MMEngine goes on from our file: its file counts no runs, and its pointer says that it is the last."""
    ours = save(tmp_path, "iter_4.pth", 4, run="ours", generation=1)
    theirs = save(tmp_path, "iter_6.pth", 6, run=None)
    assert find_resumable(tmp_path) == ours  # an older run of theirs, which nothing names
    (tmp_path / "last_checkpoint").write_text(str(theirs))
    assert find_resumable(tmp_path) == theirs
    again = save(tmp_path, "iter_8.pth", 8, run="again", generation=2)
    assert find_resumable(tmp_path) == again  # also where the pointer lags behind


def test_a_damaged_newest_file_does_not_lead_into_an_older_run(tmp_path):
    save(tmp_path, "iter_1000.pth", 1000, run="old", generation=1)
    mine = save(tmp_path, "iter_20.pth", 20, run="new", generation=2)
    newest = save(tmp_path, "iter_30.pth", 30, run="new", generation=2)
    os.truncate(newest, newest.stat().st_size // 2)
    (tmp_path / "last_checkpoint").write_text("iter_30.pth")
    assert find_resumable(tmp_path) == mine


def test_files_that_do_not_count_runs_go_by_iterations_not_by_times(tmp_path):
    newest = save(tmp_path, "iter_30.pth", 30, run="a")
    other = save(tmp_path, "iter_20.pth", 20, run="b")
    os.utime(newest, (1, 1))
    assert find_resumable(tmp_path) == newest
    (tmp_path / "last_checkpoint").write_text(other.name)
    assert find_resumable(tmp_path) == other


def test_a_moved_folder(tmp_path):
    first = tmp_path / "first"
    first.mkdir()
    save(first, "iter_1.pth", 1)
    (first / "last_checkpoint").write_text(str(first / "iter_1.pth"))
    shutil.move(first, tmp_path / "second")
    assert find_resumable(tmp_path / "second") == tmp_path / "second" / "iter_1.pth"


@pytest.mark.parametrize("place", ["", "deep/", "../far/"])
def test_a_folder_that_was_copied_goes_on_with_its_own_file(tmp_path, place):
    for name in ("old", "new"):
        folder = tmp_path / name / "run"
        folder.mkdir(parents=True)
        (folder / place).mkdir(exist_ok=True)
        save(folder / place, "iter_1.pth", 1)
        (folder / "last_checkpoint").write_text(str(tmp_path / "old" / "run" / place / "iter_1.pth"))
    found = find_resumable(tmp_path / "new" / "run")
    assert found is not None
    assert found.samefile(tmp_path / "new" / "run" / place / "iter_1.pth")


def test_files_elsewhere_are_found_through_the_pointer(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    file = save(elsewhere, "iter_1.pth", 1)
    (tmp_path / "last_checkpoint").write_text(str(file))
    assert find_resumable(tmp_path) == file
    (tmp_path / "last_checkpoint").write_text("gone.pth")
    assert find_resumable(tmp_path) is None


def test_interrupted_files_on_request_or_where_nothing_else_is(tmp_path):
    regular = save(tmp_path, "iter_1.pth", 1)
    broken_off = save(tmp_path, "interrupted_iter_2.pth", 2)
    assert find_resumable(tmp_path) == regular
    assert find_resumable(tmp_path, interrupted=True) == broken_off
    regular.unlink()
    save(tmp_path, "best_mIoU_iter_3.pth", 3, optimizer=False)
    assert find_resumable(tmp_path) == broken_off
    damage(broken_off)
    assert find_resumable(tmp_path) is None


def test_weights_alone_are_the_last_choice(tmp_path):
    whole = save(tmp_path, "iter_1.pth", 1)
    save(tmp_path, "iter_2.pth", 2, optimizer=False)
    assert find_resumable(tmp_path) == whole
    whole.unlink()
    assert find_resumable(tmp_path) == tmp_path / "iter_2.pth"


def test_a_best_file_that_a_run_can_go_on_from_is_better_than_a_fresh_start(tmp_path):
    best = save(tmp_path, "best_mIoU_iter_30.pth", 30)
    assert find_resumable(tmp_path) == best
    regular = save(tmp_path, "iter_20.pth", 20)
    assert find_resumable(tmp_path) == regular
    damage(regular)
    assert find_resumable(tmp_path) == best


def test_leftovers_are_no_checkpoints(tmp_path):
    (tmp_path / ".iter_9.pth.0123456789ab.tmp").write_bytes(b"half")
    assert find_resumable(tmp_path) is None

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seg_hooks import CheckpointHook, EMAHook, TrainState
from seg_hooks.files import pointer_to, read_pointer, write_whole
from seg_hooks.own_loop.checkpoints import hook_names
from seg_hooks.own_loop.find_checkpoint import newest_whole, read_whole

LOGGER = logging.Logger("test")


def save(folder: Path, name: str) -> Path:
    torch.save({"meta": {"iter": 1}, "state_dict": {}, "message_hub": {}, "name": name}, folder / name)
    return folder / name


def found(folder: Path) -> str | None:
    result = newest_whole(folder, LOGGER)
    return None if result is None else result[0].name


def test_the_pointed_one_then_newer_ones_first(tmp_path: Path) -> None:
    assert found(tmp_path) is None
    for count in (9, 10, 100):
        save(tmp_path, f"iter_{count}.pth")
    assert found(tmp_path) == "iter_100.pth"
    (tmp_path / "last_checkpoint").write_text("iter_100.pth")
    save(tmp_path, "iter_101.pth")
    assert found(tmp_path) == "iter_101.pth"


def test_best_interrupted_and_published_files_are_not_resumed_from(tmp_path: Path) -> None:
    for name in ("best_mIoU_iter_900.pth", "interrupted.pth", "iter_900-0123abcd.pth", ".iter_900.pth.x.tmp"):
        save(tmp_path, name)
    assert found(tmp_path) is None
    save(tmp_path, "iter_1.pth")
    assert found(tmp_path) == "iter_1.pth"


def test_what_an_exception_left_is_taken_where_there_is_nothing_else(tmp_path: Path) -> None:
    for name in ("interrupted_iter_3.pth", "interrupted_iter_12.pth", "best_mIoU_iter_9.pth"):
        save(tmp_path, name)
    assert found(tmp_path) == "interrupted_iter_12.pth"
    (tmp_path / "interrupted_iter_12.pth").write_bytes(b"cut")
    assert found(tmp_path) == "interrupted_iter_3.pth"


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_file_that_is_cut_or_changed_anywhere_is_not_taken(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("files")
    save(folder, "iter_1.pth")
    path = folder / "iter_2.pth"
    torch.save({"meta": {"iter": 2}, "state_dict": {"w": torch.arange(50.0)}, "message_hub": {}}, path)
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        path.write_bytes(whole[:place])
        assert found(folder) == "iter_1.pth"
    else:
        path.write_bytes(
            whole[:place] + bytes([whole[place] ^ (1 << data.draw(st.integers(0, 7)))]) + whole[place + 1 :]
        )
        result = newest_whole(folder, LOGGER)
        assert result is not None
        if result[0].name == "iter_2.pth":  # the bit lay in padding: what is read is what was written
            assert torch.equal(result[1]["state_dict"]["w"], torch.arange(50.0))


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04"])
def test_what_is_no_checkpoint_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "iter_1.pth").write_bytes(content)
    with pytest.raises(ValueError, match=r"iter_1\.pth is not a whole checkpoint"):
        read_whole(tmp_path / "iter_1.pth")


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "x.pth")
    with pytest.raises(ValueError, match="not a checkpoint to resume from"):
        read_whole(tmp_path / "x.pth")


def test_a_broken_file_is_reported_and_the_older_one_taken(
    make_state: Callable[..., TrainState], train: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    state = make_state([CheckpointHook(5, by_epoch=False)])
    train(state)
    broken = state.work_dir / "iter_10.pth"
    broken.write_bytes(broken.read_bytes()[:-100])
    again = make_state()
    again.logger.addHandler(caplog.handler)
    assert again.resume() == state.work_dir / "iter_5.pth"
    assert "iter_10.pth is not a whole checkpoint" in caplog.text


def test_writing_is_whole_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new/file"
    write_whole(path, b"old")

    def fail(file: object) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, fail)
    assert path.read_bytes() == b"old"
    assert [one.name for one in path.parent.iterdir()] == ["file"]


def test_pointers_are_absolute_and_one_of_another_place_is_found_by_its_end(tmp_path: Path) -> None:
    assert pointer_to(tmp_path / "a/iter_1.pth", tmp_path / "a") == str(tmp_path / "a/iter_1.pth")
    assert read_pointer(tmp_path, "/no/such/place/iter_1.pth\n") == tmp_path / "iter_1.pth"
    assert read_pointer(tmp_path, "iter_1.pth\n") == tmp_path / "iter_1.pth"


@pytest.mark.parametrize("place", ["iter_1.pth", "deep/iter_1.pth", "../far/iter_1.pth"])
def test_a_folder_that_was_copied_has_a_pointer_of_its_own(tmp_path: Path, place: str) -> None:
    for folder in ("old", "new"):
        path = tmp_path / folder / "run" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "run").mkdir(exist_ok=True)
        path.touch()
    text = pointer_to(tmp_path / "old/run" / place, tmp_path / "old/run")
    assert Path(text).samefile(tmp_path / "old/run" / place)
    assert read_pointer(tmp_path / "new/run", text).samefile(tmp_path / "new/run" / place)


def test_two_hooks_of_one_class_have_two_names() -> None:
    hooks = [EMAHook(), CheckpointHook(), EMAHook()]
    assert [name for name, _ in hook_names(hooks)] == ["EMAHook", "CheckpointHook", "EMAHook#2"]

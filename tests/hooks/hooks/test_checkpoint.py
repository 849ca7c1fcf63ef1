from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from seg_hooks import CheckpointHook, EarlyStoppingHook, TrainState
from seg_hooks.own_loop.scalars import ScalarStore

Make = Callable[..., TrainState]
Train = Callable[..., None]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.pth"))


class Owner:
    """A runner of only what the hook asks for; it writes empty files, at once or when told to."""

    def __init__(self, work_dir: Path, max_iters: int = 10, max_epochs: int = 1, late: bool = False) -> None:
        self.work_dir, self.log_dir = work_dir, work_dir
        self.iter = self.epoch = 0
        self.max_iters, self.max_epochs = max_iters, max_epochs
        self.message_hub, self.logger = ScalarStore(), logging.Logger("test")
        self.late: list[Callable[[], None]] | None = [] if late else None
        self.saved: list[tuple[str, bool, bool]] = []

    def save_checkpoint(
        self, path: Path, *, optimizer: bool = True, schedulers: bool = True, on_done: Callable[[], None]
    ) -> None:
        self.saved.append((path.name, optimizer, schedulers))

        def finish() -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save({"state_dict": {}, "meta": {}}, path)
            on_done()

        if self.late is None:
            finish()
        else:
            self.late.append(finish)


def iterations(owner: Owner, hook: CheckpointHook, scores: dict[int, Any] | None = None) -> None:
    """Run the hook through an iteration loop; `scores` are the metrics after so many iterations."""
    hook.before_train(owner)
    for index in range(owner.iter, owner.max_iters):
        owner.iter = index
        hook.after_train_iter(owner, batch_idx=index)
        owner.iter = index + 1
        if scores and index + 1 in scores:
            hook.after_val_epoch(owner, metrics=scores[index + 1])
    hook.after_train(owner)


@pytest.mark.parametrize(
    ("begin", "interval", "saved"), [(3, 2, [3, 5, 7]), (0, 2, [2, 4, 6, 7]), (1, 3, [1, 4, 7]), (0, -1, [7])]
)
def test_when_it_saves(tmp_path: Path, begin: int, interval: int, saved: list[int]) -> None:
    owner = Owner(tmp_path, max_iters=7)
    iterations(owner, CheckpointHook(interval, by_epoch=False, save_begin=begin))
    assert files(tmp_path) == [f"iter_{count}.pth" for count in saved]
    owner = Owner(tmp_path / "epochs", max_epochs=7)
    hook = CheckpointHook(interval, save_begin=begin, save_last=False)
    hook.before_train(owner)
    for epoch in range(7):
        owner.epoch = epoch
        hook.after_train_epoch(owner)
    by_interval = [count for count in saved if interval > 0 and (count - begin) % interval == 0]
    assert files(tmp_path / "epochs") == [f"epoch_{count}.pth" for count in by_interval]


def test_old_files_go_only_after_the_new_one_is_complete(tmp_path: Path) -> None:
    owner = Owner(tmp_path, max_iters=4, late=True)
    hook = CheckpointHook(interval=1, by_epoch=False, max_keep_ckpts=1, save_best="mIoU")
    hook.before_train(owner)
    assert owner.late is not None
    for index in range(3):
        owner.iter = index
        hook.after_train_iter(owner, batch_idx=index)
        before = files(tmp_path)
        pointer = tmp_path / "last_checkpoint"
        pointed = Path(pointer.read_text()).name if pointer.exists() else None
        assert pointed == (f"iter_{index}.pth" if index else None)
        assert f"iter_{index + 1}.pth" not in before
        owner.late.pop()()
        assert files(tmp_path) == [f"iter_{index + 1}.pth"]
        assert Path(pointer.read_text()).name == f"iter_{index + 1}.pth"
    assert owner.message_hub.get_info("keep_ckpt_ids") == [3]
    for count, score in ((3, 0.5), (4, 0.6)):
        owner.iter = count
        hook.after_val_epoch(owner, metrics={"mIoU": score})
        owner.late.pop()()
        assert [name for name in files(tmp_path) if name.startswith("best")] == [f"best_mIoU_iter_{count}.pth"]


def test_a_save_that_never_completes_changes_nothing(tmp_path: Path) -> None:
    owner = Owner(tmp_path, max_iters=4, late=True)
    hook = CheckpointHook(by_epoch=False, save_best="mIoU")
    hook.before_train(owner)
    assert owner.late is not None
    hook.after_val_epoch(owner, metrics={"mIoU": 0.5})
    owner.late.pop()()
    owner.iter = 2
    hook.after_val_epoch(owner, metrics={"mIoU": 0.7})
    assert files(tmp_path) == ["best_mIoU_iter_0.pth"]
    assert hook.best[0].best_score == 0.5


def test_the_best_by_names_expressions_and_rules(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    hook = CheckpointHook(by_epoch=False, save_last=False, save_best=["mIoU", "IoU.road", "0.5*mIoU+0.5*mDice", "loss"])
    scores = {
        1: {"mIoU": 1.0, "mDice": 1.0, "IoU": {"road": 2.0}, "loss": 1.0},
        2: {"mIoU": 2.0, "mDice": -3.0, "IoU": {"road": 2.0}, "loss": 2.0},
        3: {"mIoU": 1.5, "mDice": 1.0, "IoU": {"road": 3.0}, "loss": 0.5},
    }
    iterations(owner, hook, scores)
    assert files(tmp_path) == [
        "best_0.5_mIoU+0.5_mDice_iter_3.pth",
        "best_IoU.road_iter_3.pth",
        "best_loss_iter_3.pth",
        "best_mIoU_iter_2.pth",
    ]
    assert owner.message_hub.get_info("best_score_mIoU") == 2.0
    assert owner.message_hub.get_info("best_ckpt_loss") == str(tmp_path / "best_loss_iter_3.pth")


def test_a_new_best_does_not_write_the_regular_one_again(tmp_path: Path) -> None:
    owner = Owner(tmp_path, max_iters=8)
    iterations(owner, CheckpointHook(3, by_epoch=False, save_best="mIoU"), {4: {"mIoU": 1}, 8: {"mIoU": 2}})
    names = [name for name, _, _ in owner.saved]
    assert names == ["iter_3.pth", "best_mIoU_iter_4.pth", "iter_6.pth", "iter_8.pth", "best_mIoU_iter_8.pth"]


def test_auto_is_miou_where_it_is_and_is_kept_over_a_resume(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    hook = CheckpointHook(by_epoch=False, save_best="auto", save_last=False)
    iterations(owner, hook, {1: {"aAcc": 9, "mIoU": 1}})
    assert files(tmp_path) == ["best_mIoU_iter_1.pth"]
    again = CheckpointHook(by_epoch=False, save_best="auto")
    again.load_state_dict(hook.state_dict())
    assert (again.best[0].key, again.best[0].rule, again.best[0].best_score) == ("mIoU", "greater", 1.0)


def test_scores_are_compared_unrounded(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    iterations(owner, CheckpointHook(by_epoch=False, save_best="mIoU"), {1: {"mIoU": 50.001}, 2: {"mIoU": 50.002}})
    assert "best_mIoU_iter_2.pth" in files(tmp_path)


def test_equal_none_and_nan_are_no_new_best(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    scores = {1: {"mIoU": 5}, 2: {"mIoU": 5}, 3: {"mIoU": None}, 4: {"mIoU": float("nan")}, 5: {}}
    iterations(owner, CheckpointHook(by_epoch=False, save_best="mIoU"), scores)
    assert "best_mIoU_iter_1.pth" in files(tmp_path)


def test_a_missing_metric_names_what_is_there(tmp_path: Path) -> None:
    hook = CheckpointHook(save_best="mIoU")
    hook.before_train(owner := Owner(tmp_path))
    with pytest.raises(KeyError, match="Did you mean 'mIou'"):
        hook.after_val_epoch(owner, metrics={"mIou": 1})


def test_best_files_can_be_resumed_from_or_hold_weights_only(tmp_path: Path) -> None:
    for weights_only in (False, True):
        owner = Owner(tmp_path)
        hook = CheckpointHook(by_epoch=False, save_last=False, save_best="mIoU", best_weights_only=weights_only)
        iterations(owner, hook, {1: {"mIoU": 1}})
        assert owner.saved == [("best_mIoU_iter_1.pth", not weights_only, not weights_only)]


def test_a_rule_in_doubt_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    owner = Owner(tmp_path)
    owner.logger.addHandler(caplog.handler)
    CheckpointHook(save_best="top1_loss").before_train(owner)
    assert "rule='less'" in caplog.text
    caplog.clear()
    CheckpointHook(save_best="top1_loss", rule="greater").before_train(owner)
    assert not caplog.text


def test_what_is_kept_survives_a_resume(tmp_path: Path) -> None:
    owner = Owner(tmp_path, max_iters=4)
    first = CheckpointHook(1, by_epoch=False, max_keep_ckpts=2, save_best="mIoU", save_last=False)
    iterations(owner, first, {2: {"mIoU": 5}})
    assert files(tmp_path) == ["best_mIoU_iter_2.pth", "iter_3.pth", "iter_4.pth"]
    second = CheckpointHook(1, by_epoch=False, max_keep_ckpts=2, save_best="mIoU", save_last=False)
    second.load_state_dict(first.state_dict())
    owner = Owner(tmp_path, max_iters=6)
    owner.iter = 4
    iterations(owner, second, {5: {"mIoU": 4}, 6: {"mIoU": 6}})
    assert files(tmp_path) == ["best_mIoU_iter_6.pth", "iter_5.pth", "iter_6.pth"]


def test_the_state_in_a_file_counts_that_file(tmp_path: Path) -> None:
    owner = Owner(tmp_path, late=True)
    hook = CheckpointHook(1, by_epoch=False, save_best="mIoU")
    hook.before_train(owner)
    hook.after_train_iter(owner, batch_idx=0)
    hook.after_val_epoch(owner, metrics={"mIoU": 5})
    state = hook.state_dict()
    assert state["kept"] == [1]
    assert (state["best"][0]["score"], state["best"][0]["file"]) == (5.0, "best_mIoU_iter_0.pth")


def test_a_fresh_run_forgets_and_a_run_of_mmengine_is_adopted(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    owner.message_hub.update_info("best_score", 7.5)
    owner.message_hub.update_info("best_ckpt", "/another/machine/best_mIoU_iter_3.pth")
    hook = CheckpointHook(by_epoch=False, save_best="mIoU")
    hook.before_train(owner)
    assert hook.best[0].best_score is None
    owner.iter = 5
    hook.before_train(owner)
    assert (hook.best[0].best_score, hook.best[0].best_file) == (7.5, "best_mIoU_iter_3.pth")


def test_an_early_stop_saves_the_last(make_state: Make, train: Train, tmp_path: Path) -> None:
    stop = EarlyStoppingHook("mIoU", patience=1)
    state = make_state([stop, CheckpointHook(4, by_epoch=False)], max_iters=20)
    train(state, every=3, metrics=lambda state: {"mIoU": -float(state.iter)})
    assert files(tmp_path / "out") == ["iter_4.pth", "iter_6.pth"]
    assert Path((tmp_path / "out/last_checkpoint").read_text()).name == "iter_6.pth"


def test_a_moved_folder_resumes_and_touches_nothing_outside(make_state: Make, train: Train, tmp_path: Path) -> None:
    hooks = [CheckpointHook(5, by_epoch=False, save_best="mIoU", max_keep_ckpts=1)]
    train(make_state(hooks), every=5, metrics=lambda state: {"mIoU": state.iter})
    shutil.copytree(tmp_path / "out", tmp_path / "moved")
    before = files(tmp_path / "out")
    again = [CheckpointHook(5, by_epoch=False, save_best="mIoU", max_keep_ckpts=1)]
    state = make_state(again, max_iters=15, work_dir=tmp_path / "moved")
    assert state.resume() == tmp_path / "moved/iter_10.pth"
    train(state, every=5, metrics=lambda state: {"mIoU": state.iter})
    assert files(tmp_path / "moved") == ["best_mIoU_iter_15.pth", "iter_15.pth"]
    assert files(tmp_path / "out") == before


def test_out_dir_gets_a_folder_of_the_work_directorys_name_and_is_not_nested(tmp_path: Path) -> None:
    owner = Owner(tmp_path / "work", max_iters=2)
    owner.work_dir.mkdir()
    hook = CheckpointHook(1, by_epoch=False, out_dir=tmp_path / "far")
    iterations(owner, hook)
    owner.iter = 0
    iterations(owner, hook)
    assert files(tmp_path / "far/work") == ["iter_1.pth", "iter_2.pth"]
    assert (owner.work_dir / "last_checkpoint").read_text() == str(tmp_path / "work/../far/work/iter_2.pth")
    assert not (tmp_path / "far/work/work").exists()


def test_published_copies_hold_those_keys_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    owner = Owner(tmp_path, max_iters=2)
    owner.logger.addHandler(caplog.handler)
    hook = CheckpointHook(by_epoch=False, save_best="mIoU", published_keys=["state_dict", "nothing"])
    iterations(owner, hook, {1: {"mIoU": 1}})
    published = [path for path in tmp_path.glob("*.pth") if "-" in path.name]
    assert sorted(path.name.split("-")[0] for path in published) == ["best_mIoU_iter_1", "iter_2"]
    assert all(list(torch.load(path, weights_only=True)) == ["state_dict"] for path in published)
    assert {"iter_2.pth", "best_mIoU_iter_1.pth"} <= set(files(tmp_path))
    assert "nothing" in caplog.text


def test_the_words_of_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    owner = Owner(tmp_path, max_iters=5)
    owner.logger.addHandler(caplog.handler)
    iterations(owner, CheckpointHook(3, by_epoch=False, save_best="mIoU"), {3: {"mIoU": 0.25}, 4: {"mIoU": 0.5}})
    assert [record.getMessage() for record in caplog.records] == [
        "Saved checkpoint at 3 iterations: iter_3.pth",
        "The best checkpoint with 0.2500 mIoU at 3 iter is saved to best_mIoU_iter_3.pth.",
        "The best checkpoint with 0.5000 mIoU at 4 iter is saved to best_mIoU_iter_4.pth.",
        "The previous best checkpoint best_mIoU_iter_3.pth is removed",
        "Saved checkpoint at 5 iterations: iter_5.pth",
    ]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"interval": "2"}, TypeError, "interval='2'"),
        ({"interval": -2}, ValueError, "interval=-2"),
        ({"by_epoch": 1}, TypeError, "by_epoch=1"),
        ({"save_optimizer": None}, TypeError, "save_optimizer=None"),
        ({"save_param_scheduler": "x"}, TypeError, "save_param_scheduler='x'"),
        ({"out_dir": 3}, TypeError, "out_dir=3"),
        ({"out_dir": "s3://bucket"}, ValueError, "is a remote address"),
        ({"max_keep_ckpts": 1.5}, TypeError, "max_keep_ckpts=1.5"),
        ({"save_last": 0}, TypeError, "save_last=0"),
        ({"save_best": 3}, TypeError, "save_best=3"),
        ({"save_best": ["mIoU", "mIoU"]}, ValueError, "twice"),
        ({"save_best": ["auto", "mIoU"]}, ValueError, "cannot be combined"),
        ({"save_best": []}, TypeError, "save_best"),
        ({"save_best": "score"}, ValueError, "cannot tell"),
        ({"save_best": "mIoU", "rule": "more"}, ValueError, "rule='more'"),
        ({"save_best": ["mIoU", "loss"], "rule": ["less"] * 3}, ValueError, "3 entries for 2"),
        ({"rule": ["less"]}, ValueError, "has no effect without save_best"),
        ({"save_best": "mIoU", "greater_keys": 3}, TypeError, "greater_keys=3"),
        ({"save_best": "mIoU", "less_keys": 3}, TypeError, "less_keys=3"),
        ({"filename_tmpl": "iter.pth"}, ValueError, "exactly one {}"),
        ({"filename_tmpl": "{}_{}.pth"}, ValueError, "exactly one {}"),
        ({"filename_tmpl": "{.pth"}, ValueError, "not a template"),
        ({"filename_tmpl": "a/{}.pth"}, ValueError, "file name"),
        ({"filename_tmpl": "a\0{}.pth"}, ValueError, "file name"),
        ({"filename_tmpl": "{:>999999999}.pth"}, ValueError, "longer than the 255 bytes"),
        ({"filename_tmpl": "{:0" + "9" * 5000 + "d}.pth"}, ValueError, "longer than the 255 bytes"),
        ({"filename_tmpl": "{:.999999999f}.pth"}, ValueError, "longer than the 255 bytes"),
        ({"filename_tmpl": "{:é>255}.pth"}, ValueError, "longer than the 255 bytes"),
        ({"filename_tmpl": "é" * 130 + "{}.pth"}, ValueError, "longer than the 255 bytes"),
        ({"filename_tmpl": "{:{}}.pth"}, ValueError, "cannot write a count"),
        ({"filename_tmpl": "{:s}.pth"}, ValueError, "cannot write a count"),
        ({"filename_tmpl": "{:c}.pth"}, ValueError, "cannot write a count"),
        ({"published_keys": ["meta", "meta"]}, ValueError, "twice"),
        ({"published_keys": 3}, TypeError, "published_keys=3"),
        ({"save_begin": -1}, ValueError, "save_begin=-1"),
        ({"best_weights_only": 1}, TypeError, "best_weights_only=1"),
        ({"file_client_args": {}, "backend_args": {}}, ValueError, "old name"),
        ({"backend_args": {"backend": "petrel"}}, ValueError, "petrel"),
        ({"backend_args": "local"}, TypeError, "give a dict"),
        ({"max_keep_ckpt": 3}, TypeError, "Did you mean 'max_keep_ckpts'"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        CheckpointHook(**options)


def test_custom_keys_decide_the_rule() -> None:
    assert CheckpointHook(save_best="score", less_keys="score").best[0].rule == "less"
    assert CheckpointHook(save_best="score", greater_keys=["score"]).best[0].rule == "greater"


def extra(hook: CheckpointHook, owner: Any, name: str) -> None:
    """What a runner does that saves for a signal or an exception."""
    path = Path(owner.work_dir) / name
    hook.before_extra_checkpoint(owner, path)
    path.write_bytes(b"")
    hook.after_extra_checkpoint(owner, path)


def test_files_of_signals_and_exceptions_count_and_go_with_the_others(tmp_path: Path) -> None:
    owner = Owner(tmp_path, max_iters=100)
    hook = CheckpointHook(10, by_epoch=False, max_keep_ckpts=2, save_last=False)
    hook.before_train(owner)
    (tmp_path / "interrupted_iter_3.pth").write_bytes(b"")  # of an earlier run
    (tmp_path / "interrupted_iter_99.pth").write_bytes(b"")  # further than this run is
    (tmp_path / "interrupted_copy.pth").write_bytes(b"")  # not written by us
    mine = ["interrupted_copy.pth", "interrupted_iter_99.pth"]
    for index in range(10):
        owner.iter = index
        hook.after_train_iter(owner, batch_idx=index)
    assert files(tmp_path) == sorted([*mine, "interrupted_iter_3.pth", "iter_10.pth"])
    owner.iter = 14
    extra(hook, owner, "iter_14.pth")
    assert files(tmp_path) == sorted([*mine, "iter_10.pth", "iter_14.pth"])
    extra(hook, owner, "interrupted_iter_15.pth")
    assert files(tmp_path) == sorted([*mine, "interrupted_iter_15.pth", "iter_14.pth"])
    extra(hook, owner, "interrupted_iter_16.pth")
    assert files(tmp_path) == sorted([*mine, "interrupted_iter_16.pth", "iter_14.pth"])
    owner.iter = 19
    hook.after_train_iter(owner, batch_idx=19)
    assert files(tmp_path) == sorted([*mine, "iter_14.pth", "iter_20.pth"])


def test_the_file_that_a_resume_takes_stays_whatever_an_exception_leaves(tmp_path: Path) -> None:
    owner = Owner(tmp_path, max_iters=100)
    hook = CheckpointHook(10, by_epoch=False, max_keep_ckpts=1, save_last=False)
    hook.before_train(owner)
    owner.iter = 9
    hook.after_train_iter(owner, batch_idx=9)
    for iteration in (12, 13):
        extra(hook, owner, f"interrupted_iter_{iteration}.pth")
    assert files(tmp_path) == ["interrupted_iter_13.pth", "iter_10.pth"]


def test_in_a_run_by_epochs_a_file_by_iterations_is_known_after_a_resume(tmp_path: Path) -> None:
    owner = Owner(tmp_path, max_epochs=9)
    hook = CheckpointHook(1, max_keep_ckpts=1, out_dir=tmp_path / "other", save_last=False)
    hook.before_train(owner)
    hook.before_extra_checkpoint(owner, tmp_path / "iter_14.pth")
    state = hook.state_dict()
    assert state["kept"] == ["iter_14.pth"]
    (tmp_path / "iter_14.pth").write_bytes(b"")
    again = CheckpointHook(1, max_keep_ckpts=1, out_dir=tmp_path / "other", save_last=False)
    again.load_state_dict(state)
    again.before_train(owner)
    again.after_train_epoch(owner)
    assert files(tmp_path) == []
    assert files(tmp_path / "other" / tmp_path.name) == ["epoch_1.pth"]


@pytest.mark.parametrize("name", ["../precious.pth", "/precious.pth", "..", ".", "", "a/b.pth", "a\\b.pth"])
def test_a_checkpoint_names_no_file_of_another_folder_for_deletion(tmp_path: Path, name: str) -> None:
    hook = CheckpointHook(1, by_epoch=False, save_best="mIoU")
    with pytest.raises(ValueError, match="not a file name"):
        hook.load_state_dict({"kept": [name], "best": []})
    if name:
        best = {"option": "mIoU", "key": "mIoU", "score": 1.0, "file": name}
        with pytest.raises(ValueError, match="not a file name"):
            hook.load_state_dict({"kept": [], "best": [best]})


def test_a_folder_in_which_all_files_stay_is_not_listed_at_each_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each save would take longer than the one before."""
    listed: list[Path] = []
    real = Path.glob
    monkeypatch.setattr(Path, "glob", lambda self, pattern: listed.append(self) or real(self, pattern))
    iterations(Owner(tmp_path), CheckpointHook(1, by_epoch=False))
    assert listed == []
    assert len(list(real(tmp_path, "iter_*.pth"))) == 10

"""The small modules of the core: words for errors, log, process, record, default hooks, validation losses."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seg_runner.assembly.arguments import DEFAULTS, Arguments, fill_arguments
from seg_runner.errors import add_note, did_you_mean, origin_of, sample_paths
from seg_runner.hooks.defaults import DEFAULT_HOOKS, merge_default_hooks, without_effect
from seg_runner.log.setup import library_log, make_log_dir, make_logger
from seg_runner.loop.validation_loss import LossMeter, batch_losses
from seg_runner.process.device import pick_device
from seg_runner.process.environment import describe_environment, set_up_process
from seg_runner.run.record import git_state, origins_of, write_record


def test_a_note_is_added_once() -> None:
    error = ValueError("x")
    add_note(error, "here")
    add_note(error, "here")
    assert error.__notes__ == ["here"]


def test_where_a_key_stands() -> None:
    class Config:
        def origin(self, key: str) -> Any:
            if key == "broken":
                raise KeyError(key)
            return ["base.py:1", "train.py:3"] if key == "chain" else "train.py:2"

    assert origin_of(Config(), "lr") == " (train.py:2)"
    assert origin_of(Config(), "chain") == " (train.py:3)"
    assert origin_of(Config(), "broken") == ""
    assert origin_of(None, "lr") == ""


@given(st.text(max_size=8), st.lists(st.text(max_size=8), max_size=5))
def test_near_names_are_names_that_exist(name: str, names: list[str]) -> None:
    said = did_you_mean(name, names)
    assert said == "" or any(repr(known) in said for known in names)


def test_paths_of_a_batch_in_any_style() -> None:
    sample = SimpleNamespace(img_path="a.png")
    assert sample_paths({"inputs": [], "data_samples": [sample, {"img_path": "b.png"}]}) == ["a.png", "b.png"]
    assert sample_paths({"image_path": "c.png"}) == ["c.png"]
    assert sample_paths((torch.zeros(1), torch.zeros(1))) == []
    assert sample_paths({"path": [str(i) for i in range(50)]}) == [str(i) for i in range(8)]


def test_two_runs_of_one_second_get_two_folders(tmp_path: Path) -> None:
    one, two = make_log_dir(tmp_path), make_log_dir(tmp_path)
    assert one[0] != two[0]
    assert one[0].name == one[1]


def test_each_run_has_a_log_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = (make_logger(tmp_path / f"{name}.log") for name in "ab")
    one.info("first")
    two.warning("second")
    two.warning("second")
    one.info("again")
    assert [line.split(" - ", 1)[1] for line in (tmp_path / "a.log").read_text().splitlines()] == [
        "seg_runner - INFO - first",
        "seg_runner - INFO - again",
    ]
    assert (tmp_path / "b.log").read_text().count("second") == 1
    assert "first" in capsys.readouterr().out
    assert "seg_runner" not in [name for name in logging.root.manager.loggerDict if name == str(one)]


def test_what_is_long_goes_past_the_terminal_as_into_a_file_handler(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """MMEngine's models look for a FileHandler and write into its stream; without one, they print all of it."""
    logger = make_logger(tmp_path / "a.log")
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.stream.write("\nbackbone.weight: KaimingInit\n")
            handler.stream.flush()
    logger.info("after")
    first, second, third = (tmp_path / "a.log").read_text().splitlines()
    assert (first, second) == ("", "backbone.weight: KaimingInit")
    assert third.endswith("after")
    assert "Kaiming" not in capsys.readouterr().out


def test_logging_can_be_switched_off_for_a_while(tmp_path: Path) -> None:
    logger = make_logger(tmp_path / "a.log")
    logger.info("before")
    logging.disable(logging.CRITICAL)
    try:
        logger.info("a metric's table of one batch")
    finally:
        logging.disable(logging.NOTSET)
    logger.info("after")
    said = (tmp_path / "a.log").read_text()
    assert "before" in said
    assert "table" not in said
    assert "after" in said


def test_errors_say_where_they_come_from(tmp_path: Path) -> None:
    logger = make_logger(tmp_path / "a.log")
    logger.error("bad")
    assert f"{__file__} - test_errors_say_where_they_come_from" in (tmp_path / "a.log").read_text()


def test_words_of_the_package_go_to_the_run_that_is_under_way(tmp_path: Path) -> None:
    logger = make_logger(tmp_path / "a.log", "WARNING")
    with library_log(logger):
        logging.getLogger("seg_runner").warning("from within")
        logging.getLogger("seg_runner").info("too quiet")
    logging.getLogger("seg_runner").debug("after")
    text = (tmp_path / "a.log").read_text()
    assert "from within" in text
    assert "quiet" not in text
    assert logging.getLogger("seg_runner").handlers == []


def test_the_process_is_set_up_and_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCV_FOR_THREADS_NUM", "7")
    before = torch.backends.cudnn.benchmark
    try:
        set_up_process({"cudnn_benchmark": not before, "mp_cfg": {"opencv_num_threads": 0}, "dist_cfg": {}})
        assert torch.backends.cudnn.benchmark is not before
        assert os.environ["OPENCV_FOR_THREADS_NUM"] == "1"  # spawned workers read it
    finally:
        torch.backends.cudnn.benchmark = before
    set_up_process(None)
    assert pick_device("cpu") == torch.device("cpu")
    facts = describe_environment(torch.device("cpu"), 3, "2 (cores: 2)")
    assert facts["torch"] == str(torch.__version__)
    assert facts["seed"] == "3"
    assert facts["threads"] == "2 (cores: 2)"


def test_the_record_repeats_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "code"
    repository.mkdir()
    for words in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=b", "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", *words], cwd=repository, check=True)
    (repository / "file.py").write_text("a = 1\n")
    subprocess.run(["git", "add", "file.py"], cwd=repository, check=True)
    monkeypatch.chdir(repository)
    cfg = SimpleNamespace(pretty_text="a = 1\n", filename="configs/train.py")
    log_dir = tmp_path / "work" / "now"
    log_dir.mkdir(parents=True)
    record = json.loads(write_record(log_dir, cfg=cfg, work_dir=tmp_path / "work", facts={"seed": 7}).read_text())
    assert record["seed"] == 7
    assert record["versions"]["torch"] == str(torch.__version__)
    assert record["git"]["changed"] == ["A  file.py"]
    assert "+a = 1" in (log_dir / "uncommitted.diff").read_text()
    assert record["config"] == "train.py"
    assert (tmp_path / "work" / "train.py").read_text() == "a = 1\n"


@pytest.mark.parametrize("name", ["run.json", "train.py", "origins.json"])
def test_a_record_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def cfg(value: int) -> SimpleNamespace:
        return SimpleNamespace(
            pretty_text=f"a = {value}\n",
            filename="train.py",
            items=lambda: {"a": value}.items(),
            origin=lambda _: f"train.py:{value}",
        )

    write_record(tmp_path, cfg=cfg(1), work_dir=tmp_path, facts={"seed": 1})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    replace = os.replace

    def full(source: Any, target: Any) -> None:
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=f"No space left on device: .*{name}"):
        write_record(tmp_path, cfg=cfg(2), work_dir=tmp_path, facts={"seed": 2})
    assert (tmp_path / name).read_bytes() == before[name]
    assert {path.name for path in tmp_path.iterdir()} == set(before)


def test_outside_a_repository_there_is_no_git_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) == (None, "")


def test_default_hooks_are_replaced_added_and_left_out() -> None:
    assert list(merge_default_hooks(None)) == list(DEFAULT_HOOKS)
    merged = merge_default_hooks({"logger": {"type": "Mine"}, "timer": None, "visualization": {"type": "Other"}})
    assert merged["logger"] == ({"type": "Mine"}, True)
    assert "timer" not in merged
    assert list(merged)[-1] == "visualization"
    with pytest.raises(ValueError, match="no default hook of that name"):
        merge_default_hooks({"visualization": None})


def test_every_key_has_a_default() -> None:
    assert set(DEFAULTS) == set(Arguments.__annotations__)
    assert fill_arguments({}) == DEFAULTS


def test_losses_are_averaged_over_samples_and_named() -> None:
    class Model:
        def batch_losses(self, batch: Any) -> dict[str, torch.Tensor]:
            return {"loss": torch.tensor(float(batch)), "loss_ce": torch.tensor(float(batch)), "acc": torch.tensor(1.0)}

    meter = LossMeter(Model())
    assert meter.split([1, 2, 3], 1) == [1, 2, 3]
    meter.split([1], 5)
    assert meter.values("val") == {"loss_ce": 2.0, "acc": 1.0, "val_loss": 2.0}
    assert LossMeter(None).values("val") == {}


def test_a_model_of_the_references_shape_gives_its_loss() -> None:
    class Model:
        def data_preprocessor(self, batch: Any, training: bool) -> dict[str, Any]:
            assert not training
            return {"inputs": batch}

        def __call__(self, inputs: Any, mode: str) -> dict[str, torch.Tensor]:
            assert mode == "loss"
            return {"loss_a": torch.tensor(2.0 * inputs)}

        def parse_losses(self, losses: Any) -> Any:
            return losses["loss_a"], {"loss": losses["loss_a"], **losses}

    assert batch_losses(Model(), 3)["loss"] == 6.0
    with pytest.raises(TypeError, match="neither batch_losses"):
        batch_losses(object(), 3)


def test_keys_without_effect_are_said() -> None:
    assert without_effect({"sync_bn": "torch", "find_unused_parameters": False, "model": 1}) == [
        "sync_bn has no effect: there is one process"
    ]
    assert without_effect(None) == []


def test_the_origin_of_each_value_is_kept() -> None:
    class Config(dict[str, Any]):
        def origin(self, path: str) -> str:
            if path == "unknown":
                raise KeyError(path)
            return f"train.py: {path}"

    cfg = Config(a={"b": 1, "c": [1, 2]}, hooks=[{"type": "X"}], unknown=1)
    assert origins_of(cfg) == {
        "a.b": "train.py: a.b",
        "a.c": "train.py: a.c",
        "hooks.0.type": "train.py: hooks.0.type",
    }
    assert origins_of({"a": 1}) == {}

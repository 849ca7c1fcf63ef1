"""The Runner from plain objects: what it does, in which order, again and again; wrong combinations of arguments."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from seg_runner import IoUMetric, Runner
from torch.utils.data import DataLoader

MakeRunner = Callable[..., Runner]


def weights(runner: Runner) -> list[torch.Tensor]:
    return [p.detach().clone() for p in runner.model.parameters()]


def same(one: list[torch.Tensor], two: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def records(runner: Runner) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (runner.log_dir / "vis_data" / "scalars.json").read_text().splitlines()]


def test_it_learns_prints_and_saves(make_runner: MakeRunner, capsys: pytest.CaptureFixture[str]) -> None:
    runner = make_runner(train_cfg={"max_iters": 200, "val_interval": 100}, log_interval=50)
    runner.train()
    assert runner.val()["mIoU"] > 80
    out = capsys.readouterr().out
    assert "Iter(train) [ 50/200]" in out
    assert "seg-hooks" in out
    assert Path((runner.work_dir / "last_checkpoint").read_text()).name == "iter_200.pth"
    steps = [record["step"] for record in records(runner) if "loss" in record]
    assert steps == [50, 100, 150, 200]
    log = (runner.log_dir / f"{runner.timestamp}.log").read_text()
    assert "Iter(val) [3/3]" in log


def test_a_second_train_goes_no_further_and_val_and_test_see_the_trained_model(make_runner: MakeRunner) -> None:
    runner = make_runner(
        test_dataloader=DataLoader([(torch.zeros(3, 2, 2), torch.zeros(2, 2).long())]),
        test_evaluator=IoUMetric(num_classes=3),
    )
    before = weights(runner)
    runner.train()
    trained = weights(runner)
    assert not same(before, trained)
    first = runner.val()
    runner.test()
    runner.train()
    assert runner.iter == 6
    assert runner.val() == first
    assert same(trained, weights(runner))


def test_a_second_train_says_what_it_does(make_runner: MakeRunner, capsys: pytest.CaptureFixture[str]) -> None:
    runner = make_runner()
    runner.val()
    runner.train()
    assert "is finished" not in capsys.readouterr().out
    runner.train()
    assert "is finished: 6 of 6 iterations; for more, make a new Runner with a larger" in capsys.readouterr().out
    runner.train_loop.max_iters = 8
    runner.train()
    assert "after iteration 6 of 8 training goes on" in capsys.readouterr().out
    assert runner.iter == 8


def test_a_second_train_of_a_run_stopped_early_says_so(
    make_runner: MakeRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stop:
        def after_train_iter(self, runner: Runner) -> None:
            runner.train_loop.stop_training = True

    runner = make_runner()
    runner.register_hook(Stop())
    runner.train()
    capsys.readouterr()
    runner.train()
    assert "after iteration 1 of 6 training stays stopped" in capsys.readouterr().out
    assert runner.iter == 1


def test_val_and_test_alone_need_no_training_part(make_runner: MakeRunner) -> None:
    runner = make_runner(train_dataloader=None, train_cfg=None, optim_wrapper=None)
    assert "mIoU" in runner.val()
    assert (runner.iter, runner.max_iters, runner.epoch, runner.train_loop) == (0, 0, 0, None)
    with pytest.raises(RuntimeError, match=r"train\(\) needs train_dataloader"):
        runner.train()
    with pytest.raises(RuntimeError, match=r"test\(\) needs test_dataloader, test_cfg, test_evaluator"):
        runner.test()


def test_weights_to_start_from_are_loaded_once(make_runner: MakeRunner, tmp_path: Path) -> None:
    first = make_runner()
    first.train()
    file = first.work_dir / "iter_6.pth"
    tested = make_runner(load_from=file, train_dataloader=None, train_cfg=None, optim_wrapper=None)
    assert tested.val() == first.val()
    assert same(weights(tested), weights(first))
    tuned = make_runner(load_from=file, work_dir=tmp_path / "tuned")
    tuned.train()
    after = weights(tuned)
    tuned.val()
    assert same(after, weights(tuned))
    assert not same(after, weights(first))


def test_a_run_cut_in_two_is_the_same_run(make_runner: MakeRunner, tmp_path: Path) -> None:
    whole = make_runner(work_dir=tmp_path / "whole", train_cfg={"max_iters": 10, "val_interval": 5})
    whole.train()
    make_runner(work_dir=tmp_path / "cut", train_cfg={"max_iters": 5, "val_interval": 5}).train()
    cut = make_runner(
        work_dir=tmp_path / "cut", train_cfg={"max_iters": 10, "val_interval": 5}, resume=True, randomness=None
    )
    cut.train()
    assert same(weights(whole), weights(cut))
    assert cut.seed == 0


def test_a_visualizer_that_was_put_in_later_hears_where_the_run_goes_on(make_runner: MakeRunner) -> None:
    class Rows:
        resumed: int | None = None

        def resume_from(self, step: int, **where: object) -> None:
            self.resumed = step

        def add_scalars(self, scalars: dict[str, Any], step: int = 0) -> None:
            pass

        def close(self) -> None:
            pass

    make_runner(train_cfg={"max_iters": 2}).train()
    runner = make_runner(train_cfg={"max_iters": 4}, resume=True)
    runner.visualizer = rows = Rows()
    runner.train()
    assert rows.resumed == 2


def test_resume_starts_afresh_where_there_is_nothing(make_runner: MakeRunner) -> None:
    runner = make_runner(resume=True)
    runner.train()
    assert runner.iter == 6
    log = (runner.log_dir / f"{runner.timestamp}.log").read_text()
    assert "a fresh start" in log


def test_torchs_own_schedulers_are_stepped_in_the_unit_of_the_loop(make_runner: MakeRunner) -> None:
    net = torch.nn.Conv2d(3, 3, 1)
    for cfg, expected in (({"max_iters": 6}, 0.1 * 0.5**6), ({"max_epochs": 2}, 0.1 * 0.5**2)):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        options = {"optim_wrapper": optimizer, "param_scheduler": schedule, "train_cfg": cfg, "overwrite": True}
        make_runner(model=net, **options).train()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected)


def test_a_plateau_scheduler_looks_at_the_metric_it_names(make_runner: MakeRunner) -> None:
    net = torch.nn.Conv2d(3, 3, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "max", patience=0)
    runner = make_runner(model=net, optim_wrapper=optimizer, param_scheduler=schedule)
    with pytest.raises(KeyError, match="set its attribute `monitor` to one of aAcc, mAcc, mIoU"):
        runner.train()
    schedule.monitor = "mIoU"  # type: ignore[attr-defined]
    make_runner(model=net, optim_wrapper=optimizer, param_scheduler=schedule).train()
    assert schedule.num_bad_epochs == 0
    assert schedule.last_epoch == 2


def test_two_runs_in_one_process_do_not_mix(make_runner: MakeRunner) -> None:
    one, two = make_runner(), make_runner(randomness={"seed": 1}, overwrite=True)
    assert one.log_dir != two.log_dir
    one.train()
    two.train()
    assert [record["step"] for record in records(one)] == [record["step"] for record in records(two)]
    assert one.message_hub is not two.message_hub
    assert "mIoU" in (one.log_dir / f"{one.timestamp}.log").read_text()


def test_a_hook_may_be_given_by_either_name_and_a_slot_may_be_left_out(make_runner: MakeRunner, trace: Any) -> None:
    runner = make_runner(hooks=[trace], custom_hooks=[type(trace)()], default_hooks={"logger": None})
    names = [type(hook).__name__ for hook in runner.hooks]
    assert names.count("Trace") == 2
    assert "FallbackLoggerHook" not in names
    assert "FallbackCheckpointHook" in names


def test_a_hook_named_like_a_default_replaces_the_plain_one(make_runner: MakeRunner) -> None:
    class LoggerHook:
        def after_train_iter(self, runner: Any) -> None: ...

    runner = make_runner(hooks=[LoggerHook()])
    assert "FallbackLoggerHook" not in [type(hook).__name__ for hook in runner.hooks]


def test_no_hook_may_be_registered_while_a_run_is_under_way(make_runner: MakeRunner, trace: Any) -> None:
    class Late:
        def before_train(self, runner: Any) -> None:
            runner.register_hook(trace)

    with pytest.raises(RuntimeError, match="frozen") as caught:
        make_runner(hooks=[Late()]).train()
    assert "in hook Late, point before_train, iteration 0" in caught.value.__notes__


def test_hooks_read_off_the_runner_what_hooks_of_the_reference_read(make_runner: MakeRunner) -> None:
    names = """iter epoch max_iters max_epochs train_loop val_loop test_loop model optim_wrapper param_schedulers
    train_dataloader val_dataloader test_dataloader message_hub visualizer logger log_processor cfg work_dir log_dir
    timestamp experiment_name seed rank world_size distributed hooks call_hook save_checkpoint build_dataloader
    log_record resuming"""
    runner = make_runner()
    assert [name for name in names.split() if not hasattr(runner, name)] == []


def test_an_exception_in_training_leaves_what_was_there(make_runner: MakeRunner) -> None:
    class Fails:
        def after_train_iter(self, runner: Any) -> None:
            if runner.iter == 2:
                raise OverflowError("mine")

    runner = make_runner(hooks=[Fails()])
    with pytest.raises(OverflowError) as caught:
        runner.train()
    notes = "\n".join(caught.value.__notes__)
    assert "in hook Fails, point after_train_iter, iteration 2" in notes
    file = runner.work_dir / "interrupted_iter_3.pth"
    assert str(file) in notes
    asked = make_runner(resume=str(file))
    asked.train()
    assert asked.iter == 6


def test_sync_batch_norm_becomes_plain_on_one_process(make_runner: MakeRunner) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), torch.nn.SyncBatchNorm(3))
    runner = make_runner(model=net)
    runner.train()
    assert not any(isinstance(module, torch.nn.SyncBatchNorm) for module in runner.model.modules())
    assert "1.running_mean" in runner.model.state_dict()


def test_compiled_models_keep_their_names(make_runner: MakeRunner) -> None:
    runner = make_runner(compile={"backend": "eager"})
    runner.train()
    plain = make_runner(randomness={"seed": 0}, overwrite=True)
    plain.train()
    assert list(runner.model.state_dict()) == list(plain.model.state_dict())
    assert same(weights(runner), weights(plain))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch's own
@pytest.mark.parametrize(("breaks", "told"), [(False, "none"), (True, "graph_break")])  # words of torch
def test_graph_breaks_of_a_compiled_model_are_told(make_runner: MakeRunner, breaks: bool, told: str) -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(4, 3, 1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            hidden = self.first(images)
            if breaks:
                torch._dynamo.graph_break()
            return self.last(hidden)  # type: ignore[no-any-return]

    runner = make_runner(model=Net(), compile={"backend": "eager"})
    runner.train()
    text = (runner.log_dir / f"{runner.timestamp}.log").read_text()
    (line,) = [line for line in text.splitlines() if "compile: graph breaks in this run:" in line]
    assert told in line


@pytest.mark.parametrize(
    ("changed", "error", "says"),
    [
        ({"train_cfg": None}, ValueError, "train_dataloader and optim_wrapper given, train_cfg missing"),
        ({"optim_wrapper": None}, ValueError, "optim_wrapper missing"),
        ({"val_dataloader": None}, ValueError, "val_evaluator is given but val_dataloader is not"),
        ({"val_evaluator": None}, ValueError, "val_dataloader is given but val_evaluator is not"),
        ({"test_cfg": {}}, ValueError, "test_cfg is given but test_dataloader is not"),
        ({"loss": None}, ValueError, "needs a loss"),
        ({"max_iter": 4}, TypeError, "takes no argument 'max_iter'"),
        ({"train_dataloder": 4}, TypeError, "Did you mean 'train_dataloader'"),
        ({"launcher": "pytorc"}, ValueError, "launcher='pytorc'"),
        ({"log_level": "LOUD"}, ValueError, "log_level must be one of"),
        ({"env_cfg": {"cudnn_benchmrk": True}}, ValueError, "Did you mean 'cudnn_benchmark'"),
        ({"optim_wrapper": 3}, TypeError, "optim_wrapper must be a torch optimizer"),
        ({"default_hooks": {"loger": None}}, ValueError, "no default hook of that name"),
        ({"hooks": [object()]}, TypeError, "is not a hook"),
        ({"randomness": {"sed": 1}}, TypeError, "sed"),
    ],
)
def test_wrong_arguments(make_runner: MakeRunner, changed: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make_runner(**changed)


@pytest.mark.parametrize(
    ("cfg", "error", "says"),
    [
        ({"max_iters": 5, "max_epochs": 5}, ValueError, "max_epochs and max_iters"),
        ({"max_iter": 5}, ValueError, "Did you mean 'max_iters'"),
        ({}, ValueError, "must say how long to train"),
        ({"by_epoch": True, "type": "EpochBasedTrainLoop", "max_epochs": 1}, ValueError, "keep one of the two"),
        ({"max_iters": 5, "val_intervall": 2}, TypeError, "Did you mean 'val_interval'"),
        ({"by_epoch": True, "max_iters": 5}, TypeError, "has 'max_iters', which EpochBasedTrainLoop does not take"),
        (3, TypeError, "train_cfg must be a dict"),
    ],
)
def test_wrong_train_cfg(make_runner: MakeRunner, cfg: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make_runner(train_cfg=cfg).train()


def test_schedulers_need_an_optimizer(make_runner: MakeRunner) -> None:
    with pytest.raises(ValueError, match="param_scheduler needs optim_wrapper"):
        make_runner(train_dataloader=None, train_cfg=None, optim_wrapper=None, param_scheduler=[{"type": "PolyLR"}])


def test_a_dict_without_a_builder_says_what_to_install(
    make_runner: MakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seg_runner.assembly.assembler.find_builder", lambda cfg: None)
    with pytest.raises(TypeError, match='pip install "seg-registry @ git'):
        make_runner(hooks=[{"type": "EMAHook"}])


def test_a_folder_that_cannot_be_made_is_named(make_runner: MakeRunner, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError) as caught:
        make_runner(work_dir=tmp_path / "file" / "out")
    assert any("choose a folder that you may write to" in note for note in caught.value.__notes__)


def test_a_missing_checkpoint_is_named(make_runner: MakeRunner) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint 'gone.pth'"):
        make_runner(load_from="gone.pth").train()
    with pytest.raises(FileNotFoundError, match="cannot be downloaded"):
        make_runner(load_from="https://example.org/net.pth").train()
    runner = make_runner()
    with pytest.raises(IsADirectoryError, match="and resume=True, which takes the newest whole one"):
        make_runner(resume=str(runner.work_dir)).train()


def test_weights_under_another_key_are_loaded_as_the_options_say(make_runner: MakeRunner, tmp_path: Path) -> None:
    first = make_runner()
    torch.save({"model": {f"net.{k}": v + 1 for k, v in first.model.state_dict().items()}}, tmp_path / "other.pth")
    told = r"key='model', revise_keys="
    lenient = make_runner(load_from=tmp_path / "other.pth")
    lenient.train()  # as MMEngine does, but nobody can overlook it
    log = (lenient.log_dir / f"{lenient.timestamp}.log").read_text()
    assert re.search(r"WARNING.*fresh weights.*\n.*" + told, log)
    strict = make_runner(load_from=tmp_path / "other.pth", load_options={"strict": True}, overwrite=True)
    for refuse in (strict.train, make_runner(load_from=tmp_path / "other.pth").val):
        with pytest.raises(ValueError, match=told) as caught:
            refuse()
        assert any("load_options=dict(...)" in note for note in caught.value.__notes__)
    options = {"key": "model", "revise_keys": [(r"^net\.", "")]}
    tested = make_runner(load_from=tmp_path / "other.pth", load_options=options)
    tested.val()
    assert same(weights(tested), [value + 1 for value in weights(first)])
    tested.load_checkpoint(tmp_path / "other.pth", strict=True, **options)
    for wrong in ({"keys": "model"}, "model"):
        with pytest.raises(TypeError, match=r"load_options .*key"):
            make_runner(load_options=wrong)


def test_a_checkpoint_without_weights_is_not_resumed(make_runner: MakeRunner, tmp_path: Path) -> None:
    torch.save({"meta": {"iter": 3, "epoch": 0}}, tmp_path / "bare.pth")
    with pytest.raises(ValueError, match="holds no weights"):
        make_runner(resume=str(tmp_path / "bare.pth")).train()


def test_a_model_that_lacks_a_step_is_refused(make_runner: MakeRunner) -> None:
    class Half(torch.nn.Conv2d):
        def train_step(self, data: Any, optim_wrapper: Any) -> Any: ...

    net = Half(3, 3, 1)
    with pytest.raises(TypeError, match="Half has no val_step"):
        make_runner(model=net, loss=None, optim_wrapper=torch.optim.SGD(net.parameters(), 0.1)).train()
    with pytest.raises(ValueError, match="has a train_step, which has its own loss"):
        make_runner(model=net, optim_wrapper=torch.optim.SGD(net.parameters(), 0.1))


def test_operations_without_a_deterministic_form_are_errors_or_listed(make_runner: MakeRunner) -> None:
    class Unpools(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 3, 1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            pooled, places = torch.nn.functional.max_pool2d(self.conv(images), 2, return_indices=True)
            return torch.nn.functional.max_unpool2d(pooled, places, 2)

    try:
        with pytest.raises(RuntimeError, match="deterministic") as caught:
            make_runner(model=Unpools(), randomness={"seed": 0, "deterministic": True}, skip_checks=True).train()
        assert any("deterministic='warn'" in note for note in caught.value.__notes__)
        runner = make_runner(model=Unpools(), randomness={"seed": 0, "deterministic": "warn"})
        runner.train()
        log = (runner.log_dir / f"{runner.timestamp}.log").read_text()
        assert "stayed non-deterministic in this run: max_unpool" in log
    finally:
        torch.use_deterministic_algorithms(False)


def test_two_deterministic_runs_are_equal_bit_for_bit(make_runner: MakeRunner) -> None:
    try:
        runs = [make_runner(randomness={"seed": 3, "deterministic": True}, overwrite=True) for _ in range(2)]
        for runner in runs:
            runner.train()
    finally:
        torch.use_deterministic_algorithms(False)
    assert same(weights(runs[0]), weights(runs[1]))


def test_hooks_of_the_reference_may_save_with_their_own_words(make_runner: MakeRunner) -> None:
    runner = make_runner()
    runner.train()
    runner.save_checkpoint(str(runner.work_dir), "mine.pth", save_optimizer=False, meta={}, by_epoch=False)
    saved = torch.load(runner.work_dir / "mine.pth", weights_only=True)
    assert "optimizer" not in saved
    assert saved["meta"]["iter"] == 6
    with pytest.raises(TypeError, match="Did you mean 'save_optimizer'"):
        runner.save_checkpoint(runner.work_dir, "mine.pth", save_optimiser=False)


def test_no_worker_outlives_the_training(make_runner: MakeRunner, squares: Any) -> None:
    import multiprocessing

    loader = DataLoader(squares(), batch_size=4, num_workers=1, persistent_workers=True)
    make_runner(train_dataloader=loader, train_cfg={"max_iters": 4, "val_interval": 100}).train()
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("mode", ["val", "test"])
@pytest.mark.parametrize("change", ["missing", "shape"])
def test_evaluation_on_weights_that_are_not_there_stops(
    make_runner: MakeRunner, tmp_path: Path, mode: str, change: str
) -> None:
    held = make_runner().model.state_dict()
    name = list(held)[-1]
    state = {key: value for key, value in held.items() if key != name}
    state |= {name: torch.zeros(9, 9)} if change == "shape" else {}
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "part.pth")
    parts = {"test_dataloader": make_runner().arguments["val_dataloader"]} if mode == "test" else {}
    parts |= {"test_cfg": {}, "test_evaluator": make_runner().arguments["val_evaluator"]} if mode == "test" else {}
    with pytest.raises(RuntimeError, match=rf"{name}: (not in the file|shape \(9, 9\) in the file)") as caught:
        getattr(make_runner(load_from=tmp_path / "part.pth", **parts), mode)()
    assert "load_options.strict=False" in caught.value.__notes__[-1]
    options = {"strict": False}
    assert getattr(make_runner(load_from=tmp_path / "part.pth", load_options=options, **parts), mode)()
    make_runner(load_from=tmp_path / "part.pth").train()


def test_a_resume_of_nothing_is_not_evaluated(make_runner: MakeRunner) -> None:
    with pytest.raises(FileNotFoundError, match="no whole checkpoint"):
        make_runner(resume=True).val()


def test_a_bare_name_is_looked_for_in_the_working_folder(make_runner: MakeRunner) -> None:
    first = make_runner()
    first.train()
    name = first.save_last().name
    first.saver.wait()
    other = make_runner(work_dir=first.work_dir, load_from=name)
    other.val()
    assert same(weights(other), weights(first))
    missing = rf"no checkpoint 'iter_99.pth' here, nor in {first.work_dir}.* \(which holds .*{name}"
    with pytest.raises(FileNotFoundError, match=missing):
        make_runner(work_dir=first.work_dir, resume="iter_99.pth").train()


def test_a_runner_says_where_it_stands(make_runner: MakeRunner) -> None:
    runner = make_runner()
    assert repr(runner).startswith("Runner(")
    runner.train()
    assert "iteration 6 of 6, work_dir=" in repr(runner)

from __future__ import annotations

import pytest
import torch
from seg_runner import Runner, find_resumable, read_checkpoint
from seg_runner.checkpoint import state as parts
from seg_runner.checkpoint.parts import Gradients
from seg_runner.checkpoint.report import ResumeError, config_text
from seg_runner.checkpoint.state import State
from seg_runner.trees import tensors_of


def gather_state(runner, **options):
    return parts.gather_state(runner.state_parts(), **options)


def restore_state(runner, checkpoint, **options):
    return parts.restore_state(runner.state_parts(), checkpoint, **options)


class Counting:
    """A hook with a state."""

    def __init__(self):
        self.steps = 0

    def after_train_iter(self, runner):
        self.steps += 1

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


def trained(make_runner, **changed):
    runner = make_runner(**changed)
    runner.train()
    return runner


def test_the_keys_of_the_reference_and_ours_beside_them(make_runner):
    found = gather_state(trained(make_runner, hooks=[Counting(), Counting()]))
    assert {"meta", "state_dict", "message_hub", "optimizer"} <= set(found)
    assert found["meta"]["iter"] == 6
    assert found["meta"]["epoch"] == 0
    assert found["meta"]["dataset_meta"] == {"classes": ("dark", "bright", "very bright")}
    assert set(found["hooks"]) >= {"Counting", "Counting#2"}
    assert found["hooks"]["Counting"] == {"steps": 6}
    assert found["data"]["iteration"] == 6
    assert "grads" not in found


def test_gradients_that_a_model_leaves_to_one_of_several_optimizers():
    class Several(dict):
        def should_update(self):
            raise AssertionError("each of them has its own")

    model = torch.nn.Linear(1, 1)
    assert Gradients(model, Several(a=1)).save() is None
    model(torch.ones(1)).sum().backward()
    assert set(Gradients(model, Several(a=1)).save()) == {"weight", "bias"}


def test_weights_alone(make_runner):
    found = gather_state(trained(make_runner), optimizer=False, schedulers=False)
    assert "optimizer" not in found
    assert "param_schedulers" not in found


def test_less_than_a_megabyte_besides_tensors(make_runner, tmp_path):
    runner = make_runner(train_cfg={"max_iters": 300}, val_dataloader=None, val_evaluator=None)
    runner.train()
    path = runner.work_dir / "iter_300.pth"
    tensors = sum(v.nbytes for v in read_checkpoint(path)["state_dict"].values())
    assert path.stat().st_size - 3 * tensors < 60_000


def test_a_hundred_thousand_iterations_leave_little_behind(make_runner):
    """As of a run on 150 classes with 12 scalars a step and 200 validations with values per class."""
    runner = trained(make_runner)
    hub = runner.message_hub
    for step in range(100_000):
        hub.update_scalars({f"train/decode.loss_{name}": step * 0.1 for name in range(12)})
        if step % 500 == 0:
            hub.update_scalars({f"val/IoU.class_{name}": step * 0.01 for name in range(150)})
    path = runner.work_dir / "long.pth"
    runner.saver.save(path, gather_state(runner))
    found = read_checkpoint(path)
    assert path.stat().st_size - sum(tensor.nbytes for tensor in tensors_of(found)) < 500_000
    assert set(found["message_hub"]["log_scalars"]) >= {"train/decode.loss_11", "val/IoU.class_149"}


def test_everything_comes_back(make_runner, tmp_path):
    first = trained(make_runner, hooks=[Counting()])
    counting = Counting()
    again = make_runner(hooks=[counting], train_cfg={"max_iters": 8, "val_interval": 3}, resume=True)
    again.train()
    assert counting.steps == 8
    assert again.run_id == first.run_id
    assert again.iter == 8


def test_the_run_that_began_last_in_a_folder_is_the_one_that_goes_on(make_runner):
    folder = trained(make_runner).work_dir
    (folder / "iter_6.pth").rename(folder / "of_older_versions.pth")  # which did not refuse a second run
    (folder / "last_checkpoint").unlink()
    trained(make_runner, train_cfg={"max_iters": 3})
    (folder / "of_older_versions.pth").rename(folder / "iter_6.pth")
    (folder / "last_checkpoint").unlink()
    assert find_resumable(folder) == folder / "iter_3.pth"


def test_what_follows_a_file_chosen_by_hand_is_newer_than_what_was_there(make_runner):
    folder = trained(make_runner, train_cfg={"max_iters": 3}).work_dir
    trained(make_runner, train_cfg={"max_iters": 6}, resume=True)
    (folder / "last_checkpoint").unlink()
    assert find_resumable(folder) == folder / "iter_6.pth"
    trained(make_runner, train_cfg={"max_iters": 5}, resume=str(folder / "iter_3.pth"))
    (folder / "last_checkpoint").unlink()
    assert find_resumable(folder) == folder / "iter_5.pth"


def test_hooks_that_come_or_go_are_named(make_runner, tmp_path):
    state = gather_state(trained(make_runner, hooks=[Counting()]))
    runner = trained(make_runner, work_dir=tmp_path / "other")
    report = restore_state(runner, state)
    assert "hook Counting: in the checkpoint, not in this run" in report.not_restored
    with pytest.raises(ResumeError, match="Counting"):
        restore_state(runner, state, strict=True)


def test_a_file_without_a_place_is_no_run(make_runner):
    runner = trained(make_runner)
    with pytest.raises(ValueError, match="use load_from"):
        restore_state(runner, {"state_dict": {}})


def test_what_is_missing_is_said(make_runner):
    runner = trained(make_runner)
    state = gather_state(runner)
    for key in ("optimizer", "data", "message_hub"):
        state.pop(key)
    text = str(restore_state(runner, state))
    assert "optimizer: not in the checkpoint" in text
    assert "message_hub: not in the checkpoint" in text
    assert "counted from its iteration" in text


def test_the_seed_of_the_checkpoint_is_used_and_said(make_runner, tmp_path):
    state = gather_state(trained(make_runner, randomness={"seed": 5}))
    runner = trained(make_runner, randomness={"seed": 6}, work_dir=tmp_path / "other")
    report = restore_state(runner, state)
    assert runner.randomness.seed == 5
    assert any("randomness.seed: 5 -> 6" in line for line in report.changed)


def test_what_changed_since_is_told_and_strict_refuses_what_no_key_explains(make_runner, tmp_path):
    state = gather_state(trained(make_runner, cfg={"lr": 1, "same": 3}))
    state["meta"]["versions"]["torch"] = "2.0.0"
    state["data"] |= {"world_size": 2, "batch_size": 7}
    runner = trained(make_runner, cfg={"lr": 2, "same": 3}, work_dir=tmp_path / "other")
    report = restore_state(runner, state)
    assert report.changed == ["lr: 1 -> 2"]
    told = [f"torch: 2.0.0 -> {torch.__version__}", "data: world_size was 2, now 1", "data: batch_size was 7, now 4"]
    assert sorted(report.unexplained) == sorted(told)
    with pytest.raises(ResumeError, match="world_size was 2, now 1"):
        restore_state(runner, state, strict=True)


def test_a_config_key_explains_what_changed_in_the_data(make_runner, tmp_path):
    state = gather_state(trained(make_runner, cfg={"train_dataloader": {"batch_size": 7}}))
    state["data"]["batch_size"] = 7
    runner = trained(make_runner, cfg={"train_dataloader": {"batch_size": 4}}, work_dir=tmp_path / "other")
    report = restore_state(runner, state, strict=True)
    assert report.changed == ["train_dataloader.batch_size: 7 -> 4", "data: batch_size was 7, now 4"]


def test_raw_weights_without_an_ema_hook(make_runner):
    runner = trained(make_runner)
    state = gather_state(runner)
    raw = {name: torch.full_like(value, 3.0) for name, value in state["state_dict"].items()}
    state["ema_state_dict"] = {"steps": torch.tensor(4), **{f"module.{name}": value for name, value in raw.items()}}
    report = restore_state(runner, state)
    assert "no EMAHook" in report.restored[1]
    assert all(bool((value == 3).all()) for value in runner.model.state_dict().values())


def test_other_schedulers_are_not_mixed_up(make_runner, tmp_path):
    def make(count, **changed):
        net = torch.nn.Conv2d(3, 3, 1)
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        schedulers = [torch.optim.lr_scheduler.StepLR(optimizer, 2) for _ in range(count)]
        return trained(make_runner, model=net, optim_wrapper=optimizer, param_scheduler=schedulers, **changed)

    report = restore_state(make(2, work_dir=tmp_path / "other"), gather_state(make(1)))
    told = next(line for line in report.not_restored if line.startswith("schedulers: "))
    assert told.startswith("schedulers: 1 in the checkpoint, 2 in this run: not restored; the learning rate is what")
    assert "StepLR, StepLR cannot be moved on and starts again" in told
    assert told in report.warnings


def test_config_as_text():
    class Config:
        pretty_text = "a = 1\n"

    assert config_text(Config()) == "a = 1\n"
    assert config_text({"a": 1, "b": "x"}) == "a = 1\nb = 'x'"
    assert config_text(None) == ""


def test_a_checkpoint_of_which_no_weight_fits_is_refused(make_runner, tmp_path):
    state = gather_state(trained(make_runner))
    state["state_dict"] = {name: torch.zeros(*value.shape, 2) for name, value in state["state_dict"].items()}
    told = r"no weight of this checkpoint fits the model(.|\n)*: shape \(.*\) in the file, \(.*\) in the model"
    with pytest.raises(RuntimeError, match=told):
        restore_state(trained(make_runner, work_dir=tmp_path / "other"), state)
    anyway = trained(make_runner, work_dir=tmp_path / "third", load_options={"strict": False})
    assert "weights" in restore_state(anyway, state).not_restored


def test_other_names_of_classes_are_told(make_runner, tmp_path):
    state = gather_state(trained(make_runner))
    state["meta"]["dataset_meta"] = {"classes": ("bright", "dark", "very bright")}
    report = restore_state(trained(make_runner, work_dir=tmp_path / "other"), state)
    assert "class 0 was 'bright', and is 'dark' now" in report.warnings[0]


class Temperature:
    """A part as the docstring of `seg_runner.checkpoint.state` shows one."""

    key = "temperature"

    def __init__(self, model):
        self.model = model

    def save(self):
        return {"value": self.model.temperature}

    def restore(self, checkpoint, report):
        if self.key in checkpoint:
            self.model.temperature = checkpoint[self.key]["value"]
            report.restored.append("temperature")
        else:
            report.not_restored.append("temperature: not in the checkpoint")


class Draws:
    """Something with a state."""

    def __init__(self, count=0):
        self.count = count

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def test_a_new_part_is_one_line(make_runner, tmp_path, monkeypatch):
    old, before = gather_state(trained(make_runner)), Runner.state_parts

    def with_two_more(runner):
        return [*before(runner), State("draws", runner.model.draws), Temperature(runner.model)]

    monkeypatch.setattr(Runner, "state_parts", with_two_more)

    def make(count, temperature, **changed):
        runner = make_runner(work_dir=tmp_path / "new", **changed)
        runner.model.draws, runner.model.temperature = Draws(count), temperature
        return runner

    make(7, 0.5).train()
    again = make(0, 0.0, train_cfg={"max_iters": 8}, resume=True)
    again.train()
    assert (again.model.draws.count, again.model.temperature) == (7, 0.5)
    assert read_checkpoint(again.save_last())["draws"] == {"count": 7}
    assert "temperature: not in the checkpoint" in restore_state(again, old).not_restored

"""Losses and weights that are not finite: told once, marked in the file, passed over on resuming."""

import math
from pathlib import Path

import pytest
import torch
from seg_runner import IoUMetric, find_resumable
from seg_runner.checkpoint.finite import not_finite
from seg_runner.checkpoint.read import read_checkpoint, read_place
from seg_runner.checkpoint.write import write_checkpoint
from torch.utils._python_dispatch import TorchDispatchMode

BAD = 4


class Spoils:
    """From step `BAD` on one loss term and the weights are not finite."""

    priority = "VERY_HIGH"

    def after_train_iter(self, runner, outputs):
        if runner.iter + 1 >= BAD:
            outputs["loss_aux"] = torch.tensor(math.nan)
            with torch.no_grad():
                next(runner.model.parameters()).fill_(math.nan)
        else:
            outputs["loss_aux"] = torch.tensor(1.0)


class SavesEach:
    priority = "VERY_LOW"

    def after_train_iter(self, runner):
        runner.save_checkpoint(runner.work_dir / f"iter_{runner.iter + 1}.pth")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_one_warning_and_marked_files(make_runner, tmp_path, capsys, asynchronous):
    """With the plain hooks that stand in where none are given."""
    out = tmp_path / "out"
    options = {"checkpoint": {"async_save": asynchronous}, "val_dataloader": None, "val_evaluator": None}
    runner = make_runner(hooks=[Spoils(), SavesEach()], train_cfg={"max_iters": 6}, **options)
    runner.train()
    told = [line for line in capsys.readouterr().out.splitlines() if "for the first time" in line]
    assert len(told) == 1
    assert "iteration 4: loss_aux is not finite" in told[0]
    marks = [read_place(out / f"iter_{n}.pth")["finite"] for n in range(1, 7)]
    assert marks == [n < BAD for n in range(1, 7)]
    assert read_checkpoint(out / "iter_5.pth")["meta"]["not_finite"][0] == "0.weight"
    assert "not_finite" not in read_checkpoint(out / "iter_3.pth")["meta"]
    assert find_resumable(out) == out / "iter_3.pth"


def test_the_pointer_stays_at_a_good_one(make_runner, tmp_path):
    class SavesLast(SavesEach):
        def after_train_iter(self, runner):
            if runner.iter + 1 in (2, 5):
                runner.save_last()

    make_runner(hooks=[Spoils(), SavesLast()]).train()
    assert Path((tmp_path / "out" / "last_checkpoint").read_text()).name == "iter_2.pth"


def test_a_file_chosen_by_hand_is_taken_with_a_warning(make_runner, tmp_path, capsys):
    make_runner(hooks=[Spoils(), SavesEach()]).train()
    runner = make_runner(resume=str(tmp_path / "out" / "iter_5.pth"))
    runner.load_or_resume()
    assert "iter_5.pth contains weights that are not finite: 0.weight, " in capsys.readouterr().out


def save(folder, name, iteration, value=0.0, marked=True, optimizer=True, **meta):
    meta = {"iter": iteration, "epoch": 0, "run_id": "a", **meta}
    payload = {"meta": meta, "state_dict": {"w": torch.tensor([value])}}
    if optimizer:
        payload["optimizer"] = {"state": {}}
    if marked:
        write_checkpoint(folder / name, payload)
    else:  # of MMEngine, or from before there were marks
        torch.save(payload, folder / name)
    return folder / name


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_finite_one_is_resumed_from_while_there_is_one(tmp_path, marked, value):
    bad = [save(tmp_path, f"iter_{n}.pth", n, value, marked) for n in (2, 3, 4)]
    (tmp_path / "last_checkpoint").write_text("iter_4.pth")
    assert find_resumable(tmp_path) == bad[-1]  # nothing better is left
    best = save(tmp_path, "best_mIoU_iter_1.pth", 1, marked=marked)
    assert find_resumable(tmp_path) == best
    good = save(tmp_path, "iter_1.pth", 1, marked=marked)
    assert find_resumable(tmp_path) == good


def test_a_damaged_good_one_and_a_bad_one(tmp_path):
    bad = save(tmp_path, "iter_2.pth", 2, math.nan)
    good = save(tmp_path, "iter_1.pth", 1)
    good.write_bytes(good.read_bytes()[:-400])
    assert find_resumable(tmp_path) == bad


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_numbers_whose_sum_is_not_finite_are_no_fault(kind):
    large = torch.full((100,), torch.finfo(kind).max, dtype=kind)
    mask = torch.full((2, 2), -math.inf, dtype=kind)
    assert not_finite({"state_dict": {"large": large, "mask": mask}}) == []
    large[7] = math.nan
    assert not_finite({"state_dict": {"large": large, "mask": mask}}) == ["large"]


def test_what_an_exception_leaves_is_not_advised_if_it_is_not_finite(make_runner, tmp_path):
    class Breaks:
        def after_train_iter(self, runner):
            if runner.iter + 1 == 5:
                raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault") as caught:
        make_runner(hooks=[Spoils(), SavesEach(), Breaks()]).train()
    told = "\n".join(caught.value.__notes__)
    assert "its weights are not finite. A resume goes on from" in told
    assert "iter_3.pth (iteration 3; 2 iterations are to be made again)" in told
    assert "resume=" not in told


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_optimizer_that_is_not_finite_is_told_and_its_file_goes_on(make_runner, tmp_path, capsys, asynchronous):
    """An infinite state ends the learning of a parameter whose weights stay finite."""

    class SpoilsOptimizer:
        priority = "VERY_HIGH"

        def after_train_iter(self, runner):
            if runner.iter + 1 == 2:
                bias = list(runner.model.parameters())[1]
                optimizer = getattr(runner.optim_wrapper, "optimizer", runner.optim_wrapper)
                optimizer.state[bias]["exp_avg_sq"] = torch.full_like(bias, math.inf)

    options = {"checkpoint": {"async_save": asynchronous}, "val_dataloader": None, "val_evaluator": None}
    make_runner(hooks=[SpoilsOptimizer(), SavesEach()], train_cfg={"max_iters": 2}, **options).train()
    out, path = capsys.readouterr().out, tmp_path / "out" / "iter_2.pth"
    told = "iter_2.pth: the optimizer's state is not finite (exp_avg_sq of parameter 1)"
    assert out.count("optimizer's state is not finite") == out.count(told) >= 1
    assert read_checkpoint(path)["meta"]["optimizer_not_finite"] == ["exp_avg_sq of parameter 1"]
    assert read_place(path)["finite"] is True
    assert find_resumable(tmp_path / "out") == path
    assert "optimizer_not_finite" not in read_checkpoint(tmp_path / "out" / "iter_1.pth")["meta"]


@pytest.mark.parametrize(("marked", "value"), [((), math.nan), ((1, 4), math.nan), ((0,), math.inf), ((), -math.inf)])
def test_a_validation_tells_of_how_many_images_the_logits_are_not_finite(make_runner, capsys, marked, value):
    images = torch.zeros(5, 1, 4, 4)
    images[list(marked)] = 9.0

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Conv2d(1, 3, 1)

        def forward(self, images):
            logits = self.net(images)
            spoilt = images[:, :1, :1, :1].expand_as(logits) > 8
            logits = logits.masked_fill(spoilt, value)
            return torch.cat([logits, torch.full_like(logits[:, :1], -math.inf)], 1)  # a class that is never taken

    data = torch.utils.data.TensorDataset(images, torch.zeros(5, 4, 4, dtype=torch.long))
    loader = torch.utils.data.DataLoader(data, batch_size=2)
    parts = {"train_dataloader": None, "train_cfg": None, "optim_wrapper": None, "loss": None}
    make_runner(model=Net(), val_dataloader=loader, val_evaluator=IoUMetric(num_classes=4), **parts).val()
    out = capsys.readouterr().out
    told = f"validation: the logits of {len(marked)} of 5 images are not finite"
    assert out.count("are not finite") == out.count(told) == bool(marked)


class Sums(TorchDispatchMode):
    """Counts how often torch adds up a tensor."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        self.count += function.overloadpacket is torch.ops.aten.sum
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_many_small_tensors_are_looked_at_together(dtype):
    weights = {f"w{number}": torch.ones(number % 3, 2, dtype=dtype) for number in range(3000)}
    with Sums() as sums:
        assert not_finite({"state_dict": weights}) == []
    assert 1 <= sums.count <= 4
    weights["w2500"][0, 1] = math.nan
    weights["w2999"][1, 0] = math.inf
    assert not_finite({"state_dict": weights}) == ["w2500", "w2999"]

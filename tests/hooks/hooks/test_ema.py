from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.ranks import on_ranks
from seg_hooks import CheckpointHook, EMAHook, ExponentialMovingAverage, StochasticWeightAverage, TrainState
from seg_hooks.model.weights import unwrap
from torch import nn

Make = Callable[..., TrainState]
Train = Callable[..., None]


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_validation_sees_the_average_and_training_the_raw_weights(make_state: Make, train: Train) -> None:
    hook, seen = EMAHook(momentum=0.1), []
    state = make_state([hook])

    def validate(state: TrainState) -> dict[str, float]:
        seen.append((weights(state.model), weights(hook.ema_model.module)))
        return {"mIoU": 1.0}

    before: list[dict[str, torch.Tensor]] = []
    train(state, every=5, metrics=validate, on_step=lambda state: before.append(weights(state.model)))
    in_model, in_average = seen[0]
    assert not equal(in_model, before[4])
    assert all(torch.equal(in_average[name], before[4][name]) for name, _ in state.model.named_parameters())
    assert equal(weights(state.model), before[-1])


def test_nothing_is_copied_and_nothing_swapped_before_it_begins(make_state: Make, train: Train) -> None:
    hook, counts = EMAHook(begin_iter=6), []
    state = make_state([hook])
    train(
        state,
        every=5,
        metrics=lambda state: {"same": float(not hook._swapped)},
        on_step=lambda state: counts.append(hook.ema_model.count),
    )
    assert counts == [0, 0, 0, 0, 0, 1, 2, 3, 4, 5]


def test_begin_iter_3_copies_at_the_third_step_and_averages_from_the_fourth(make_state: Make, train: Train) -> None:
    hook, raw, mean = EMAHook(begin_iter=3, momentum=0.5), [], []

    def note(state: TrainState) -> None:
        raw.append(state.model[0].weight.detach().clone())
        mean.append(hook.ema_model.module[0].weight.clone())

    train(make_state([hook], max_iters=4), on_step=note)
    assert torch.equal(mean[2], raw[2])
    assert torch.equal(mean[3], torch.lerp(raw[2], raw[3], 0.5))


def test_start_iters_and_decay_are_other_spellings() -> None:
    hook = EMAHook(start_iters=500, decay=0.9998)
    assert hook.begin_iter == 500
    assert hook.ema_cfg == {"momentum": 0.0002}


def test_the_checkpoint_has_the_average_and_the_raw_weights_and_says_so(
    make_state: Make, train: Train, tmp_path: Path
) -> None:
    hook = EMAHook(momentum=0.1)
    state = make_state([hook, CheckpointHook(interval=10, by_epoch=False)])
    train(state)
    saved = torch.load(tmp_path / "out/iter_10.pth", weights_only=True)
    assert equal(dict(saved["state_dict"]), weights(hook.ema_model.module))
    raw = {name.removeprefix("module."): v for name, v in saved["ema_state_dict"].items() if name != "steps"}
    assert equal(raw, weights(state.model))
    assert int(saved["ema_state_dict"]["steps"]) == 10
    assert "averaged" in saved["meta"]["ema"]


def test_resuming_gives_raw_weights_and_average_back_exactly(make_state: Make, train: Train, tmp_path: Path) -> None:
    def run(folder: str, stops: list[int | None]) -> tuple[dict[str, Any], dict[str, Any], int]:
        for stop in stops:
            hook = EMAHook(momentum=0.1)
            saving = CheckpointHook(interval=4, by_epoch=False)
            state = make_state([hook, saving], max_iters=12, work_dir=tmp_path / folder)
            state.resume()
            data_step = state.iter
            try:
                train(state, stop=stop)
            except KeyboardInterrupt:
                assert data_step == 0
        return weights(state.model), weights(hook.ema_model.module), hook.ema_model.count

    # the loader's order is that of a list, and the passes are of ten batches: a stop at 8 begins a new pass, so
    # only the steps before are compared through the checkpoint, not the whole run
    run("one", [9])
    saved = torch.load(tmp_path / "one/iter_8.pth", weights_only=True)
    hook = EMAHook(momentum=0.1)
    state = make_state([hook], max_iters=12, work_dir=tmp_path / "one")
    state.resume()
    assert state.iter == 8
    raw = {name.removeprefix("module."): v for name, v in saved["ema_state_dict"].items() if name != "steps"}
    assert equal(weights(state.model), raw)
    assert equal(weights(hook.ema_model.module), dict(saved["state_dict"]))
    assert hook.ema_model.count == 8


def test_an_exception_in_validation_gives_the_raw_weights_back(make_state: Make, train: Train) -> None:
    hook, before = EMAHook(momentum=0.1), []
    state = make_state([hook])

    def fail(state: TrainState) -> dict[str, float]:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        train(state, every=5, metrics=fail, on_step=lambda state: before.append(weights(state.model)))
    assert equal(weights(state.model), before[-1])


def test_saving_while_the_average_is_in_writes_the_same_file(make_state: Make, train: Train, tmp_path: Path) -> None:
    state = make_state([EMAHook(momentum=0.1)])

    def save(state: TrainState) -> dict[str, float]:
        state.save_checkpoint(tmp_path / "inside.pth")
        return {"mIoU": 1.0}

    train(state, every=10, metrics=save)
    state.save_checkpoint(tmp_path / "outside.pth")
    one, other = (torch.load(tmp_path / name, weights_only=True) for name in ("inside.pth", "outside.pth"))
    assert equal(dict(one["state_dict"]), dict(other["state_dict"]))
    assert equal(one["ema_state_dict"], other["ema_state_dict"])


def test_a_test_after_training_tests_the_average(make_state: Make, train: Train) -> None:
    hook = EMAHook(momentum=0.1)
    state = make_state([hook])
    train(state)
    raw = weights(state.model)
    hook.before_run(state)
    hook.before_test_epoch(state)
    assert not equal(weights(state.model), raw)
    hook.after_test_epoch(state)
    assert equal(weights(state.model), raw)


def test_a_new_head_is_skipped_by_name_or_refused(
    make_state: Make, train: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = make_state([EMAHook(), CheckpointHook(interval=10, by_epoch=False)])
    train(state)
    for strict in (False, True):
        saved = torch.load(tmp_path / "out/iter_10.pth", weights_only=True)
        wider = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.Linear(8, 3))
        hook = EMAHook(strict_load=strict)
        other = make_state([hook], model=wider)
        other.logger.addHandler(caplog.handler)
        other.resuming = True
        if strict:
            with pytest.raises(ValueError, match=r"strict_load=True.*3\.bias, 3\.weight"):
                hook.after_load_checkpoint(other, checkpoint=saved)
        else:
            hook.after_load_checkpoint(other, checkpoint=saved)
            assert "3.bias, 3.weight" in caplog.text
            assert hook.ema_model.count == 10


def test_loading_weights_alone_leaves_the_checkpoint_as_it_is(make_state: Make, train: Train, tmp_path: Path) -> None:
    state = make_state([EMAHook(), CheckpointHook(interval=10, by_epoch=False)])
    train(state)
    saved = torch.load(tmp_path / "out/iter_10.pth", weights_only=True)
    before = weights_copy = copy.deepcopy(dict(saved["state_dict"]))
    state.resuming = False
    EMAHook().after_load_checkpoint(state, checkpoint=saved)
    assert equal(dict(saved["state_dict"]), before)
    assert weights_copy


def test_a_checkpoint_without_an_average_is_reported(make_state: Make, caplog: pytest.LogCaptureFixture) -> None:
    state = make_state()
    state.logger.addHandler(caplog.handler)
    state.resuming = True
    EMAHook().after_load_checkpoint(state, checkpoint={"state_dict": {}})
    assert "holds no average" in caplog.text


def test_names_that_torch_compile_adds_stay_out(make_state: Make, train: Train, tmp_path: Path) -> None:
    class Compiled(nn.Module):
        """The shape of what torch.compile returns."""

        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self._orig_mod = module

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return self._orig_mod(batch)  # type: ignore[no-any-return]

    inner = nn.Sequential(Compiled(nn.Linear(4, 8)), nn.Linear(8, 1))
    state = make_state([EMAHook(momentum=0.1), CheckpointHook(interval=10, by_epoch=False)], model=Compiled(inner))
    train(state)
    saved = torch.load(tmp_path / "out/iter_10.pth", weights_only=True)
    assert sorted(saved["state_dict"]) == ["0.bias", "0.weight", "1.bias", "1.weight"]
    assert unwrap(state.model) is inner
    plain = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1))
    hook = EMAHook(momentum=0.1)
    other = make_state([hook], model=plain)
    other.resume()
    assert torch.equal(plain[0].weight, inner[0]._orig_mod.weight)
    assert hook.ema_model.count == 10


def test_a_compiled_model_validates_with_the_average(make_state: Make, train: Train) -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    compiled = torch.compile(net, backend="eager")
    hook, seen, batch = EMAHook(momentum=0.1), [], torch.ones(1, 4)

    def look(state: TrainState) -> dict[str, float]:
        with torch.no_grad():
            seen.append((compiled(batch), net(batch)))
        return {"mIoU": 1.0}

    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    train(make_state([hook], model=compiled, optimizer=optimizer), every=10, metrics=look)
    assert torch.equal(seen[0][0], hook.ema_model.module(batch))
    assert torch.equal(*seen[0])
    assert not torch.equal(net(batch), seen[0][0])


def test_a_wrapped_model_is_averaged_inside_its_wrapper() -> None:
    class MyDataParallel(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

    net = nn.Linear(1, 1)
    assert unwrap(MyDataParallel(net)) is net
    assert unwrap(net) is net


def average_on_this_rank(folder: Path) -> dict[str, Any]:
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    model = nn.parallel.DistributedDataParallel(nn.Linear(2, 1))
    hook = EMAHook(momentum=0.1)
    state = TrainState(model, torch.optim.SGD(model.parameters(), 0.1), folder, 6, hooks=[hook])
    with state:
        for batch in state.batches([torch.full((1, 2), 1.0 + rank)] * 6):
            model(batch).square().mean().backward()
            state.optimizer.step()
            state.optimizer.zero_grad()
            state.after_step()
    found = {"raw": model.module.state_dict(), "average": hook.ema_model.module.state_dict()}
    return {kind: {name: value.clone() for name, value in weights.items()} for kind, weights in found.items()}


def test_real_processes_of_ddp_keep_one_average(tmp_path: Path) -> None:
    found = on_ranks(2, tmp_path / "ranks", average_on_this_rank, tmp_path / "out")
    assert all(equal(found[0][kind], found[1][kind]) for kind in ("raw", "average"))
    assert not equal(found[0]["raw"], found[0]["average"])


def test_a_foreign_average_is_used_by_shape(make_state: Make, train: Train) -> None:
    class Foreign(nn.Module):
        """What a class written for MMEngine has: `module`, `steps`, `update_parameters`."""

        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.module = copy.deepcopy(model).requires_grad_(False)
            self.register_buffer("steps", torch.tensor(0))

        def update_parameters(self, model: nn.Module) -> None:
            self.module.load_state_dict({name: 0 * value for name, value in model.state_dict().items()})
            self.steps += 1

    seen: list[float] = []

    def look(state: TrainState) -> dict[str, float]:
        seen.append(float(state.model[0].weight.detach().abs().sum()))
        return {"mIoU": 1.0}

    state = make_state([EMAHook(Foreign)])
    train(state, every=10, metrics=look)
    assert seen == [0.0]
    assert float(state.model[0].weight.detach().abs().sum()) > 0


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"begin_iter": 1, "begin_epoch": 1}, ValueError, "not both"),
        ({"begin_iter": 1, "start_iters": 1}, ValueError, "mean the same"),
        ({"begin_iter": -1}, ValueError, "begin_iter=-1"),
        ({"begin_epoch": "1"}, TypeError, "begin_epoch='1'"),
        ({"start_iters": -1}, ValueError, "start_iters=-1"),
        ({"decay": 2}, ValueError, "decay=2"),
        ({"decay": 0.9, "momentum": 0.1}, ValueError, "mean the same"),
        ({"momentum": 0}, ValueError, "momentum=0"),
        ({"momentun": 0.1}, TypeError, "Did you mean 'momentum'"),
        ({"strict_load": 1}, TypeError, "strict_load=1"),
        ({"ema_type": "ExponentialMovingAverag"}, ValueError, "Did you mean 'ExponentialMovingAverage'"),
        ({"ema_type": 3}, TypeError, "ema_type=3"),
        ({"ema_type": "StochasticWeightAverage", "gamma": 3}, TypeError, "no option 'gamma'"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        EMAHook(**options)


def test_a_beginning_after_the_end_is_refused(make_state: Make) -> None:
    for options, unit in (({"begin_iter": 11}, "10 iterations"), ({"begin_epoch": 2}, "1 epochs")):
        with pytest.raises(ValueError, match=unit):
            make_state([EMAHook(**options)]).__enter__()


def test_types_by_name_and_by_class() -> None:
    assert EMAHook("StochasticWeightAverage").ema_cls is StochasticWeightAverage
    assert EMAHook(ExponentialMovingAverage).ema_cls is ExponentialMovingAverage


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"interval": 100}, "makes only 4 updates"),
        ({"interval": 4}, "makes only 4 updates"),
        ({"interval": 3}, ""),
        ({"interval": 3, "begin_iter": 2}, "makes only 3 updates"),
        ({"interval": 2, "begin_iter": 2}, ""),
        ({"begin_iter": 4}, ""),
        ({"interval": 100, "ema_type": "StochasticWeightAverage"}, "makes only 4 updates"),
    ],
)
def test_an_interval_that_leaves_no_average_is_told(
    make_state: Make, train: Train, capsys: pytest.CaptureFixture[str], options: dict[str, Any], told: str
) -> None:
    hook, first = EMAHook(**options), []
    train(make_state([hook], max_iters=4), on_step=lambda state: first.append(state.model[0].weight.detach().clone()))
    out = capsys.readouterr().out
    assert out.count("EMAHook: interval=") == bool(told)
    assert told in out
    begin = max(options.get("begin_iter", 1), 1) - 1
    assert torch.equal(hook.ema_model.module[0].weight, first[begin]) == (bool(told) or begin == 3)


def test_a_resumed_average_that_went_on_is_not_told(
    make_state: Make, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    """Updates before the resume count."""
    hooks = [EMAHook(interval=3), CheckpointHook(interval=2, by_epoch=False)]
    with pytest.raises(KeyboardInterrupt):
        train(make_state(hooks, max_iters=4), stop=2)
    state = make_state([EMAHook(interval=3), CheckpointHook(interval=2, by_epoch=False)], max_iters=4)
    state.resume()
    train(state)
    assert "EMAHook: interval=" not in capsys.readouterr().out


class Counting(nn.Linear):
    """A layer whose state is more than tensors."""

    seen: Any = 0

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        self.seen += self.training
        return super().forward(batch)

    def get_extra_state(self) -> Any:
        return {"seen": self.seen}

    def set_extra_state(self, state: Any) -> None:
        self.seen = state["seen"]


def test_extra_state_is_followed_saved_and_resumed(make_state: Make, train: Train, tmp_path: Path) -> None:
    hook = EMAHook(momentum=0.5, interval=2)
    hooks = [hook, CheckpointHook(interval=1, by_epoch=False)]
    with pytest.raises(KeyboardInterrupt):
        train(make_state(hooks, max_iters=4, model=nn.Sequential(Counting(4, 1))), stop=3)
    assert hook.ema_model.module[0].seen == 3
    saved = torch.load(tmp_path / "out/iter_3.pth", weights_only=True)
    assert saved["state_dict"]["0._extra_state"] == saved["ema_state_dict"]["module.0._extra_state"] == {"seen": 3}
    again = EMAHook(momentum=0.5, interval=2)
    state = make_state([again], max_iters=4, model=nn.Sequential(Counting(4, 1)))
    state.resume()
    assert again.ema_model.module[0].seen == state.model[0].seen == 3
    train(state)
    assert again.ema_model.module[0].seen == state.model[0].seen == 4


def test_extra_state_is_a_copy_of_its_own() -> None:
    class Names(nn.Linear):
        names: Any = None

        def get_extra_state(self) -> Any:
            return self.names

        def set_extra_state(self, state: Any) -> None:
            self.names = state

    net = Names(1, 1)
    net.names = ["a"]
    average = ExponentialMovingAverage(net)
    average.update_parameters(net)
    net.names.append("b")
    assert average.module.names == ["a"]
    average.update_parameters(net)
    assert average.module.names == ["a", "b"]
    assert copy.deepcopy(average)._extra == []


def test_a_model_without_extra_state_has_no_pairs_of_it(net: nn.Module) -> None:
    assert ExponentialMovingAverage(net)._extra == []

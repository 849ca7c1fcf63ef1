from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import pytest
import torch
from seg_hooks import ParamSchedulerHook, RuntimeInfoHook, TrainState
from seg_hooks.hooks.runtime_info import as_scalar, flatten, store_metrics
from seg_hooks.own_loop.scalars import ScalarStore

Make = Callable[..., TrainState]
Train = Callable[..., None]


class NoTransfer(torch.Tensor):
    """A tensor that may not be read by the host while steps are made."""

    stepping = True

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        read = (torch.Tensor.item, torch.Tensor.__float__, torch.Tensor.tolist, torch.Tensor.__bool__)
        if NoTransfer.stepping and func in read:
            raise AssertionError("read from the device")
        return super().__torch_function__(func, types, args, kwargs or {})


def test_losses_stay_on_their_device(make_state: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    state = make_state(max_iters=100)
    loss = torch.ones(()).as_subclass(NoTransfer)
    with state:
        for index in range(5):
            state.points.fire("before_train_iter", state, batch_idx=index)
            state.after_step(loss=loss, grad_norm=torch.ones(()).as_subclass(NoTransfer))
        monkeypatch.setattr(NoTransfer, "stepping", False)  # the end of a run looks at its losses once
    assert set(state.message_hub.scalars) >= {"train/lr", "train/loss", "train/grad_norm", "train/time"}


def test_a_gradient_norm_counts_once(make_state: Make) -> None:
    state, norm = make_state(max_iters=100), torch.ones(())
    with state:
        for _ in range(3):
            state.after_step(loss=1.0, grad_norm=norm)
        state.after_step(loss=1.0, grad_norm=torch.ones(()))
    assert len(state.message_hub.scalars["train/grad_norm"]) == 2


def test_the_first_groups_rate_and_on_request_all_by_name(make_state: Make, train: Train) -> None:
    net = torch.nn.Linear(4, 1)
    groups = [{"params": [net.weight], "lr": 0.1, "name": "backbone"}, {"params": [net.bias], "lr": 0.2}]
    for asked in (False, True):
        state = make_state([RuntimeInfoHook(group_rates=asked)], model=net, optimizer=torch.optim.SGD(groups, 0.1))
        train(state)
        record, text = state.log_record("train", 9)
        assert record["lr"] == 0.1
        assert record.get("backbone.lr") == (0.1 if asked else None)
        assert ("group_1.lr: 2.0000e-01" in text) is asked


def test_the_rate_is_the_one_of_the_step(make_state: Make, train: Train) -> None:
    net = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(net.parameters(), 1.0)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    schedule.by_epoch = False  # type: ignore[attr-defined]
    state = make_state([ParamSchedulerHook()], 3, model=net, optimizer=optimizer, schedulers=[schedule])
    train(state)
    assert state.message_hub.get_scalar("train/lr") == [1.0, 0.5, 0.25]


def test_facts_about_the_run(make_state: Make, train: Train) -> None:
    class Data:
        metainfo = {"classes": ("a",)}

    class Loader(list):  # type: ignore[type-arg]
        dataset = Data()

    state = make_state(max_iters=10)
    state.train_dataloader = Loader()
    with state:
        hub = state.message_hub
        assert hub.get_info("dataset_meta") == {"classes": ("a",)}
        assert (hub.get_info("loop_stage"), hub.get_info("max_iters")) == ("train", 10)
        assert hub.get_info("experiment_name") == "out"
        state.points.fire("before_val", state)
        assert hub.get_info("loop_stage") == "val"
        state.points.fire("after_val", state)
        assert hub.get_info("loop_stage") == "train"
    assert hub.get_info("loop_stage") is None


def test_metrics_nested_scalar_and_other() -> None:
    hub = ScalarStore()
    store_metrics(hub, "val", {"mIoU": torch.tensor(0.5), "IoU": {"road": 0.9, "sky": {"blue": 1}}, "table": ["x"]})
    assert {name: hub.get_scalar(name) for name in hub.scalars} == {
        "val/mIoU": [0.5],
        "val/IoU.road": pytest.approx([0.9]),
        "val/IoU.sky.blue": [1.0],
    }
    assert hub.get_info("val/table") == ["x"]
    store_metrics(hub, "val", None)


def test_what_counts_as_one_number() -> None:
    numbers = (1, 0.5, torch.tensor(1), torch.ones(1, 1), Fraction(1, 2), Decimal(1))
    assert all(as_scalar(number) is not None for number in numbers)
    assert not any(
        as_scalar(value) is not None for value in (None, True, "1", torch.ones(2), [1], {}, 1j, torch.tensor(1j))
    )


def test_an_empty_dict_is_no_nest() -> None:
    assert dict(flatten({"a": {}})) == {"a": {}}


def test_wrong_options() -> None:
    with pytest.raises(TypeError, match="group_rates=1"):
        RuntimeInfoHook(group_rates=1)  # type: ignore[arg-type]

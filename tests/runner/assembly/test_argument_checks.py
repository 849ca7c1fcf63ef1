"""Wrong values of single keys: each is told at once, with the key, what was given and what is expected."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from seg_runner import IoUMetric, Runner
from seg_runner.assembly.arguments import ARGUMENTS, fill_arguments
from torch.utils.data import DataLoader


class Empty(torch.utils.data.Dataset[Any]):
    """A data set without samples."""

    def __len__(self) -> int:
        return 0

    def __getitem__(self, index: int) -> Any:
        raise IndexError(index)


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"train_dataloader": 5}, TypeError, r"train_dataloader must be an iterable of batches.*not 5"),
    ({"val_dataloader": "val"}, TypeError, r"val_dataloader must be an iterable of batches.*not 'val'"),
    ({"resume": 3}, TypeError, r"resume must be True, False, or the path of a checkpoint, not 3"),
    ({"load_from": True}, TypeError, r"load_from must be the path of a checkpoint, not True"),
    ({"compile": "yes"}, TypeError, r"compile must be True, or a dict.*not 'yes'"),
    ({"randomness": 3}, TypeError, r"randomness must be a dict such as dict\(seed=0\), not 3"),
    ({"randomness": {"deterministic": "yes"}}, ValueError, r"deterministic is 'yes'; it is True, False or 'warn'"),
    ({"env_cfg": 3}, TypeError, r"env_cfg must be a dict"),
    ({"auto_scale_lr": True}, TypeError, r"auto_scale_lr must be a dict such as dict\(enable=True"),
    ({"visualizer": 3}, TypeError, r"visualizer must be an object with add_scalars"),
    ({"log_processor": 3}, TypeError, r"log_processor must be a LogProcessor"),
    ({"log_processor": {"windw_size": 3}}, TypeError, r"LogProcessor does not take. Did you mean 'window_size'"),
    ({"checkpoint": {"asyncsave": True}}, TypeError, r"has 'asyncsave'.*Did you mean 'async_save'"),
    ({"log_interval": 0}, ValueError, r"log_interval must be a whole number of at least 1, not 0"),
    ({"log_interval": 2.5}, ValueError, r"log_interval must be a whole number of at least 1, not 2.5"),
    ({"custom_hooks": "EMAHook"}, TypeError, r"custom_hooks must be a list of hooks"),
    ({"train_dataloader": Empty()}, TypeError, r"is a data set, Empty.*DataLoader\(\.\.\., batch_size"),
    ({"env_cfg": {"mp_cfg": {"mp_start_method": "frok"}}}, ValueError, r"one of .*fork.*Did you mean 'fork'"),
    (
        {"log_processor": {"custom_cfg": [{"data_src": "loss", "method_name": "maxx"}]}},
        ValueError,
        r"custom_cfg\[0\]: no statistic is called 'maxx'. Did you mean 'max'",
    ),
    ({"work_dir": None}, TypeError, r"work_dir must be the path of a folder, not None"),
    ({"device": "gpu"}, ValueError, r"device='gpu' is no device of torch's; use 'cpu', 'cuda'"),
    ({"device": "cuda:99"}, ValueError, r"device='cuda:99', but torch .* sees (no|[0-9]+) CUDA device"),
    ({"device": "meta"}, ValueError, r"device='meta' holds no numbers"),
    ({"loss": torch.nn.CrossEntropyLoss}, TypeError, r"loss must be a function.*torch.nn.CrossEntropyLoss\(\)"),
    ({"param_scheduler": "PolyLR"}, TypeError, r"param_scheduler must be a scheduler.*not 'PolyLR'"),
    ({"param_scheduler": [3]}, TypeError, r"param_scheduler must be a scheduler.*not \[3\]"),
    ({"sync_bn": "tensorflow"}, TypeError, r"sync_bn must be 'torch', 'mmcv', False or None, not 'tensorflow'"),
    ({"default_scope": 3}, TypeError, r"default_scope must be the name of a package"),
    ({"build": 3}, TypeError, r"build must be an object with get\(kind, name\) and build"),
    ({"load_options": {"strict": "x"}}, TypeError, r"load_options.strict must be True or False, not 'x'"),
    ({"load_options": {"revise_keys": 3}}, TypeError, r"load_options.revise_keys must be a list of pairs.*not 3"),
    ({"auto_scale_lr": {"enabled": True}}, TypeError, r"takes no 'enabled'. Did you mean 'enable'"),
    ({"auto_scale_lr": {"enable": "x"}}, TypeError, r"auto_scale_lr.enable must be True or False, not 'x'"),
    ({"checkpoint": {"async_save": "x"}}, TypeError, r"checkpoint.async_save must be True or False, not 'x'"),
    ({"env_cfg": {"mp_cfg": 3}}, TypeError, r"env_cfg.mp_cfg must be a dict, not 3"),
    ({"env_cfg": {"mp_cfg": {"mp_strt_method": 3}}}, ValueError, r"no key 'mp_strt_method'. Did you mean"),
    ({"env_cfg": {"cudnn_benchmark": "x"}}, TypeError, r"env_cfg.cudnn_benchmark must be True or False"),
    ({"env_cfg": {"resource_limit": "x"}}, TypeError, r"env_cfg.resource_limit must be a whole number"),
    ({"randomness": {"sead": 3}}, TypeError, r"unknown key 'sead'.*Did you mean 'seed'"),
    ({"randomness": {"diff_rank_seed": "x"}}, TypeError, r"randomness.diff_rank_seed must be True or False"),
    ({"compile": {"backedn": "eager"}}, TypeError, r"compile has 'backedn'.*Did you mean 'backend'"),
    ({"compile": {"backend": "egaer"}}, ValueError, r"compile.backend must be one of .*'egaer'. Did you mean 'eager'"),
    ({"compile": {"backend": 3}}, ValueError, r"compile.backend must be one of .*not 3"),
    ({"compile": {"mode": "fast"}}, ValueError, r"is not accepted by torch.compile: Unrecognized mode=fast"),
    ({"compile": {"fullgraph": "x"}}, TypeError, r"compile.fullgraph must be True or False"),
    ({"default_hooks": {"chekpoint": None}}, ValueError, r"no default hook of that name.*Did you mean 'checkpoint'"),
    ({"data_preprocessor": 3}, TypeError, r"data_preprocessor must be a module"),
    ({"signals": [3]}, ValueError, r"signals: 3 cannot be handled; use names like SIGTERM"),
    ({"checkpoint": {"on_full": "wait"}}, ValueError, r"checkpoint.on_full: 'continue' or 'stop' is expected"),
]


@pytest.mark.parametrize(("changed", "error", "text"), WRONG)
def test_wrong_values_are_told_when_the_runner_is_made(
    make_runner: Any, changed: dict[str, Any], error: type[Exception], text: str
) -> None:
    if "work_dir" in changed:
        with pytest.raises(error, match=text):
            Runner(model=torch.nn.Conv2d(3, 3, 1), **changed)
        return
    with pytest.raises(error, match=text):
        make_runner(**changed)


def test_each_row_of_the_table_refuses_what_cannot_be_meant_in_its_own_words() -> None:
    rows = {key: row for key, row in ARGUMENTS.items() if row.expected}
    assert len(rows) > 25
    for key, row in rows.items():
        with pytest.raises(TypeError, match=re.escape(f"{key} must be {row.expected}, not <object")):
            fill_arguments({key: object()})


LATE: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"val_cfg": {"fp16": "bfloat16"}}, TypeError, r"val_cfg.fp16 must be True or False, not 'bfloat16'"),
    ({"val_cfg": {"loss": 2}}, TypeError, r"val_cfg.loss must be True or False, not 2"),
    ({"val_evaluator": IoUMetric}, TypeError, r"IoUMetric is a class.*write IoUMetric\(\.\.\.\)"),
    ({"train_cfg": {"type": 3, "max_iters": 2}}, TypeError, r"train_cfg.type must be the name of a loop.*not 3"),
    ({"train_cfg": {"by_epoch": "x", "max_iters": 2}}, TypeError, r"train_cfg.by_epoch must be True or False"),
    ({"train_cfg": {"max_iters": float("inf")}}, ValueError, r"max_iters must be a whole number.*not inf"),
    (
        {"train_dataloader": [], "train_cfg": {"max_epochs": 2}},
        ValueError,
        r"an epoch has no step: is its data set empty",
    ),
    ({"train_dataloader": [(torch.zeros(2, 3, 6, 6), torch.zeros(3, 6, 6))]}, ValueError, r"2 images has 3 masks"),
    (
        {"train_dataloader": [(torch.zeros(0, 3, 6, 6), torch.zeros(0, 6, 6))]},
        ValueError,
        r"these images hold no pixel",
    ),
    ({"train_dataloader": [(["a.png"], torch.zeros(1, 6, 6))]}, TypeError, r"images must be tensors, not str"),
    ({"val_cfg": {"type": "ValLop"}}, KeyError, r"'ValLop'.*[Dd]id you mean 'ValLoop'"),
    ({"val_dataloader": DataLoader(Empty())}, ValueError, r"gives no batch: its data set, Empty, is empty"),
]


@pytest.mark.parametrize(("changed", "error", "text"), LATE)
def test_wrong_values_are_told_before_the_first_step(
    make_runner: Any, changed: dict[str, Any], error: type[Exception], text: str
) -> None:
    runner = make_runner(**changed)
    with pytest.raises(error, match=text):
        runner.train()
    assert runner.iter == 0


@pytest.mark.parametrize(
    ("train_cfg", "text"),
    [
        ({"max_iters": "3"}, r"max_iters must be a whole number of at least 0, not '3'"),
        ({"max_iters": 3, "val_interval": 0}, r"val_interval must be a whole number of at least 1, not 0"),
        ({"max_iters": 3, "val_interval": "x"}, r"val_interval must be a whole number of at least 1, not 'x'"),
        (
            {"max_iters": 3, "dynamic_intervals": [3]},
            r"pairs \(from, interval\), as \[\(1000, 50\)\]: 3",
        ),
        ({"max_iters": 3, "dynamic_intervals": {1: 2}}, r"a list of pairs.*: \{1: 2\}"),
        ({"max_iters": 3, "dynamic_intervals": [(10, 2), (5, 1)]}, r"in the order of their beginnings, not \[10, 5\]"),
        ({"max_iters": 3, "dynamic_intervals": [(10, 0)]}, r"interval must be a whole number of at least 1, not 0"),
    ],
)
def test_wrong_lengths_and_intervals_of_a_loop(make_runner: Any, train_cfg: dict[str, Any], text: str) -> None:
    with pytest.raises((TypeError, ValueError), match=text):
        make_runner(train_cfg=train_cfg).train()


@pytest.mark.parametrize(
    ("intervals", "text"),
    [
        ({"contry": 2}, r"names no set 'contry'. Did you mean 'country'\? There are 'city', 'country'"),
        ({"city": 0}, r"val_cfg.intervals.city must be a whole number of at least 1, not 0"),
        (3, r"val_cfg.intervals must be a dict from the name of a set"),
    ],
)
def test_wrong_intervals_of_validation_sets(make_runner: Any, intervals: Any, text: str) -> None:
    loader = [(torch.zeros(2, 3, 6, 6), torch.zeros(2, 6, 6, dtype=torch.long))]
    runner = make_runner(
        val_dataloader={"city": loader, "country": loader},
        val_evaluator={"city": IoUMetric(num_classes=3), "country": IoUMetric(num_classes=3)},
        val_cfg={"intervals": intervals},
    )
    with pytest.raises((TypeError, ValueError), match=text):
        runner.val()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda runner: runner.register_custom_hooks(3), "custom_hooks must be a list of hooks, .*not 3"),
        (lambda runner: runner.register_default_hooks(3), "default hooks must be a dict from a slot.*not 3"),
        (lambda runner: runner.call_hook("after_train_itter"), "Did you mean 'after_train_iter'"),
        (lambda runner: Runner.from_cfg("train.py"), "not 'train.py'; a file is read by Config.fromfile"),
        (lambda runner: runner.build_dataloader({"dataset": 3}), "dataset must be a data set.*not 3"),
        (lambda runner: runner.build_dataloader({"dataset": [1], "timeout": "x"}), r"timeout .* must be a number.*'x'"),
    ],
)
def test_wrong_values_of_methods(make_runner: Any, call: Any, text: str) -> None:
    runner = make_runner()
    with pytest.raises((TypeError, AttributeError), match=text):
        call(runner)


def test_other_names_may_be_called(make_runner: Any) -> None:
    make_runner().call_hook("after_my_own_step")


def test_an_evaluator_without_type_is_no_set_of_evaluators(make_runner: Any) -> None:
    with pytest.raises(TypeError, match=r"val_evaluator is a dict without 'type', with 'num_classes': write dict"):
        make_runner(val_evaluator={"num_classes": 3}).train()


def test_rates_of_a_ready_optimizer_are_scaled_too(make_runner: Any) -> None:
    runner = make_runner(auto_scale_lr={"enable": True, "base_batch_size": 8})
    runner.train()
    assert runner.optim_wrapper.get_lr()["lr"] == [0.05]
    runner.train_loop.max_iters += 1
    runner.train()
    assert runner.optim_wrapper.get_lr()["lr"] == [0.05]


def test_scaling_needs_a_base_and_comes_before_the_schedulers(make_runner: Any) -> None:
    with pytest.raises(TypeError, match=r"takes no 'base_batch_siz'. Did you mean 'base_batch_size'"):
        make_runner(auto_scale_lr={"enable": True, "base_batch_siz": 8})
    with pytest.raises(ValueError, match=r"needs base_batch_size, .* it has enable=True"):
        make_runner(auto_scale_lr={"enable": True}).train()
    net = torch.nn.Conv2d(3, 3, 1)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    ready = {"param_scheduler": torch.optim.lr_scheduler.ConstantLR(optimizer), "optim_wrapper": optimizer}
    with pytest.raises(ValueError, match=r"multiply the learning rates by 0.5, but the schedulers were made"):
        make_runner(model=net, auto_scale_lr={"enable": True, "base_batch_size": 8}, **ready).train()


def test_labels_that_are_no_class_are_warned_about(make_runner: Any, capsys: pytest.CaptureFixture[str]) -> None:
    loader = [(torch.zeros(1, 3, 1, 4), torch.tensor([[[0, 1, 2, 255]]]))]
    make_runner(val_dataloader=loader, val_evaluator=IoUMetric(num_classes=2)).val()
    assert "1 of 3 labelled pixels (33.3 %) hold no class, since labels are 0 ... 1" in capsys.readouterr().out
    make_runner(val_dataloader=loader).val()
    assert "hold no class" not in capsys.readouterr().out

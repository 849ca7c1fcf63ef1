"""Objects of the islands in the runner, without any config; and the files that one writes and another reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from helpers.tiny import TwoConvolutions
from seg_hooks import CheckpointHook, EMAHook, LoggerHook, TrainState
from seg_optim import OptimWrapper, PolyLR
from seg_runner import IoUMetric, Runner
from seg_vis import LocalVisBackend, SegLocalVisualizer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def loader(length: int = 12) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 3, (length, 8, 8), generator=generator)
    images = labels[:, None].float().expand(-1, 3, -1, -1) + torch.randn(length, 3, 8, 8, generator=generator) / 4
    return DataLoader(TensorDataset(images, labels), batch_size=4)


def make(work_dir: Path, **changes: Any) -> Runner:
    torch.manual_seed(0)
    net = TwoConvolutions()
    wrapper = OptimWrapper(
        torch.optim.AdamW(net.parameters(), 0.01), accumulative_counts=2, clip_grad={"max_norm": 1.0}
    )
    parts: dict[str, Any] = {
        "loss": nn.CrossEntropyLoss(),
        "train_dataloader": loader(),
        "optim_wrapper": wrapper,
        "param_scheduler": PolyLR(wrapper, power=0.9, begin=0, end=6, by_epoch=False),
        "val_dataloader": loader(8),
        "val_evaluator": IoUMetric(num_classes=3),
        "train_cfg": {"max_iters": 6, "val_interval": 3},
        "randomness": {"seed": 1},
        "work_dir": work_dir,
    }
    return Runner(net, **{**parts, **changes})


def test_hooks_and_visualizer_are_taken_as_objects(tmp_path: Path) -> None:
    hooks = [
        LoggerHook(interval=2),
        CheckpointHook(interval=3, by_epoch=False, save_best="mIoU"),
        EMAHook(begin_iter=2),
    ]
    visualizer = SegLocalVisualizer(vis_backends=[LocalVisBackend(str(tmp_path / "vis"))], dataset_name="ade20k")
    runner = make(tmp_path / "work", hooks=hooks, visualizer=visualizer)
    runner.train()
    assert (tmp_path / "vis/scalars.json").read_text().count('"loss"') == 3
    assert (tmp_path / "work/iter_6.pth").exists()


def test_a_hook_of_anybodys_needs_no_base_class(tmp_path: Path) -> None:
    class Count:
        seen = 0

        def after_train_iter(self, runner: Any) -> None:
            self.seen = runner.iter + 1

    hook = Count()
    make(tmp_path, hooks=[hook]).train()
    assert hook.seen == 6


def test_all_methods_of_a_hook_written_for_mmengine_run_whatever_it_lists(tmp_path: Path) -> None:
    class Theirs:
        priority = "LOW"
        calls: list[str] = []

        def get_triggered_stages(self) -> list[str]:
            return ["before_val"]

        def before_val(self, runner: Any) -> None:
            self.calls.append("before_val")

        def after_val(self, runner: Any) -> None:
            self.calls.append("after_val")

    make(tmp_path, hooks=[Theirs()]).train()
    assert Theirs.calls == ["before_val", "after_val"] * 2


def test_accumulation_cut_in_the_middle_of_a_window_resumes_bit_for_bit(tmp_path: Path) -> None:
    keep = {"hooks": [CheckpointHook(interval=1, by_epoch=False)]}
    whole = make(tmp_path / "whole", **keep)
    whole.train()
    again = make(
        tmp_path / "again",
        hooks=[CheckpointHook(interval=1, by_epoch=False)],
        resume=str(tmp_path / "whole/iter_3.pth"),
    )
    again.train()
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


def test_the_runner_reads_what_train_state_writes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = TwoConvolutions()
    optimizer = torch.optim.AdamW(net.parameters(), 0.01)
    hook = CheckpointHook(interval=2, by_epoch=False)
    state = TrainState(model=net, optimizer=optimizer, work_dir=str(tmp_path / "loop"), max_iters=4, hooks=[hook])
    with state:
        for images, labels in state.batches(loader()):
            loss = nn.functional.cross_entropy(net(images), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            state.after_step(loss=loss)
    runner = make(tmp_path / "run", load_from=str(tmp_path / "loop/iter_4.pth"))
    runner.val()
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, runner.model.state_dict()[name]), name

"""Checkpoints in parts, and the hooks that keep, delete, point to and average them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.blocks import Blocks
from helpers.ranks import on_ranks
from seg_hooks import CheckpointHook, EMAHook
from seg_runner import IoUMetric, find_resumable, read_checkpoint
from seg_runner.checkpoint.several.assemble import Shards
from seg_runner.distributed.shards import gathered, is_sharded

from tests.runner.distributed.test_checkpoints import assert_equal
from tests.runner.distributed.test_sharded import SHARDED, is_set, make_runner


def train_with_hooks(folder: Path, strategy: str) -> list[str]:
    """Train with averages, the best and a few kept; return what the hooks know at the end."""
    saving = CheckpointHook(interval=2, by_epoch=False, max_keep_ckpts=2, save_best="mIoU")
    runner = make_runner(
        folder,
        8,
        strategy=strategy,
        checkpoint={"sharded": True, "async_save": strategy == "ddp"},
        hooks=[EMAHook(momentum=0.1), saving],
        train_cfg={"max_iters": 8, "val_interval": 4},
        val_dataloader={"dataset": Blocks(4), "batch_size": 2, "num_workers": 0},
        val_evaluator=IoUMetric(num_classes=3),
    )
    runner.train()
    return [saving.best[0].best_file, *map(str, saving.kept)]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_hooks_keep_point_to_and_delete_sets(tmp_path, strategy):
    folder = tmp_path / "run"
    found = on_ranks(2, tmp_path / "ranks", train_with_hooks, folder, strategy)
    assert found[0][1:] == ["6", "8"]
    there = sorted(path.name for path in folder.iterdir() if path.suffix == ".pth")
    assert there == sorted([found[0][0], "iter_6.pth", "iter_8.pth"])
    assert all(is_set(folder / name) for name in there)
    assert (folder / "last_checkpoint").read_text() == str(folder / "iter_8.pth")
    assert find_resumable(folder) == folder / "iter_8.pth"
    content = read_checkpoint(folder / "iter_8.pth")
    assert int(content["ema_state_dict"]["steps"]) == 8
    raw = {name.removeprefix("module."): value for name, value in content["ema_state_dict"].items()}
    assert not torch.equal(raw["0.weight"], content["state_dict"]["0.weight"])
    assert [path.name for path in folder.iterdir() if path.name.startswith(".") and path.is_dir()] == []
    again = on_ranks(4, tmp_path / "again", go_on_with_average, folder)
    for name, value in content["state_dict"].items():
        torch.testing.assert_close(again[0][name], value, rtol=0, atol=0)


def go_on_with_average(folder: Path) -> dict[str, Any]:

    hook = EMAHook(momentum=0.1)
    runner = make_runner(folder, 8, hooks=[hook], resume=True)
    runner.train()
    return {name: value.clone() for name, value in hook.ema_model.module.state_dict().items()}


def read_in_parts(folder: Path) -> tuple[int, bool, bool]:
    """Go on under fsdp; return the most elements read of a tensor in parts, and whether average and state are right."""
    read: list[int] = []
    usual = Shards._block
    Shards._block = lambda self, stored, wanted: (found := usual(self, stored, wanted), read.append(found.numel()))[0]
    hook = EMAHook(momentum=0.1)
    runner = make_runner(folder, 8, hooks=[hook], resume=True, strategy="fsdp")
    runner.train()
    average = gathered(hook.ema_model.module.state_dict())
    saved = read_checkpoint(folder / "iter_8.pth")
    same = all(torch.equal(average[name], value) for name, value in saved["state_dict"].items())
    state = runner.optim_wrapper.state_dict()["state"]
    return max(read[: len(read) // 2]), same, any(is_sharded(each["exp_avg"]) for each in state.values())


@pytest.mark.parametrize("world", [2, 4])
def test_each_rank_reads_only_what_it_keeps(tmp_path, world):
    folder = tmp_path / "run"
    on_ranks(2, tmp_path / "ranks", train_with_hooks, folder, "fsdp")
    found = on_ranks(world, tmp_path / "again", read_in_parts, folder)
    assert [each[1:] for each in found] == [(True, True)] * world
    assert max(each[0] for each in found) == 8 * 3 * 3 * 3 // world


def stop_early(folder: Path, **more: Any) -> None:
    """Save after three batches, of which two make an update."""
    wrapper = {"optimizer": {"type": torch.optim.AdamW, "lr": 0.01}, "accumulative_counts": 2}
    runner = make_runner(folder, 8, strategy="fsdp", optim_wrapper=wrapper, **more)

    class Saves:
        def after_train_iter(self, runner: Any, data_batch: Any) -> None:
            if runner.iter == 2:
                runner.save_checkpoint(runner.work_dir / "open.pth")

    runner.register_hook(Saves())
    runner.train()


def test_gradients_of_an_open_accumulation_are_those_of_a_file(tmp_path):
    """FSDP2 leaves them one after the other in the same memory, and yet each is a tensor of its own."""
    on_ranks(2, tmp_path / "set", stop_early, tmp_path / "a", checkpoint=SHARDED)
    on_ranks(2, tmp_path / "file", stop_early, tmp_path / "b")
    found, whole = (read_checkpoint(tmp_path / name / "open.pth") for name in "ab")
    assert is_set(tmp_path / "a" / "open.pth")
    assert len(whole["grads"]) > 3
    assert_equal(found["grads"], whole["grads"])

"""Saves checkpoints of its own when the loss is the lowest so far, and keeps a list of them in a text file."""

import os

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class SaveLowestLoss(Hook):
    """Calls the runner's own `save_checkpoint`, as CheckpointHook of MMEngine does."""

    priority = "VERY_LOW"

    def __init__(self, begin=2):
        self.begin = begin
        self.lowest = float("inf")

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        loss = outputs["loss"].item()
        if runner.iter + 1 < self.begin or loss >= self.lowest:
            return
        self.lowest = loss
        meta = dict(epoch=runner.epoch, iter=runner.iter + 1, lowest=loss)
        runner.save_checkpoint(
            runner.work_dir,
            filename="lowest_loss.pth",
            meta=meta,
            save_optimizer=False,
            save_param_scheduler=False,
            by_epoch=False,
            backend_args=None,
        )
        with open(runner.work_dir + "/lowest.txt", "a", encoding="utf-8") as file:
            file.write(f"{runner.iter} {loss}\n")

    def after_train(self, runner):
        runner.save_checkpoint(runner.work_dir, "end.pth", None, True, True, dict(note="the end"), False)


CHANGES = dict(custom_hooks=[dict(type="SaveLowestLoss")])


def facts(runner):
    folder = str(runner.work_dir)
    saved = torch.load(os.path.join(folder, "lowest_loss.pth"), weights_only=False)
    end = torch.load(os.path.join(folder, "end.pth"), weights_only=False)
    with open(os.path.join(folder, "lowest.txt"), encoding="utf-8") as file:
        return {
            "lines": file.read().splitlines(),
            "meta": [saved["meta"]["iter"], saved["meta"]["lowest"], end["meta"]["note"]],
            "parts": [sorted(set(saved) & {"optimizer", "param_schedulers"}), "optimizer" in end],
            "weights": dict(saved["state_dict"]),
        }

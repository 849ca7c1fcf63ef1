"""A class of the user's under the name of one of the engine's, registered with force."""

import os

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module(force=True)
class CheckpointHook(Hook):
    """Keeps only weights, in a file of its own."""

    priority = "VERY_LOW"

    def __init__(self, interval=1, by_epoch=True, prefix="weights"):
        self.interval, self.by_epoch, self.prefix = interval, by_epoch, prefix

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.by_epoch or not self.every_n_train_iters(runner, self.interval):
            return
        path = os.path.join(runner.work_dir, f"{self.prefix}_{runner.iter + 1}.pth")
        torch.save(runner.model.state_dict(), path)


CHANGES = dict(default_hooks=dict(checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=3)))


def facts(runner):
    return {"saved": torch.load(os.path.join(runner.work_dir, "weights_3.pth"))}

"""Reads from its own checkpoint how far the run was, with the argument that says which counter is one ahead."""

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class SaveAndLook(Hook):
    """Saves in the third step and at the end, without and with `by_epoch`."""

    def __init__(self):
        self.counts = []

    def _look(self, runner, name, **options):
        runner.save_checkpoint(runner.work_dir, name, **options)
        meta = torch.load(f"{runner.work_dir}/{name}", weights_only=False)["meta"]
        self.counts.append((meta["epoch"], meta["iter"]))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 2:
            self._look(runner, "by_iter.pth", by_epoch=False)
            self._look(runner, "as_it_is.pth")

    def after_train(self, runner):
        self._look(runner, "end.pth", by_epoch=False)


CHANGES = dict(custom_hooks=[dict(type="SaveAndLook")])
DIFFERS = "checkpoints-count-what-is-done"
DIFFERS_IN = (".facts",)


def facts(runner):
    return {"counts": next(hook.counts for hook in runner.hooks if type(hook).__name__ == "SaveAndLook")}

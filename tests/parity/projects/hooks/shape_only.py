"""A hook that looks at batches and predictions in all three modes, and at what a checkpoint holds."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class LooksAtAll(Hook):
    """One method for all modes, as the base class offers it."""

    priority = 42

    def __init__(self):
        self.seen = []

    def _before_iter(self, runner, batch_idx, data_batch=None, mode="train"):
        self.seen.append((mode, batch_idx, sorted(data_batch)))

    def _after_iter(self, runner, batch_idx, data_batch=None, outputs=None, mode="train"):
        self.seen.append((mode, batch_idx, sorted(outputs) if mode == "train" else len(outputs)))

    def _after_epoch(self, runner, mode="train"):
        self.seen.append((mode, runner.epoch, runner.iter))

    def before_save_checkpoint(self, runner, checkpoint):
        checkpoint["meta"]["mine"] = len(self.seen)
        self.seen.append(("save", sorted(set(checkpoint) & {"meta", "state_dict", "message_hub", "optimizer"})))

    def after_load_checkpoint(self, runner, checkpoint):
        self.seen.append(("load", checkpoint["meta"]["mine"], checkpoint["meta"]["iter"]))


CHANGES = dict(custom_hooks=[dict(type="LooksAtAll")])


def run(runner):
    runner.train()
    runner.load_checkpoint(f"{runner.work_dir}/iter_6.pth", map_location="cpu")
    runner.test()


def facts(runner):
    return {"seen": next(hook.seen for hook in runner.hooks if type(hook).__name__ == "LooksAtAll")}

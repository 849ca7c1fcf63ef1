"""A hook that says fewer stages than it has methods, as an older version of MMEngine asked for it."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class CountsCalls(Hook):
    """Counts which of its methods are called."""

    def __init__(self):
        self.calls = []

    def get_triggered_stages(self):
        """Names the one stage that the author thought of."""
        return ["after_train_iter"]

    def before_run(self, runner):
        self.calls.append("before_run")

    def before_train(self, runner):
        self.calls.append("before_train")

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.calls.append(f"iter {batch_idx}")

    def _before_epoch(self, runner, mode="train"):
        self.calls.append(f"before epoch of {mode}")

    def after_val_epoch(self, runner, metrics=None):
        self.calls.append("after_val_epoch")


CHANGES = dict(custom_hooks=[dict(type="CountsCalls")])


def facts(runner):
    return {"calls": next(hook.calls for hook in runner.hooks if type(hook).__name__ == "CountsCalls")}

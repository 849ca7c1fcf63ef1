"""Hooks that talk to each other through a point of their own."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class Announces(Hook):
    """Calls a point that no runner knows, for whoever has it."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.every_n_train_iters(runner, 3):
            runner.call_hook("after_milestone", milestone=runner.iter + 1)


@HOOKS.register_module()
class Listens(Hook):
    """Has that point."""

    def __init__(self):
        self.heard = []

    def after_milestone(self, runner, milestone):
        self.heard.append(milestone)
        for group in runner.optim_wrapper.param_groups:
            group["weight_decay"] = group["weight_decay"] * 0.5


CHANGES = dict(custom_hooks=[dict(type="Announces"), dict(type="Listens")])


def facts(runner):
    return {"heard": next(hook.heard for hook in runner.hooks if type(hook).__name__ == "Listens")}

"""A hook that adds another one while the run is under way."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


class Added(Hook):
    """Added later."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        runner.message_hub.update_scalar("train/added", 1.0)


@HOOKS.register_module()
class AddsAHook(Hook):
    """Adds a hook when training begins."""

    def before_train(self, runner):
        runner.register_hook(Added(), priority="LOWEST")


CHANGES = dict(custom_hooks=[dict(type="AddsAHook")])
REFUSED = "Register it before train(), val() or test()"

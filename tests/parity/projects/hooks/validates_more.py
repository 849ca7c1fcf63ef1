"""Validates at the iterations of a list, besides the loop's own interval."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class ValidateAt(Hook):
    """Runs the validation loop from a hook, and sets the model back to training."""

    priority = "VERY_LOW"

    def __init__(self, iters):
        self.iters = iters

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 in self.iters:
            metrics = runner.val_loop.run()
            runner.message_hub.update_info("asked", {str(runner.iter): metrics["tiny/acc"]})
            runner.model.train()


CHANGES = dict(custom_hooks=[dict(type="ValidateAt", iters=[2, 5])])


def facts(runner):
    return {"asked": runner.message_hub.get_info("asked")}

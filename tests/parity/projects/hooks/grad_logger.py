"""Logs the gradient of each layer, as many projects do."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class GradLogger(Hook):
    """Writes the mean gradient of some parameters into the log."""

    priority = "ABOVE_NORMAL"

    def __init__(self, names=("head",), interval=1):
        self.names = tuple(names)
        self.interval = interval
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if not self.every_n_train_iters(runner, self.interval):
            return
        model = runner.model.module if hasattr(runner.model, "module") else runner.model
        for name, parameter in model.named_parameters():
            if name.startswith(self.names):
                value = float(parameter.detach().abs().mean())
                runner.message_hub.update_scalar(f"train/mean_{name}", value)
                self.seen.append((runner.iter, name, value))


CHANGES = dict(custom_hooks=[dict(type="GradLogger", names=("head", "conv"), interval=2)])


def facts(runner):
    """Returns what the hook saw."""
    return {"seen": next(hook.seen for hook in runner.hooks if type(hook).__name__ == "GradLogger")}

"""Freezes part of the model for the first iterations; registered with MMSegmentation, as its users do it."""

from mmengine.hooks import Hook
from mmseg.registry import HOOKS


@HOOKS.register_module()
class FreezeHook(Hook):
    """No gradient for some layers before an iteration."""

    def __init__(self, layers=("conv",), until=3):
        self.layers, self.until = tuple(layers), until
        self.frozen = []

    def _set(self, runner, trained):
        model = runner.model.module if hasattr(runner.model, "module") else runner.model
        for name, parameter in model.named_parameters():
            if name.startswith(self.layers):
                parameter.requires_grad = trained

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 0:
            self._set(runner, trained=False)
        if runner.iter == self.until:
            runner.logger.info(f"{self.layers} are trained from here on")
            self._set(runner, trained=True)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        model = runner.model.module if hasattr(runner.model, "module") else runner.model
        self.frozen.append(float(model.conv.weight.detach().abs().sum()))


CHANGES = dict(default_scope="mmseg", custom_hooks=[dict(type="FreezeHook", until=2)])


def facts(runner):
    return {"frozen": next(hook.frozen for hook in runner.hooks if type(hook).__name__ == "FreezeHook")}

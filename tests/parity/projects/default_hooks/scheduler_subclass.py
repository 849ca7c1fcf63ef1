"""MMEngine's ParamSchedulerHook, that halves all rates when the loss has not fallen for some steps."""

from mmengine.hooks import ParamSchedulerHook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class HalveOnPlateau(ParamSchedulerHook):
    """Steps the schedulers, then looks at the loss."""

    def __init__(self, patience=2):
        self.patience = patience
        self.best, self.bad, self.halved = float("inf"), 0, []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        loss = float(outputs["loss"])
        self.bad = 0 if loss < self.best else self.bad + 1
        self.best = min(loss, self.best)
        if self.bad >= self.patience:
            self.bad = 0
            self.halved.append(runner.iter)
            for group in runner.optim_wrapper.param_groups:
                group["lr"] *= 0.5


CHANGES = dict(default_hooks=dict(param_scheduler=dict(type="HalveOnPlateau", patience=1)))


def facts(runner):
    return {"halved": next(hook.halved for hook in runner.hooks if type(hook).__name__ == "HalveOnPlateau")}

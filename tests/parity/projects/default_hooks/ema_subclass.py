"""MMEngine's EMAHook, that averages in one half of the run only, and looks at the distance."""

from mmengine.hooks import EMAHook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class LateEMA(EMAHook):
    """Averages from the middle of the run on."""

    def __init__(self, share=0.5, **kwargs):
        super().__init__(**kwargs)
        self.share = share
        self.distances = []

    def before_train(self, runner):
        super().before_train(runner)
        self.begin_iter = int(runner.max_iters * self.share)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        source = dict(self.src_model.named_parameters())
        averaged = dict(self.ema_model.module.named_parameters())
        self.distances.append(sum(float((source[name] - averaged[name]).abs().sum()) for name in source))


CHANGES = dict(custom_hooks=[dict(type="LateEMA", momentum=0.2)])


def facts(runner):
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == "LateEMA")
    return {"distances": hook.distances, "average": dict(hook.ema_model.state_dict())}

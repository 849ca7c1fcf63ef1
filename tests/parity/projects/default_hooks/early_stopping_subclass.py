"""MMEngine's EarlyStoppingHook, that does not stop before a number of validations."""

from mmengine.hooks import EarlyStoppingHook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class PatientStopping(EarlyStoppingHook):
    """Looks at metrics only after some validations."""

    def __init__(self, monitor, warmup=1, **kwargs):
        super().__init__(monitor, **kwargs)
        self.warmup, self.count = warmup, 0

    def after_val_epoch(self, runner, metrics):
        self.count += 1
        if self.count > self.warmup:
            super().after_val_epoch(runner, metrics)


CHANGES = dict(
    train_cfg=dict(val_interval=1),
    custom_hooks=[
        dict(type="PatientStopping", monitor="tiny/acc", warmup=1, rule="greater", min_delta=200, patience=2)
    ],
)


DIFFERS = "a-run-that-a-hook-stops-is-saved"
DIFFERS_IN = (".files",)


def facts(runner):
    return {"stopped": runner.train_loop.stop_training, "iter": runner.iter}

"""Classes of the user's under the names of the engine's loop and log processor, registered with force."""

from mmengine.registry import LOG_PROCESSORS, LOOPS
from mmengine.runner import LogProcessor as Processor
from mmengine.runner import ValLoop as Loop


@LOOPS.register_module(force=True)
class ValLoop(Loop):
    """Validates only every other time."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.asked = 0

    def run(self):
        self.asked += 1
        return super().run() if self.asked % 2 == 0 else {}


@LOG_PROCESSORS.register_module(force=True)
class LogProcessor(Processor):
    """Shows one number more."""

    def get_log_after_epoch(self, runner, batch_idx, mode, with_non_scalar=False):
        tag, text = super().get_log_after_epoch(runner, batch_idx, mode, with_non_scalar)
        tag["checked"] = runner.val_loop.asked
        return tag, text


CHANGES = dict(
    train_cfg=dict(val_interval=2),
    val_cfg=dict(type="ValLoop"),
    log_processor=dict(type="LogProcessor", by_epoch=False, window_size=2),
)


def facts(runner):
    """Returns how often validation was asked for."""
    return {"asked": runner.val_loop.asked, "modules": type(runner.log_processor).__module__.startswith("user_project")}

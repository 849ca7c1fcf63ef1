"""MMEngine's SyncBuffersHook, that also writes the running means into the log."""

from mmengine.hooks import SyncBuffersHook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class LogBuffers(SyncBuffersHook):
    """Writes the mean of the running means before each validation."""

    def before_val_epoch(self, runner):
        super().before_val_epoch(runner)
        means = [value.mean().item() for name, value in runner.model.named_buffers() if name.endswith("running_mean")]
        runner.message_hub.update_scalar("val/running_mean", sum(means) / len(means))


CHANGES = dict(custom_hooks=[dict(type="LogBuffers"), dict(type="SyncBuffersHook")])

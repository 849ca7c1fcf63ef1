"""MMEngine's IterTimerHook, that counts images per second."""

from mmengine.hooks import IterTimerHook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class ImagesPerSecond(IterTimerHook):
    """Logs how many images a step had, beside its time."""

    def __init__(self):
        super().__init__()
        self.measured = 0

    def _after_iter(self, runner, batch_idx, data_batch=None, outputs=None, mode="train"):
        super()._after_iter(runner, batch_idx, data_batch, outputs, mode)
        seconds = runner.message_hub.get_scalar(f"{mode}/time").current()
        self.measured += seconds > 0
        if mode == "train":
            runner.message_hub.update_scalar("train/images", len(data_batch["inputs"]))


CHANGES = dict(default_hooks=dict(timer=dict(type="ImagesPerSecond")))


def facts(runner):
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == "ImagesPerSecond")
    return {"measured": hook.measured, "eta": runner.message_hub.get_info("eta")}

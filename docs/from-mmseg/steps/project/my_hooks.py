"""A hook as people write them for MMEngine."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class StopAtLoss(Hook):
    """Ends the training where the loss is small."""

    def __init__(self, loss):
        self.loss = loss

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        """Look at the loss."""
        if runner.message_hub.get_scalar("train/loss").current() < self.loss:
            runner.train_loop.stop_training = True

"""A wrapper round the model, as `model_wrapper_cfg` names it: MMEngine uses it in several processes only."""

from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS


@MODEL_WRAPPERS.register_module()
class LoggedDistributed(MMDistributedDataParallel):
    def train_step(self, data, optim_wrapper):
        self.steps = getattr(self, "steps", 0) + 1
        return super().train_step(data, optim_wrapper)


CHANGES = dict(
    model_wrapper_cfg=dict(type="LoggedDistributed", broadcast_buffers=True, find_unused_parameters=False),
    find_unused_parameters=True,
    sync_bn="torch",
)


def facts(runner):
    return dict(kind=type(runner.model).__name__)

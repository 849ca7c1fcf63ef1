"""Logs the learning rate of each group of parameters, of a wrapper with `paramwise_cfg`."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class LogAllRates(Hook):
    """Writes one scalar for each group."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        for index, rate in enumerate(runner.optim_wrapper.get_lr()["lr"]):
            runner.message_hub.update_scalar(f"train/lr_of_group_{index}", rate)


CHANGES = dict(
    optim_wrapper=dict(paramwise_cfg=dict(custom_keys={"head": dict(lr_mult=10)})),
    custom_hooks=[dict(type="LogAllRates")],
)
DIFFERS = "groups-of-equal-settings-are-one"
DIFFERS_IN = (".rates", ".scalars.train/lr_of_group", ".rows")


def facts(runner):
    """Returns what does not depend on how many groups there are."""
    return {"rates": sorted({group["lr"] for group in runner.optim_wrapper.param_groups})}

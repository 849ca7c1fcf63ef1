"""MMEngine's CheckpointHook, saving more often towards the end and calling the runner with all its arguments."""

from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class MoreAtTheEnd(CheckpointHook):
    """Saves at the usual interval, and at each of the last iterations."""

    def __init__(self, *args, last=2, **kwargs):
        super().__init__(*args, **kwargs)
        self.last = last
        self.saved = []

    def _save_checkpoint(self, runner):
        self.saved.append(runner.iter + 1)
        super()._save_checkpoint(runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if runner.iter + 1 > runner.max_iters - self.last and not self.is_last_train_iter(runner):
            self._save_checkpoint(runner)


CHANGES = dict(
    train_cfg=dict(val_interval=3),
    default_hooks=dict(
        checkpoint=dict(type="MoreAtTheEnd", by_epoch=False, interval=4, save_best="tiny/acc", rule="greater",
                        max_keep_ckpts=2)
    ),
)  # fmt: skip


def facts(runner):
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == "MoreAtTheEnd")
    with open(f"{runner.work_dir}/last_checkpoint", encoding="utf-8") as file:
        last = file.read()
    return {
        "saved": hook.saved,
        "last": last.replace(str(runner.work_dir), ""),
        "best": runner.message_hub.get_info("best_score"),
        "best_path": str(hook.best_ckpt_path).replace(str(runner.work_dir), ""),
    }

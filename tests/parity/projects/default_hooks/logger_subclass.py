"""MMEngine's LoggerHook, that also writes a table of its own at the end of each validation."""

import json

from mmengine.hooks import LoggerHook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class TableLogger(LoggerHook):
    """Keeps the metrics of all validations in one JSON file."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.rows = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if self.every_n_inner_iters(batch_idx, self.interval):
            tag, text = runner.log_processor.get_log_after_iter(runner, batch_idx, "train")
            self.rows.append({key: tag[key] for key in ("lr", "loss", "iter") if key in tag})
            assert "loss" in text

    def after_val_epoch(self, runner, metrics=None):
        super().after_val_epoch(runner, metrics)
        self.rows.append(dict(metrics))
        with open(f"{runner.log_dir}/table.json", "w", encoding="utf-8") as file:
            json.dump(self.rows, file)


CHANGES = dict(
    default_hooks=dict(logger=dict(type="TableLogger", interval=2, ignore_last=False)), train_cfg=dict(val_interval=3)
)


def facts(runner):
    return {"rows": next(hook.rows for hook in runner.hooks if type(hook).__name__ == "TableLogger")}

"""MMEngine's ValLoop, that also measures the loss of the validation set: a recipe of many projects."""

import torch
from mmengine.registry import LOOPS
from mmengine.runner import ValLoop
from mmengine.runner.amp import autocast


@LOOPS.register_module()
class LossValLoop(ValLoop):
    """Adds `val_loss` to the metrics."""

    def run(self):
        self.runner.call_hook("before_val")
        self.runner.call_hook("before_val_epoch")
        self.runner.model.eval()
        self.losses = []
        for idx, data_batch in enumerate(self.dataloader):
            self.run_iter(idx, data_batch)
        metrics = self.evaluator.evaluate(len(self.dataloader.dataset))
        metrics["val_loss"] = sum(self.losses) / len(self.losses)
        self.runner.call_hook("after_val_epoch", metrics=metrics)
        self.runner.call_hook("after_val")
        return metrics

    @torch.no_grad()
    def run_iter(self, idx, data_batch):
        self.runner.call_hook("before_val_iter", batch_idx=idx, data_batch=data_batch)
        with autocast(enabled=self.fp16):
            outputs = self.runner.model.val_step(data_batch)
            model = self.runner.model.module if hasattr(self.runner.model, "module") else self.runner.model
            losses = model(**model.data_preprocessor(data_batch, False), mode="loss")
        self.losses.append(float(losses["loss_ce"]))
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self.runner.call_hook("after_val_iter", batch_idx=idx, data_batch=data_batch, outputs=outputs)


CHANGES = dict(val_cfg=dict(type="LossValLoop"), train_cfg=dict(val_interval=6))


def facts(runner):
    return {
        "evaluator": [type(one).__name__ for one in runner.val_loop.evaluator.metrics],
        "fp16": runner.val_loop.fp16,
    }

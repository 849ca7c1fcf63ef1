"""Loops from MMEngine's BaseLoop: a training loop and a validation loop without a line of the engine's."""

import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import LOOPS
from mmengine.runner import BaseLoop
from mmengine.runner.loops import _InfiniteDataloaderIterator


@LOOPS.register_module()
class PlainTrainLoop(BaseLoop):
    """As many steps as the config says."""

    def __init__(self, runner, dataloader, max_iters):
        super().__init__(runner, dataloader)
        self._max_iters, self._iter, self._epoch, self._max_epochs = max_iters, 0, 0, 1
        self.stop_training = False
        self.val_interval = max_iters
        self.val_begin = 1
        self.dataloader_iterator = _InfiniteDataloaderIterator(self.dataloader)

    @property
    def max_epochs(self):
        return self._max_epochs

    @property
    def max_iters(self):
        return self._max_iters

    @property
    def epoch(self):
        return self._epoch

    @property
    def iter(self):
        return self._iter

    def run(self):
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        while self._iter < self._max_iters:
            self.runner.model.train()
            batch = next(self.dataloader_iterator)
            self.runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=batch)
            outputs = self.runner.model.train_step(batch, optim_wrapper=self.runner.optim_wrapper)
            self.runner.call_hook("after_train_iter", batch_idx=self._iter, data_batch=batch, outputs=outputs)
            self._iter += 1
        self.runner.val_loop.run()
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model


@LOOPS.register_module()
class PlainValLoop(BaseLoop):
    """Makes an evaluator of the config itself, as MMEngine's ValLoop does."""

    def __init__(self, runner, dataloader, evaluator):
        super().__init__(runner, dataloader)
        self.evaluator = runner.build_evaluator(evaluator) if isinstance(evaluator, (dict, list)) else evaluator
        assert isinstance(self.evaluator, Evaluator)
        self.evaluator.dataset_meta = self.dataloader.dataset.metainfo

    @torch.no_grad()
    def run(self):
        self.runner.call_hook("before_val")
        self.runner.call_hook("before_val_epoch")
        self.runner.model.eval()
        for idx, batch in enumerate(self.dataloader):
            self.runner.call_hook("before_val_iter", batch_idx=idx, data_batch=batch)
            outputs = self.runner.model.val_step(batch)
            self.evaluator.process(data_samples=outputs, data_batch=batch)
            self.runner.call_hook("after_val_iter", batch_idx=idx, data_batch=batch, outputs=outputs)
        metrics = self.evaluator.evaluate(len(self.dataloader.dataset))
        self.runner.call_hook("after_val_epoch", metrics=metrics)
        self.runner.call_hook("after_val")
        return metrics


CHANGES = dict(
    train_cfg=dict(_delete_=True, type="PlainTrainLoop", max_iters=6),
    val_cfg=dict(type="PlainValLoop"),
    param_scheduler=[dict(type="CosineAnnealingLR", by_epoch=False, eta_min=0.001)],
    default_hooks=dict(checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=6, save_best="tiny/acc")),
)


def facts(runner):
    return {"at": [runner.iter, runner.max_iters, runner.epoch, runner.max_epochs]}

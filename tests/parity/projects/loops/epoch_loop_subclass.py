"""MMEngine's EpochBasedTrainLoop, that leaves out batches and validates as it likes."""

from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop


@LOOPS.register_module()
class ShortEpochs(EpochBasedTrainLoop):
    """Takes only the first batches of an epoch."""

    def __init__(self, *args, most=3, **kwargs):
        super().__init__(*args, **kwargs)
        self.most = most
        self._max_iters = self._max_epochs * most

    def run_epoch(self):
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        for idx, data_batch in enumerate(self.dataloader):
            if idx == self.most:
                break
            self.run_iter(idx, data_batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1

    def run_iter(self, idx, data_batch):
        self.runner.call_hook("before_train_iter", batch_idx=idx, data_batch=data_batch)
        outputs = self.runner.model.train_step(data_batch, optim_wrapper=self.runner.optim_wrapper)
        self.runner.call_hook("after_train_iter", batch_idx=idx, data_batch=data_batch, outputs=outputs)
        self._iter += 1


CHANGES = dict(
    train_dataloader=dict(sampler=dict(type="DefaultSampler", shuffle=True)),
    train_cfg=dict(_delete_=True, type="ShortEpochs", max_epochs=2, val_interval=2, most=2),
    param_scheduler=[
        dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=2),
        dict(type="StepLR", step_size=1, by_epoch=True),
    ],
    default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1), logger=dict(type="LoggerHook", interval=1)),
    log_processor=dict(by_epoch=True),
)


def facts(runner):
    return {"at": [runner.epoch, runner.iter, runner.max_epochs, runner.max_iters]}

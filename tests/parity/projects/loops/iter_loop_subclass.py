"""MMEngine's IterBasedTrainLoop with two batches a step: a recipe for semi-supervised training."""

from mmengine.registry import LOOPS
from mmengine.runner import IterBasedTrainLoop


@LOOPS.register_module()
class TwoBatchLoop(IterBasedTrainLoop):
    """Puts two batches of the loader together."""

    def __init__(self, runner, dataloader, max_iters, val_begin=1, val_interval=1000, extra=1):
        super().__init__(runner, dataloader, max_iters, val_begin, val_interval)
        self.extra = extra
        self.sizes = []

    def run_iter(self, data_batch):
        for _ in range(self.extra):
            more = next(self.dataloader_iterator)
            data_batch = {key: [*data_batch[key], *more[key]] for key in data_batch}
        self.sizes.append(len(data_batch["inputs"]))
        super().run_iter(data_batch)


CHANGES = dict(train_cfg=dict(_delete_=True, type="TwoBatchLoop", max_iters=6, val_interval=6))


def facts(runner):
    return {"sizes": runner.train_loop.sizes, "at": [runner.iter, runner.train_loop._max_iters]}

"""MMEngine's plateau schedule, which waits for a metric, and a one-cycle; both with a word of their own."""

from mmengine.optim.scheduler import OneCycleLR, ReduceOnPlateauLR
from mmengine.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class ToldPlateauLR(ReduceOnPlateauLR):
    def __init__(self, *args, **kwargs):
        self.falls = []
        super().__init__(*args, **kwargs)

    def step(self, metrics=None):
        before = [group["lr"] for group in self.optimizer.param_groups]
        super().step(metrics)
        if [group["lr"] for group in self.optimizer.param_groups] < before:
            self.falls.append(self.last_step)


@PARAM_SCHEDULERS.register_module()
class FlatOneCycleLR(OneCycleLR):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.highest = max(self.base_values)


CHANGES = dict(
    train_cfg=dict(_delete_=True, type="EpochBasedTrainLoop", max_epochs=3, val_interval=1),
    train_dataloader=dict(sampler=dict(type="DefaultSampler", shuffle=True)),
    param_scheduler=[
        dict(type="FlatOneCycleLR", eta_max=0.1, total_steps=20, by_epoch=False),
        dict(type="ToldPlateauLR", monitor="tiny/acc", rule="greater", patience=0, threshold=50.0),
    ],
    default_hooks=dict(checkpoint=dict(by_epoch=True, interval=1)),
)


def facts(runner):
    cycle, plateau = runner.param_schedulers
    return dict(falls=plateau.falls, highest=cycle.highest)

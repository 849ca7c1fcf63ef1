"""Samplers of the project's own: one that derives from MMEngine's, one that puts batches together."""

import torch
from mmengine.dataset import DefaultSampler
from mmengine.dist import get_dist_info
from mmengine.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class HardFirstSampler(DefaultSampler):
    """From the second epoch on, every other sample is drawn from the last half."""

    def __iter__(self):
        indices = list(super().__iter__())
        if self.epoch:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            for place in range(0, len(indices), 2):
                indices[place] = int(
                    torch.randint(len(self.dataset) // 2, len(self.dataset), (1,), generator=generator)
                )
        return iter(indices)


@DATA_SAMPLERS.register_module()
class OneOfEachBatchSampler:
    """Batches in which two neighbours are never of one class."""

    def __init__(self, sampler, batch_size, drop_last=False):
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.rank, self.world_size = get_dist_info()

    def __iter__(self):
        waiting = {}
        for index in self.sampler:
            waiting.setdefault(int(self.sampler.dataset.labels[index]), []).append(index)
            ready = [group for group in waiting.values() if group]
            if len(ready) >= self.batch_size:
                yield [group.pop(0) for group in ready[: self.batch_size]]
        left = [index for group in waiting.values() for index in group]
        while left and not self.drop_last:
            yield left[: self.batch_size]
            left = left[self.batch_size :]

    def __len__(self):
        return (len(self.sampler) + self.batch_size - 1) // self.batch_size


CHANGES = dict(
    train_cfg=dict(_delete_=True, type="EpochBasedTrainLoop", max_epochs=3, val_interval=3),
    train_dataloader=dict(
        _delete_=True,
        num_workers=0,
        dataset=dict(type="TinyDataset"),
        sampler=dict(type="HardFirstSampler", shuffle=True),
        batch_sampler=dict(type="OneOfEachBatchSampler", batch_size=2, drop_last=False),
    ),
    val_dataloader=dict(sampler=dict(type="HardFirstSampler", shuffle=False, round_up=False)),
    param_scheduler=[dict(type="MultiStepLR", milestones=[1, 2], by_epoch=True)],
    default_hooks=dict(checkpoint=dict(by_epoch=True, interval=1)),
    randomness=dict(seed=11),
)


def facts(runner):
    sampler = runner.train_dataloader.batch_sampler.sampler
    return dict(epoch=sampler.epoch, seed=sampler.seed, loops=len(runner.train_dataloader))

"""Samples that cannot be read are drawn again; transforms within transforms; a sampler with a generator of its own."""

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmengine.dataset import BaseDataset, InfiniteSampler
from mmengine.registry import DATA_SAMPLERS, DATASETS, TRANSFORMS


@DATASETS.register_module()
class SomeBroken(BaseDataset):
    METAINFO = dict(classes=("a", "b", "c"))

    def load_data_list(self):
        return [dict(seed=i, label=i % 3, broken=i % 4 == 1) for i in range(12)]


@TRANSFORMS.register_module()
class Read(BaseTransform):
    def transform(self, results):
        if results["broken"]:
            return None
        results["img"] = np.random.RandomState(results["seed"]).rand(6, 6, 3).astype(np.float32)
        return results


@TRANSFORMS.register_module()
class Brighten(BaseTransform):
    def __init__(self, most=0.5):
        self.most = most

    @cache_randomness
    def amount(self):
        return np.random.uniform(0, self.most)

    def transform(self, results):
        results["img"] = results["img"] + np.float32(self.amount())
        results["img"] = results["img"] - np.float32(self.amount()) / 2
        return results


@TRANSFORMS.register_module()
class Roll(BaseTransform):
    def __init__(self, axis=0):
        self.axis = axis

    def transform(self, results):
        results["img"] = np.roll(results["img"], np.random.randint(6), axis=self.axis).copy()
        return results


@TRANSFORMS.register_module()
class Pack(BaseTransform):
    def transform(self, results):
        return dict(
            inputs=torch.from_numpy(results["img"]).permute(2, 0, 1), data_samples=torch.tensor(results["label"])
        )


@DATA_SAMPLERS.register_module()
class WeightedSampler(InfiniteSampler):
    """Endless, rare classes more often."""

    def __init__(self, dataset, weights=(1.0, 1.0, 3.0), **kwargs):
        super().__init__(dataset, **kwargs)
        self.generator = np.random.RandomState(self.seed)
        labels = [dataset.get_data_info(i)["label"] for i in range(len(dataset))]
        self.shares = np.array([weights[label] for label in labels]) / sum(weights[label] for label in labels)

    def __iter__(self):
        while True:
            yield int(self.generator.choice(self.size, p=self.shares))


PIPELINE = [
    dict(type="Read"),
    dict(type="RandomApply", prob=0.5, transforms=[dict(type="Brighten", most=0.8)]),
    dict(
        type="RandomChoice",
        transforms=[[dict(type="Roll", axis=0)], [dict(type="Roll", axis=1), dict(type="Brighten")]],
    ),
    dict(type="Pack"),
]

CHANGES = dict(
    train_dataloader=dict(
        dataset=dict(_delete_=True, type="SomeBroken", pipeline=PIPELINE, max_refetch=50),
        sampler=dict(_delete_=True, type="WeightedSampler", weights=(1.0, 2.0, 4.0)),
        collate_fn=dict(type="default_collate"),
        num_batch_per_epoch=3,
    ),
    val_dataloader=dict(
        dataset=dict(
            _delete_=True,
            type="SomeBroken",
            pipeline=[dict(type="Read"), dict(type="Pack")],
            indices=[0, 2, 3, 4, 6],
        )
    ),
)


def facts(runner):
    return dict(length=len(runner.train_dataloader.dataset), batches=len(runner.train_dataloader))

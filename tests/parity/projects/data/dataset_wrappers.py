"""Data sets round data sets: MMEngine's three, each with something of the project's own."""

import torch
from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset, RepeatDataset
from mmengine.registry import DATASETS


@DATASETS.register_module()
class Numbers(BaseDataset):
    METAINFO = dict(classes=("a", "b", "c"))

    def __init__(self, start=0, count=8, **kwargs):
        self.start = start
        self.count = count
        super().__init__(**kwargs)

    def load_data_list(self):
        return [dict(seed=self.start + i, label=0 if i < self.count - 2 else i % 3) for i in range(self.count)]

    def get_cat_ids(self, idx):
        return [self.get_data_info(idx)["label"]]

    def prepare_data(self, idx):
        info = self.get_data_info(idx)
        generator = torch.Generator().manual_seed(info["seed"])
        image = torch.randn(3, 6, 6, generator=generator) + info["label"] + 0.1 * torch.randn(3, 6, 6)
        return dict(inputs=image, data_samples=torch.tensor(info["label"]))


@DATASETS.register_module()
class BalancedNumbers(ClassBalancedDataset):
    def _get_repeat_factors(self, dataset, repeat_thr):
        return [min(factor, 3.0) for factor in super()._get_repeat_factors(dataset, repeat_thr)]


@DATASETS.register_module()
class Twice(RepeatDataset):
    def __init__(self, dataset, **kwargs):
        super().__init__(dataset, times=2, **kwargs)


@DATASETS.register_module()
class Mixed(ConcatDataset):
    def get_dataset_source(self, idx):
        return self._get_ori_dataset_idx(idx)[0]


CHANGES = dict(
    train_dataloader=dict(
        dataset=dict(
            _delete_=True,
            type="Mixed",
            datasets=[
                dict(type="Twice", dataset=dict(type="Numbers", start=100, count=4)),
                dict(type="BalancedNumbers", oversample_thr=0.5, dataset=dict(type="Numbers", count=8)),
                dict(type="RepeatDataset", times=2, dataset=dict(type="Numbers", start=50, count=3, lazy_init=True)),
            ],
        )
    ),
    val_dataloader=dict(
        dataset=dict(
            _delete_=True, type="ConcatDataset", datasets=[dict(type="Numbers"), dict(type="Numbers", start=9)]
        )
    ),
)


def facts(runner):
    dataset = runner.train_dataloader.dataset
    return dict(length=len(dataset), sources=[dataset.get_dataset_source(i) for i in range(len(dataset))])

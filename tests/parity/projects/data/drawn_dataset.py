"""A BaseDataset of MMEngine's, with its list made anew, filtered, serialized, and read lazily; its own transforms."""

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, TRANSFORMS


@DATASETS.register_module()
class DrawnShapes(BaseDataset):
    METAINFO = dict(classes=("square", "stripe", "blank"), task="shapes")

    def load_data_list(self):
        return [dict(seed=seed, label=seed % 3, size=4 + seed % 5) for seed in range(12)]

    def filter_data(self):
        least = (self.filter_cfg or {}).get("min_size", 0)
        return [info for info in self.data_list if info["size"] >= least]

    def get_cat_ids(self, idx):
        return [self.get_data_info(idx)["label"]]


@TRANSFORMS.register_module()
class Draw(BaseTransform):
    def __init__(self, side=6, noise=0.1):
        self.side = side
        self.noise = noise

    def transform(self, results):
        generator = np.random.RandomState(results["seed"])
        image = generator.rand(self.side, self.side, 3).astype(np.float32)
        if results["label"] == 0:
            image[1:3, 1:3] += 1
        elif results["label"] == 1:
            image[:, ::2] += 1
        results["img"] = image + self.noise * np.random.randn(self.side, self.side, 3).astype(np.float32)
        return results


@TRANSFORMS.register_module()
class ToInputs(BaseTransform):
    def transform(self, results):
        image = torch.from_numpy(results["img"]).permute(2, 0, 1).contiguous()
        return dict(inputs=image, data_samples=torch.tensor(results["label"]))


PIPELINE = [dict(type="Draw", noise=0.2), dict(type="ToInputs")]

CHANGES = dict(
    train_dataloader=dict(
        dataset=dict(
            _delete_=True,
            type="DrawnShapes",
            lazy_init=True,
            serialize_data=True,
            filter_cfg=dict(min_size=5),
            metainfo=dict(palette=[[1, 1, 1], [2, 2, 2], [3, 3, 3]]),
            pipeline=PIPELINE,
        )
    ),
    val_dataloader=dict(
        num_workers=2,
        persistent_workers=True,
        dataset=dict(
            _delete_=True, type="DrawnShapes", test_mode=True, indices=5, serialize_data=False, pipeline=PIPELINE
        ),
    ),
)


def facts(runner):
    train, val = runner.train_dataloader.dataset, runner.val_dataloader.dataset
    return dict(
        lengths=(len(train), len(val)),
        meta=dict(train.metainfo),
        first=train.get_data_info(0),
        kept=sorted(train.get_cat_ids(i)[0] for i in range(len(train))),
    )

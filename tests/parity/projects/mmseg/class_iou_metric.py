"""MMSegmentation's IoUMetric with the values of each class beside the means; the best by one class."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.logging import MMLogger, print_log
from mmseg.datasets import BaseSegDataset
from mmseg.evaluation import IoUMetric
from mmseg.registry import DATASETS, METRICS, TRANSFORMS


@METRICS.register_module()
class ClassIoUMetric(IoUMetric):
    def __init__(self, *args, watched=(), **kwargs):
        super().__init__(*args, **kwargs)
        self.watched = watched

    def process(self, data_batch, data_samples):
        before = len(self.results)
        super().process(data_batch, data_samples)
        assert len(self.results) == before + len(data_samples)

    def compute_metrics(self, results):
        intersect, union = (sum(one[place] for one in results) for place in (0, 1))
        metrics = super().compute_metrics(results)
        by_class = OrderedDict()
        for name, value in zip(self.dataset_meta["classes"], intersect / union):
            if name in self.watched:
                by_class[f"IoU.{name}"] = round(float(value) * 100, 2)
        print_log(f"watched: {dict(by_class)}", logger=MMLogger.get_current_instance())
        metrics.update(by_class)
        return metrics


@DATASETS.register_module()
class Squares(BaseSegDataset):
    METAINFO = dict(classes=("ground", "square", "line"), palette=[[0, 0, 0], [200, 30, 30], [30, 200, 30]])

    def load_data_list(self):
        common = dict(label_map=None, reduce_zero_label=False, seg_fields=[])
        return [dict(img_path=f"{i}.png", seed=i, **common) for i in range(6)]


@TRANSFORMS.register_module()
class DrawSquares(BaseTransform):
    def transform(self, results):
        random = np.random.RandomState(results["seed"])
        labels = np.zeros((16, 16), np.uint8)
        y, x = random.randint(0, 10, 2)
        labels[y : y + 6, x : x + 6] = 1
        labels[random.randint(16)] = 2
        results["img"] = (labels[..., None] * 90 + random.randint(0, 60, (16, 16, 3))).astype(np.uint8)
        results["img_shape"] = results["ori_shape"] = (16, 16)
        results["gt_seg_map"] = labels
        results["seg_fields"].append("gt_seg_map")
        return results


CHANGES = dict(
    default_scope="mmseg",
    model=dict(
        _delete_=True,
        type="EncoderDecoder",
        data_preprocessor=dict(type="SegDataPreProcessor", mean=[90.0] * 3, std=[60.0] * 3, size=(16, 16)),
        backbone=dict(type="ResNetV1c", depth=18, stem_channels=4, base_channels=4, norm_cfg=dict(type="BN")),
        decode_head=dict(
            type="FCNHead",
            in_channels=32,
            in_index=3,
            channels=4,
            num_convs=1,
            num_classes=3,
            loss_decode=dict(type="CrossEntropyLoss"),
        ),
        test_cfg=dict(mode="whole"),
    ),
    train_dataloader=dict(
        dataset=dict(_delete_=True, type="Squares", pipeline=[dict(type="DrawSquares"), dict(type="PackSegInputs")])
    ),
    val_dataloader=dict(
        batch_size=1,
        dataset=dict(_delete_=True, type="Squares", pipeline=[dict(type="DrawSquares"), dict(type="PackSegInputs")]),
    ),
    test_dataloader=None,
    test_evaluator=None,
    test_cfg=None,
    val_evaluator=dict(
        _delete_=True, type="ClassIoUMetric", iou_metrics=["mIoU", "mDice"], watched=["ground", "square"], nan_to_num=0
    ),
    train_cfg=dict(val_interval=3),
    default_hooks=dict(checkpoint=dict(save_best="IoU.ground", rule="greater", interval=3)),
)


def facts(runner):
    log = next(Path(runner.log_dir).glob("*.log")).read_text()
    return dict(watched=log.count("watched: {"), tables=log.count("per class results"))

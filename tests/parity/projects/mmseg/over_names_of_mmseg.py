"""Parts over the names of MMSegmentation's own, with `force=True`, as forks of it do."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import PackSegInputs as KnownPacking
from mmseg.evaluation import IoUMetric as KnownMetric
from mmseg.models.data_preprocessor import SegDataPreProcessor as KnownPreprocessor
from mmseg.models.decode_heads import FCNHead as KnownHead
from mmseg.models.losses import CrossEntropyLoss as KnownLoss
from mmseg.registry import DATASETS, METRICS, MODELS, TRANSFORMS

used = []


@MODELS.register_module(name="CrossEntropyLoss", force=True)
class HalfLoss(KnownLoss):
    def forward(self, *args, **kwargs):
        used.append("loss")
        return super().forward(*args, **kwargs) / 2


@MODELS.register_module(force=True)
class FCNHead(KnownHead):
    def forward(self, inputs):
        used.append("head")
        return super().forward(inputs) * 1.5


@MODELS.register_module(force=True)
class SegDataPreProcessor(KnownPreprocessor):
    def forward(self, data, training=False):
        used.append("preprocessor")
        data = super().forward(data, training)
        data["inputs"] = data["inputs"] * 0.9
        return data


@METRICS.register_module(force=True)
class IoUMetric(KnownMetric):
    def compute_metrics(self, results):
        used.append("metric")
        metrics = super().compute_metrics(results)
        metrics["images"] = len(results)
        return metrics


@TRANSFORMS.register_module(force=True)
class PackSegInputs(KnownPacking):
    def transform(self, results):
        used.append("packing")
        return super().transform(results)


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
    val_evaluator=dict(_delete_=True, type="IoUMetric", iou_metrics=["mIoU"]),
)


def facts(runner):
    return dict(used={name: used.count(name) for name in sorted(set(used))})

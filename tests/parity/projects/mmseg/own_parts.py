"""A backbone, a head, a loss, a pixel sampler and a preprocessor, all in MMSegmentation's registries."""

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.model import BaseModule
from mmseg.datasets import BaseSegDataset
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import DATASETS, MODELS, TASK_UTILS, TRANSFORMS
from torch import nn
from torch.nn import functional


@DATASETS.register_module()
class Fields(BaseSegDataset):
    METAINFO = dict(classes=("soil", "crop", "weed"), palette=[[90, 60, 30], [20, 160, 20], [200, 30, 30]])

    def __init__(self, number=8, **kwargs):
        self.number = number
        super().__init__(img_suffix=".png", seg_map_suffix=".png", **kwargs)

    def load_data_list(self):
        common = dict(label_map=self.label_map, reduce_zero_label=self.reduce_zero_label, seg_fields=[])
        return [dict(img_path=f"field_{i}.png", seed=i, **common) for i in range(self.number)]


@TRANSFORMS.register_module()
class DrawField(BaseTransform):
    def __init__(self, side=24):
        self.side = side

    def transform(self, results):
        random = np.random.RandomState(results["seed"])
        labels = np.kron(random.randint(0, 3, (4, 4)), np.ones((self.side // 4, self.side // 4))).astype(np.uint8)
        results["img"] = (labels[..., None] * 60 + random.randint(0, 60, (self.side, self.side, 3))).astype(np.uint8)
        results["img_shape"] = results["ori_shape"] = (self.side, self.side)
        results["gt_seg_map"] = labels
        results["seg_fields"].append("gt_seg_map")
        return results


@TRANSFORMS.register_module()
class SpotNoise(BaseTransform):
    """Blackens some spots, and leaves them out of the labels."""

    def __init__(self, prob=0.5, spots=3):
        self.prob = prob
        self.spots = spots

    def transform(self, results):
        if np.random.rand() < self.prob:
            height, width = results["img"].shape[:2]
            for _ in range(self.spots):
                y, x = np.random.randint(height), np.random.randint(width)
                results["img"][y : y + 3, x : x + 3] = 0
                results["gt_seg_map"][y : y + 3, x : x + 3] = 255
        return results


@MODELS.register_module()
class ThinBackbone(BaseModule):
    def __init__(self, widths=(6, 8), init_cfg=None):
        super().__init__(init_cfg or [dict(type="Kaiming", layer="Conv2d")])
        self.stages = nn.ModuleList()
        before = 3
        for width in widths:
            self.stages.append(
                nn.Sequential(nn.Conv2d(before, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
            )
            before = width

    def forward(self, x):
        outs = []
        for stage in self.stages:
            x = stage(x)
            outs.append(x)
        return tuple(outs)


@MODELS.register_module()
class SumHead(BaseDecodeHead):
    def __init__(self, **kwargs):
        super().__init__(input_transform="multiple_select", **kwargs)
        self.sides = nn.ModuleList(nn.Conv2d(width, self.channels, 1) for width in self.in_channels)

    def forward(self, inputs):
        features = self._transform_inputs(inputs)
        sides = [conv(feature) for conv, feature in zip(self.sides, features)]
        size = sides[0].shape[2:]
        return self.cls_seg(sum(functional.interpolate(side, size, mode="bilinear") for side in sides))


@MODELS.register_module()
class SmoothLoss(nn.Module):
    def __init__(self, smoothing=0.1, loss_weight=1.0, loss_name="loss_smooth"):
        super().__init__()
        self.smoothing = smoothing
        self.loss_weight = loss_weight
        self._loss_name = loss_name

    def forward(self, cls_score, label, weight=None, avg_factor=None, ignore_index=255, **kwargs):
        loss = functional.cross_entropy(
            cls_score, label, ignore_index=ignore_index, label_smoothing=self.smoothing, reduction="none"
        )
        if weight is not None:
            loss = loss * weight
        return self.loss_weight * loss.mean()

    @property
    def loss_name(self):
        return self._loss_name


@TASK_UTILS.register_module()
class RandomPixelSampler:
    """Counts a random part of the pixels."""

    def __init__(self, context, share=0.5):
        self.context = context
        self.share = share

    def sample(self, seg_logit, seg_label):
        assert self.context.num_classes == seg_logit.shape[1]
        return (torch.rand(seg_label.shape[0], *seg_label.shape[2:]) < self.share).float()


@MODELS.register_module()
class JitterPreprocessor(SegDataPreProcessor):
    def forward(self, data, training=False):
        data = super().forward(data, training)
        if training:
            data["inputs"] = data["inputs"] * (1 + 0.1 * torch.randn(len(data["inputs"]), 1, 1, 1))
        return data


train_pipeline = [
    dict(type="DrawField"),
    dict(type="RandomResize", scale=(24, 24), ratio_range=(0.8, 1.5), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(16, 16), cat_max_ratio=0.9),
    dict(type="RandomFlip", prob=0.5),
    dict(type="SpotNoise", prob=0.7),
    dict(type="PackSegInputs"),
]
test_pipeline = [dict(type="DrawField"), dict(type="PackSegInputs")]

CHANGES = dict(
    default_scope="mmseg",
    model=dict(
        _delete_=True,
        type="EncoderDecoder",
        data_preprocessor=dict(
            type="JitterPreprocessor",
            mean=[90.0, 90.0, 90.0],
            std=[60.0, 60.0, 60.0],
            bgr_to_rgb=True,
            size=(16, 16),
            pad_val=0,
            seg_pad_val=255,
        ),
        backbone=dict(type="ThinBackbone"),
        decode_head=dict(
            type="SumHead",
            in_channels=[6, 8],
            in_index=[0, 1],
            channels=6,
            num_classes=3,
            dropout_ratio=0.1,
            sampler=dict(type="RandomPixelSampler", share=0.6),
            loss_decode=[dict(type="SmoothLoss", smoothing=0.2), dict(type="CrossEntropyLoss", loss_weight=0.5)],
        ),
        auxiliary_head=dict(
            type="FCNHead",
            in_channels=6,
            in_index=0,
            channels=4,
            num_convs=1,
            num_classes=3,
            loss_decode=dict(type="SmoothLoss", loss_weight=0.4),
        ),
        train_cfg=dict(),
        test_cfg=dict(mode="slide", crop_size=(16, 16), stride=(8, 8)),
    ),
    train_dataloader=dict(dataset=dict(_delete_=True, type="Fields", pipeline=train_pipeline)),
    val_dataloader=dict(dataset=dict(_delete_=True, type="Fields", number=4, pipeline=test_pipeline, test_mode=True)),
    val_evaluator=dict(_delete_=True, type="IoUMetric", iou_metrics=["mIoU", "mFscore"]),
    test_dataloader=None,
    test_evaluator=None,
    test_cfg=None,
    optim_wrapper=dict(
        clip_grad=dict(max_norm=1.0), paramwise_cfg=dict(custom_keys={"decode_head": dict(lr_mult=10.0)})
    ),
    train_cfg=dict(val_interval=3),
)


def facts(runner):
    return dict(
        parts=sorted({type(module).__name__ for module in runner.model.modules()}),
        classes=runner.visualizer.dataset_meta["classes"],
    )

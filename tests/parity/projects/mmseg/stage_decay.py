"""MMSegmentation's layer-wise decay for a backbone that it does not know."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.datasets import BaseSegDataset
from mmseg.engine.optimizers import LearningRateDecayOptimizerConstructor
from mmseg.registry import DATASETS, OPTIM_WRAPPER_CONSTRUCTORS, TRANSFORMS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class ResNetDecayConstructor(LearningRateDecayOptimizerConstructor):
    def add_params(self, params, module, **kwargs):
        rate, top = self.paramwise_cfg["decay_rate"], self.paramwise_cfg["num_layers"] + 1
        groups = {}
        for name, parameter in module.named_parameters():
            stage = next((stage for stage in range(1, 5) if f"layer{stage}." in name), 0)
            layer = stage if name.startswith("backbone") else top
            decays = parameter.ndim > 1
            key = f"layer_{layer}_{'decay' if decays else 'no_decay'}"
            if key not in groups:
                scale = rate ** (top - layer)
                groups[key] = dict(
                    weight_decay=self.base_wd if decays else 0.0,
                    params=[],
                    param_names=[],
                    lr_scale=scale,
                    group_name=key,
                    lr=scale * self.base_lr,
                )
            groups[key]["params"].append(parameter)
            groups[key]["param_names"].append(name)
        params.extend(groups.values())


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
    optim_wrapper=dict(
        constructor="ResNetDecayConstructor",
        paramwise_cfg=dict(num_layers=4, decay_rate=0.7, decay_type="stage_wise"),
        optimizer=dict(_delete_=True, type="AdamW", lr=0.001, betas=(0.9, 0.999), weight_decay=0.05),
    ),
    param_scheduler=[
        dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=2),
        dict(type="mmseg.PolyLRRatio", eta_min_ratio=0.1, power=0.9, begin=2, end=6, by_epoch=False),
    ],
)


def facts(runner):
    return dict(
        groups=[(group["group_name"], group["lr_scale"]) for group in runner.optim_wrapper.optimizer.param_groups]
    )

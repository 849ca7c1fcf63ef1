"""MMSegmentation's visualizer, with a title on each picture, and its hook that draws predictions."""

import atexit
import glob
import os
import shutil
import tempfile

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS, TRANSFORMS, VISUALIZERS
from mmseg.visualization import SegLocalVisualizer


@VISUALIZERS.register_module()
class TitledVisualizer(SegLocalVisualizer):
    def __init__(self, name="visualizer", *args, title="", **kwargs):
        super().__init__(name, *args, **kwargs)
        self.title = title
        self.drawn = []

    def add_datasample(self, name, image, *args, **kwargs):
        self.drawn.append((name, image.shape, int(image.sum())))
        super().add_datasample(name, image, *args, **kwargs)


@TRANSFORMS.register_module()
class KeepFile(BaseTransform):
    """The drawing hook reads the image from its file."""

    def __init__(self, folder):
        self.folder = folder

    def transform(self, results):
        os.makedirs(self.folder, exist_ok=True)
        results["img_path"] = os.path.join(self.folder, results["img_path"])
        if not os.path.exists(results["img_path"]):
            cv2.imwrite(results["img_path"], results["img"])
        return results


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


FOLDER = tempfile.mkdtemp()
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
pipeline = [dict(type="DrawSquares"), dict(type="KeepFile", folder=FOLDER), dict(type="PackSegInputs")]

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
        dataset=dict(_delete_=True, type="Squares", pipeline=pipeline),
    ),
    test_dataloader=None,
    test_evaluator=None,
    test_cfg=None,
    val_evaluator=dict(_delete_=True, type="IoUMetric", iou_metrics=["mIoU"]),
    visualizer=dict(
        type="TitledVisualizer", name="visualizer", title="val", alpha=0.5, vis_backends=[dict(type="LocalVisBackend")]
    ),
    default_hooks=dict(visualization=dict(type="SegVisualizationHook", draw=True, interval=2)),
)


def facts(runner):
    pictures = sorted(glob.glob(f"{runner.log_dir}/vis_data/vis_image/*.png"))
    return dict(
        drawn=runner.visualizer.drawn,
        kind=type(runner.visualizer).__name__,
        sums=[int(cv2.imread(path).sum()) for path in pictures],
    )

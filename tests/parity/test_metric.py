"""Our metrics and log lines beside the reference's, on the same input; skipped where that is not installed."""

from __future__ import annotations

import importlib.util
import logging
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from seg_runner import (
    CityscapesMetric,
    DepthMetric,
    IoUMetric,
    LogProcessor,
    MessageHub,
    PixelData,
    SegDataPreProcessor,
    SegDataSample,
    SegTTAModel,
)
from seg_runner.evaluation.cityscapes import LABEL_IDS
from seg_runner.model.inference import restore, slide, write_prediction

for package in ("mmengine", "mmcv", "mmseg"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}", allow_module_level=True)

from benchmarks._mmsegmentation import import_mmseg  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def mmseg_metrics() -> Any:
    """MMSegmentation's metrics."""
    import_mmseg()
    return pytest.importorskip("mmseg.evaluation")


def samples(seed: int, classes: int, count: int = 3, beyond: bool = False) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    made = []
    for index in range(count):
        shape = (17 + index, 23)
        truth = random.integers(0, classes, shape)
        predicted = np.where(random.random(shape) < 0.6, truth, random.integers(0, classes, shape))
        truth[random.random(shape) < 0.1] = 255
        if beyond:
            truth[random.random(shape) < 0.1] = classes + 3
        maps = {"gt_sem_seg": truth, "pred_sem_seg": predicted}
        made.append({name: {"data": torch.from_numpy(value)[None]} for name, value in maps.items()})
    return made


OPTIONS: list[dict[str, Any]] = [
    {},
    {"iou_metrics": ["mDice"]},
    {"iou_metrics": ["mFscore"], "beta": 2},
    {"iou_metrics": ["mIoU", "mDice", "mFscore"]},
    {"iou_metrics": ["mFscore", "mIoU"], "nan_to_num": 0},
    {"ignore_index": 3},
    {"prefix": "val"},
    {"nan_to_num": -1},
]


@pytest.mark.parametrize("beyond", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_iou_metric(mmseg_metrics: Any, options: dict[str, Any], beyond: bool, caplog: Any) -> None:
    names = ["a", "wall", "sky scraper", "never seen", "e"]
    data = samples(3, 3 if "nan" in str(options) else 5, beyond=beyond)
    ours, theirs = IoUMetric(**options), mmseg_metrics.IoUMetric(**options)
    tables = []
    for metric in (ours, theirs):
        metric.dataset_meta = {"classes": names}
        metric.process({}, data)
    with caplog.at_level(logging.INFO):
        found = ours.evaluate(len(data))
    ours_table = next(record.message for record in caplog.records if "+--" in record.message)
    reader = logging.Handler()
    reader.emit = lambda record: tables.append(record.getMessage())  # type: ignore[method-assign]
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    logger.addHandler(reader)
    wanted = theirs.evaluate(len(data))
    logger.removeHandler(reader)
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        assert math.isclose(found[name], float(value), abs_tol=0.0051) or (math.isnan(found[name]) and np.isnan(value))
    theirs_table = next(text for text in tables if "+--" in text)
    assert ours_table.strip() == theirs_table.strip()


def test_iou_metric_of_nothing_but_ignored_pixels(mmseg_metrics: Any) -> None:
    one = {"gt_sem_seg": {"data": torch.full((1, 4, 4), 255)}, "pred_sem_seg": {"data": torch.zeros(1, 4, 4).long()}}
    results = []
    for metric in (IoUMetric(), mmseg_metrics.IoUMetric()):
        metric.dataset_meta = {"classes": ["a", "b"]}
        metric.process({}, [one])
        results.append(metric.evaluate(1))
    assert [math.isnan(float(value)) for value in results[0].values()] == [True] * 3
    assert [math.isnan(float(value)) for value in results[1].values()] == [True] * 3


@pytest.mark.parametrize(
    "options",
    [{}, {"min_depth_eval": 1.0, "max_depth_eval": 10.0}, {"crop_type": "nyu_crop"}, {"prefix": "p"}],
    ids=str,
)
def test_depth_metric(mmseg_metrics: Any, options: dict[str, Any]) -> None:
    random = np.random.default_rng(0)
    data = []
    for _ in range(2):
        true = random.uniform(0.1, 12, (480, 640)).astype(np.float32)
        true[:20] = 0
        predicted = (true * random.uniform(0.7, 1.4, true.shape) + 0.01).astype(np.float32)
        maps = {"gt_depth_map": true, "pred_depth_map": predicted}
        data.append({name: {"data": torch.from_numpy(value)[None]} for name, value in maps.items()})
    found = []
    for metric in (DepthMetric(**options), mmseg_metrics.DepthMetric(**options)):
        metric.process({}, data)
        found.append(metric.evaluate(2))
    assert list(found[0]) == list(found[1])
    assert found[0] == pytest.approx({name: float(value) for name, value in found[1].items()}, rel=2e-5)


def test_cityscapes_metric(mmseg_metrics: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cityscapesscripts")
    cv2 = pytest.importorskip("cv2")
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)
    random, data = np.random.default_rng(0), []
    (tmp_path / "gt").mkdir()
    for index in range(2):
        true = random.integers(0, 19, (64, 128))
        predicted = np.where(random.random(true.shape) < 0.7, true, random.integers(0, 19, true.shape))
        labels = LABEL_IDS[true].astype(np.uint16)
        labels[:3], true[:3] = 0, 255
        things = (labels >= 24) & (labels <= 33)
        instances = np.where(things, labels * 1000 + random.integers(0, 3, true.shape), labels).astype(np.uint16)
        stem = f"frankfurt_{index:06}_000294"
        cv2.imwrite(str(tmp_path / f"gt/{stem}_gtFine_labelIds.png"), labels.astype(np.uint8))
        cv2.imwrite(str(tmp_path / f"gt/{stem}_gtFine_instanceIds.png"), instances)
        maps = {"gt_sem_seg": true, "pred_sem_seg": predicted}
        sample: dict[str, Any] = {name: {"data": torch.from_numpy(value)[None]} for name, value in maps.items()}
        paths = {
            "img_path": f"{stem}_leftImg8bit.png",
            "seg_map_path": str(tmp_path / f"gt/{stem}_gtFine_labelTrainIds.png"),
        }
        data.append(sample | paths)
    names = ["road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"]
    names += ["terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"]
    found = []
    for name, kind in (("ours", CityscapesMetric), ("theirs", mmseg_metrics.CityscapesMetric)):
        metric = kind(output_dir=str(tmp_path / name), keep_results=True)
        metric.dataset_meta = {"classes": names}
        metric.process({}, data)
        found.append(metric.evaluate(2))
    for name, value in found[1].items():
        assert found[0][name] == pytest.approx(float(value))
    assert {path.name for path in (tmp_path / "ours").iterdir()} == {
        path.name for path in (tmp_path / "theirs").iterdir()
    }


@pytest.mark.parametrize("classes", [3, 1])
def test_merging_versions_of_an_image(mmseg_metrics: Any, classes: int) -> None:
    from mmengine.structures import PixelData as Pixels
    from mmseg import structures
    from mmseg.models import SegTTAModel as Reference

    class Fake(torch.nn.Module):
        decode_head = SimpleNamespace(threshold=0.4)
        threshold, out_channels = 0.4, classes

        def test_step(self, data: Any) -> Any:
            return data

    torch.manual_seed(0)
    logits = [torch.randn(classes, 4, 5) for _ in range(3)]
    logits = logits if classes > 1 else [value.sigmoid() for value in logits]

    def versions() -> list[Any]:
        made = []
        for value in logits:
            sample = structures.SegDataSample(metainfo={"img_path": "a.png"})
            sample.set_data({"seg_logits": Pixels(data=value), "gt_sem_seg": Pixels(data=torch.zeros(1, 4, 5))})
            made.append(sample)
        return made

    ours = SegTTAModel(Fake()).merge_preds([versions()])[0]
    theirs = Reference(Fake()).merge_preds([versions()])[0]
    assert torch.equal(ours.pred_sem_seg.data.squeeze(), theirs.pred_sem_seg.data.squeeze().to(torch.int64))


@pytest.mark.parametrize("size", [(20, 31), (8, 8), (5, 40)])
def test_sliding_windows(mmseg_metrics: Any, size: tuple[int, int]) -> None:
    from mmengine.config import ConfigDict
    from mmseg.models import EncoderDecoder

    class Fake(EncoderDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.out_channels, self.align_corners = 2, False
            self.test_cfg = ConfigDict(mode="slide", crop_size=(8, 12), stride=(5, 7))

        def encode_decode(self, inputs: torch.Tensor, metas: Any) -> torch.Tensor:
            return forward(inputs)

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        return torch.cat([inputs.cumsum(-1)[:, :1], inputs.cumsum(-2)[:, 1:2]], 1)

    torch.manual_seed(0)
    images = torch.randn(2, 3, *size)
    theirs = Fake().slide_inference(images, [{"img_shape": size}] * 2)
    assert torch.allclose(slide(forward, images, (8, 12), (5, 7)), theirs, atol=1e-5)


def test_restoring_predictions(mmseg_metrics: Any) -> None:
    from mmseg.models import EncoderDecoder

    class Fake(EncoderDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.out_channels, self.align_corners = 3, False
            self.decode_head = SimpleNamespace(threshold=0.3)

    from mmseg.structures import SegDataSample as Sample

    torch.manual_seed(0)
    for facts in (
        {"ori_shape": (9, 15), "img_padding_size": (0, 2, 0, 1), "flip": True, "flip_direction": "vertical"},
        {"ori_shape": (9, 15), "padding_size": [0, 2, 0, 1], "flip": True, "flip_direction": "horizontal"},
        {"ori_shape": (30, 4), "flip": False, "flip_direction": None},
    ):
        logits = torch.randn(1, 3, 8, 12)
        wanted = Fake().postprocess_result(logits.clone(), [Sample(metainfo=facts)])[0]
        found = write_prediction(SegDataSample(metainfo=facts), restore(logits[0], facts))
        assert torch.allclose(found.seg_logits.data, wanted.seg_logits.data, atol=1e-6)
        assert torch.equal(found.pred_sem_seg.data, wanted.pred_sem_seg.data)


def test_preprocessing(mmseg_metrics: Any) -> None:
    from mmengine.structures import PixelData as Pixels
    from mmseg.models import SegDataPreProcessor as Reference
    from mmseg.structures import SegDataSample as Sample

    options: dict[str, Any] = {"mean": [120.0, 110.0, 100.0], "std": [60.0, 58.0, 57.0], "bgr_to_rgb": True}
    for training, more in (
        (True, {"size": (10, 12)}),
        (True, {"size_divisor": 8}),
        (False, {"test_cfg": {"size_divisor": 8}}),
    ):
        images = [torch.randint(0, 255, (3, 9, 11), dtype=torch.uint8) for _ in range(2)]
        results = []
        for kind, sample, pixels in ((SegDataPreProcessor, SegDataSample, PixelData), (Reference, Sample, Pixels)):
            samples = [sample(metainfo={"ori_shape": (9, 11), "img_shape": (9, 11)}) for _ in images]
            for one in samples:
                one.gt_sem_seg = pixels(data=torch.zeros(1, 9, 11, dtype=torch.int64))
            results.append(kind(**options, **more)({"inputs": list(images), "data_samples": samples}, training))
        ours, theirs = results
        assert torch.allclose(ours["inputs"], theirs["inputs"])
        for one, other in zip(ours["data_samples"], theirs["data_samples"], strict=True):
            assert torch.equal(one.gt_sem_seg.data, other.gt_sem_seg.data)
            for name in ("img_shape", "pad_shape", "padding_size", "img_padding_size"):
                assert list(one.get(name, ())) == list(other.get(name, ())), name


def runs(**given: Any) -> tuple[Any, Any]:
    """The same scalars in our hub and in MMEngine's, and a runner round each."""
    from mmengine.logging import MessageHub as Reference

    made = []
    for hub in (MessageHub(), Reference(f"hub-{id(given)}")):
        for step in range(12):
            hub.update_scalars({"train/base_lr": 0.1 / (step + 1), "train/lr": 0.2 / (step + 1)})
            hub.update_scalars({"train/data_time": 0.01 * step, "train/loss": 1.0 * step, "train/acc": 3.0 * step})
            hub.update_scalars({"train/time": 0.1 * step, "train/grad_norm": step * 2.5})
        for step in range(5):
            hub.update_scalars({"val/time": 0.1 * step, "val/data_time": 0.05 * step})
        hub.update_info("eta", 3725)
        loop = SimpleNamespace(dataloader=range(10), max_iters=100, max_epochs=10)
        parts = {"message_hub": hub, "epoch": 0, "iter": 11, "max_epochs": 10, "max_iters": 100, "world_size": 1}
        loaders = {"train_dataloader": range(10), "val_dataloader": range(5), "test_dataloader": range(7)}
        loops = {"train_loop": loop, "_train_loop": loop, "val_loop": loop, "test_loop": loop}
        made.append(SimpleNamespace(**(parts | loaders | loops | given)))
    return made[0], made[1]


CUSTOM = [
    {"data_src": "loss", "method_name": "max", "window_size": 4, "log_name": "loss_max"},
    {"data_src": "lr", "method_name": "mean", "window_size": 3, "log_name": "mean_lr"},
    {"data_src": "loss", "method_name": "min", "window_size": "global"},
]


@pytest.mark.parametrize(
    "options",
    [{}, {"num_digits": 2}, {"window_size": 3}, {"log_with_hierarchy": True}, {"custom_cfg": CUSTOM}],
    ids=str,
)
@pytest.mark.parametrize("by_epoch", [True, False])
def test_log_lines(options: dict[str, Any], by_epoch: bool) -> None:
    from mmengine.runner import LogProcessor as Reference

    ours, theirs = runs()
    mine, reference = LogProcessor(by_epoch=by_epoch, **options), Reference(by_epoch=by_epoch, **options)
    for processor, run, found in ((mine, ours, first := []), (reference, theirs, second := [])):
        found.append(processor.get_log_after_iter(run, 3, "train"))
        found.append(processor.get_log_after_iter(run, 4, "val"))
        run.message_hub.update_scalars({"val/mIoU": 33.25, "val/aAcc": 50.5})
        run.message_hub.update_info("val/table", [1, 2])
        found.append(processor.get_log_after_epoch(run, 5, "val"))
        found.append(processor.get_log_after_epoch(run, 5, "val", with_non_scalar=True))
        run.message_hub.update_scalars({"test/time": 0.5, "test/data_time": 0.25})
        found.append(processor.get_log_after_iter(run, 6, "test"))
        run.message_hub.update_scalars({"test/mIoU": 3.5})
        found.append(processor.get_log_after_epoch(run, 7, "test", with_non_scalar=True))
    for (record, line), (wanted, wanted_line) in zip(first, second, strict=True):
        assert drop_position(line) == drop_position(wanted_line)
        for key in wanted.keys() - {"iter", "epoch"}:
            assert record[key] == (pytest.approx(wanted[key]) if isinstance(wanted[key], float) else wanted[key])
        assert [*record] == [*wanted]


def test_states_of_the_message_hub_go_both_ways() -> None:
    from mmengine.logging import MessageHub as Reference

    ours, theirs, again = MessageHub(), Reference("states"), MessageHub()
    ours.update_scalar("train/loss", 6.0, count=2)
    ours.update_info("iter", 3)
    theirs.load_state_dict(ours.state_dict())
    assert theirs.get_info("iter") == 3
    theirs.update_info("epoch", 1)
    theirs.update_scalar("train/loss", 2.0)
    theirs.update_scalar("train/loss", 4.0)
    again.load_state_dict(theirs.state_dict())
    assert again.get_scalar("train/loss").data[0].tolist() == [2.0, 4.0]
    assert again.get_info("epoch") == 1


def drop_position(line: str) -> str:
    """Without the numbers that MMEngine reads off a real loop, which the stand-in is not."""
    return line[line.index("]  ") :]

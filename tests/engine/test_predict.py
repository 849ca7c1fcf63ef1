from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from seg_runner.checkpoint.write import write_checkpoint
from seg_vis import get_palette

import seg_engine
from seg_engine.data.label_maps import read_labels
from seg_engine.models.segmentor import Segmentor
from seg_engine.predict import Prediction, load_model

CONFIG = """
model = dict(
    type='Segmentor',
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[100.0] * 3, std=[50.0] * 3, size=(16, 16)),
    backbone=dict(type='TinyConvNeXt', depths=(1,), channels=(4,)),
    decode_head=dict(type='FuseHead', in_channels=[4], channels=4, num_classes=3))
test_pipeline = [
    dict(type='LoadImageFromFile'), dict(type='Resize', scale=(16, 16)), dict(type='LoadAnnotations'),
    dict(type='PackSegInputs')]
"""


def checkpoint(path: Path, **changes: Any) -> Path:
    torch.manual_seed(0)
    backbone = {"type": "TinyConvNeXt", "depths": (1,), "channels": (4,)}
    head = {"type": "FuseHead", "in_channels": [4], "channels": 4, "num_classes": 3}
    model = Segmentor(backbone, head)
    meta = {"cfg": CONFIG, "dataset_meta": {"classes": ["a", "b", "c"]}}
    write_checkpoint(path, {"meta": meta, "state_dict": dict(model.state_dict()), **changes})
    return path


def test_the_model_comes_from_the_checkpoint_alone(tmp_path: Path) -> None:
    model = seg_engine.load_model(checkpoint(tmp_path / "a.pth"))
    prediction = model.predict(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))
    assert prediction.labels.shape == (30, 40), "the test pipeline resizes; the answer has the image's size"
    assert prediction.classes == ("a", "b", "c")
    assert prediction.overlay().shape == (30, 40, 3)


def test_a_prediction_is_saved_as_labels_and_overlay(tmp_path: Path) -> None:
    prediction = load_model(checkpoint(tmp_path / "a.pth")).predict(np.zeros((8, 8, 3), np.uint8))
    prediction.save(tmp_path / "x" / "labels.png", tmp_path / "y" / "overlay.png")
    labels = cv2.imread(str(tmp_path / "x" / "labels.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(labels, prediction.labels)
    assert (tmp_path / "y" / "overlay.png").exists()


def test_batch_norm_is_in_its_test_mode(tmp_path: Path) -> None:
    model = load_model(checkpoint(tmp_path / "a.pth"))
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    one, two = (model.predict(image).sample.seg_logits.data for _ in range(2))
    assert torch.equal(one, two)


def test_checkpoints_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.pth"):
        load_model(tmp_path / "none.pth")
    with pytest.raises(ValueError, match="holds no config"):
        load_model(checkpoint(tmp_path / "a.pth", meta={}))
    with pytest.raises(ValueError, match=r"b\.pth: nothing was loaded"):
        load_model(checkpoint(tmp_path / "b.pth", state_dict={"other.weight": torch.zeros(1)}))


def test_weights_that_do_not_fit_are_listed_and_refused(tmp_path: Path) -> None:
    three = CONFIG.replace("num_classes=3", "num_classes=4")
    path = checkpoint(tmp_path / "a.pth", meta={"cfg": three})
    with pytest.raises(ValueError, match=r"seg.weight: shape \(3, 4, 1, 1\) in the file, \(4, 4, 1, 1\) in the model"):
        load_model(path)
    with pytest.warns(UserWarning, match="conv_seg.weight: shape"):
        assert load_model(path, strict=False).predict(np.zeros((8, 8, 3), np.uint8)).labels.shape == (8, 8)


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (np.zeros((0, 0, 3), np.uint8), r"the image holds no pixel: its shape is \(0, 0, 3\)"),
        (np.zeros((5, 5), complex), r"is expected, not complex128 \(5, 5\)"),
        (np.array([["a"]]), r"is expected, not <U1"),
        (np.zeros((2, 5, 5, 3), np.uint8), r"of shape \(2, 5, 5, 3\): several images are given as a list"),
        (np.zeros((3, 50, 60), np.uint8), r"the channels come last.*, and this array is \(3, 50, 60\)"),
        (np.full((5, 5), -3), r"pixels from -3 to -3; the model was trained on 8 bits"),
        (torch.zeros(5, 5, 3), r"is expected, not torch.float32"),
        (b"abc", r"is expected, not bytes"),
        (None, r"is expected, not NoneType"),
        ("nowhere/x.png", r"there is no file nowhere.x.png"),
    ],
)
def test_what_is_no_image_is_told(tmp_path: Path, image: Any, text: str) -> None:
    model = load_model(checkpoint(tmp_path / "a.pth"))
    with pytest.raises((ValueError, FileNotFoundError), match=text):
        model.predict(image)


def test_a_device_that_is_not_there_is_told(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "a.pth")
    with pytest.raises(ValueError, match="device='gpu' is no device of torch's"):
        load_model(path, device="gpu")
    with pytest.raises(ValueError, match="device='cuda:99', but torch"):
        load_model(path, device="cuda:99")


def test_classes_beyond_255_keep_their_numbers(tmp_path: Path) -> None:
    head = {"type": "FuseHead", "in_channels": [4], "channels": 4, "num_classes": 300}
    model = Segmentor({"type": "TinyConvNeXt", "depths": (1,), "channels": (4,)}, head)
    biased = {
        name: torch.arange(300.0) if value.shape == (300,) else value for name, value in model.state_dict().items()
    }
    meta = {"cfg": CONFIG.replace("num_classes=3", "num_classes=300"), "dataset_meta": {}}
    path = checkpoint(tmp_path / "a.pth", meta=meta, state_dict=biased)
    prediction = load_model(path).predict(np.zeros((8, 8, 3), np.uint8))
    assert np.unique(prediction.labels).tolist() == [299]
    with pytest.warns(UserWarning, match="labels 299 lie beyond a palette"):
        prediction.save(tmp_path / "labels.png", tmp_path / "overlay.png")
    assert np.unique(cv2.imread(str(tmp_path / "labels.png"), cv2.IMREAD_UNCHANGED)).tolist() == [299]


def net(channels: int, load: str, folder: Path, more: str = "") -> Path:
    """A checkpoint of a 1 x 1 convolution that tells channel 0 (in the file's order) bright from dark."""
    low, high = 100.0, 30000.0
    config = f"""
model = dict(type='Segmentor', network=dict(type='torch.nn.Conv2d', in_channels={channels}, out_channels=2,
    kernel_size=1), data_preprocessor=dict(type='SegDataPreProcessor', size=(8, 8)))
test_dataloader = dict(dataset=dict(type='RepeatDataset', dataset=dict(type='BaseSegDataset', pipeline=[
    {load}, dict(type='LoadAnnotations'), {more} dict(type='PackSegInputs')])))
"""
    model = Segmentor(network=torch.nn.Conv2d(channels, 2, 1))
    state = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    weight, bias = (next(name for name in state if name.endswith(end)) for end in ("weight", "bias"))
    state[weight][1, 0] = 1.0
    state[bias][1] = -128.0 if "unchanged" not in load else -(low + high) / 2
    write_checkpoint(folder / "net.pth", {"meta": {"cfg": config, "dataset_meta": {}}, "state_dict": state})
    return folder / "net.pth"


def bright_left(kind: Any, channels: int | None, high: float) -> Any:
    pixels = np.zeros((6, 9) if channels is None else (6, 9, channels), kind)
    pixels[:, :4] = high
    return pixels


EXPECTED = bright_left(np.uint8, None, 1)


@pytest.mark.parametrize(
    ("channels", "how", "kind", "high"),
    [
        (4, "unchanged", np.uint16, 60000),
        (None, "unchanged", np.uint16, 60000),
        (3, "unchanged", np.uint16, 60000),
        (None, "grayscale", np.uint8, 200),
        (3, "color", np.uint8, 200),
        (None, "color", np.uint8, 200),
        (3, "color", np.uint16, 60000),
        (4, "color", np.uint8, 200),
        (3, "grayscale", np.uint8, 200),
    ],
)
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_files_and_arrays_are_read_as_the_pipeline_reads(
    tmp_path: Path, channels: int | None, how: str, kind: Any, high: int, ending: str
) -> None:
    taken = {"color": 3, "grayscale": 1}.get(how, channels or 1)
    model = load_model(net(taken, f"dict(type='LoadImageFromFile', color_type='{how}')", tmp_path))
    pixels = bright_left(kind, channels, high)
    cv2.imwrite(str(tmp_path / f"a.{ending}"), pixels)
    for given in (tmp_path / f"a.{ending}", str(tmp_path / f"a.{ending}"), pixels):
        prediction = model.predict(given)
        assert np.array_equal(prediction.labels, EXPECTED)
        assert prediction.image.shape == (6, 9, 3)
        assert prediction.image.dtype == np.uint8
        assert prediction.overlay().shape == (6, 9, 3)


@pytest.mark.parametrize(
    "pixels",
    [
        bright_left(np.float32, 3, 200.0),
        bright_left(np.float64, None, 200.0),
        bright_left(np.int64, 3, 200),
        bright_left(np.int32, None, 60000),
        bright_left(np.bool_, None, 1),
        bright_left(np.uint8, 1, 200),
        bright_left(np.float16, 3, 200.0)[::1, ::1],
        bright_left(np.uint8, 3, 200)[..., ::-1],
    ],
)
def test_arrays_of_any_type(tmp_path: Path, pixels: Any) -> None:
    model = load_model(net(3, "dict(type='LoadImageFromFile')", tmp_path))
    assert np.array_equal(model.predict(pixels).labels, EXPECTED)


def test_arrays_of_three_channels_are_rgb_and_files_agree(tmp_path: Path) -> None:
    model = load_model(net(3, "dict(type='LoadImageFromFile')", tmp_path))
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels[..., ::-1])
    of_array, of_file, of_pillow = (model.predict(one) for one in (pixels, tmp_path / "a.png", Image.fromarray(pixels)))
    assert np.array_equal(of_array.image, pixels)
    for one in (of_file, of_pillow):
        assert np.array_equal(one.labels, of_array.labels)
        assert np.array_equal(one.image, pixels)


def test_pixels_within_0_and_1_are_told(tmp_path: Path) -> None:
    model = load_model(net(3, "dict(type='LoadImageFromFile')", tmp_path))
    with pytest.warns(UserWarning, match=r"within 0 ... 1"):
        model.predict(bright_left(np.float32, 3, 1.0))


def test_no_data_in_floats_is_no_error_of_the_picture(tmp_path: Path) -> None:
    model = load_model(net(1, "dict(type='LoadImageFromFile', color_type='unchanged')", tmp_path))
    pixels = bright_left(np.float32, None, 60000.0)
    pixels[0, 0] = np.nan
    with pytest.warns(UserWarning, match=r"the image: NaN or infinite values reach the model \(1\)"):
        assert model.predict(pixels).image.shape == (6, 9, 3)


READER = """
import numpy as np
class ReadBands:
    def __init__(self, band): self.band = band
    def __call__(self, record):
        whole = np.load(record['img_path'])
        return {**record, 'img': whole[self.band], 'img_shape': whole.shape[1:], 'ori_shape': whole.shape[1:]}
"""


def test_a_reader_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_reader.py").write_text(READER)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = net(1, "dict(type='my_reader.ReadBands', band=2)", tmp_path)
    model = load_model(path, allow=("my_reader",))
    bands = np.zeros((4, 6, 9), np.float32)
    bands[2] = bright_left(np.float32, None, 200.0)
    np.save(tmp_path / "a.npy", bands)
    assert np.array_equal(model.predict(tmp_path / "a.npy").labels, EXPECTED)
    assert np.array_equal(model.predict(bands[2]).labels, EXPECTED), "arrays are what the reader gives"


def test_lists_give_lists(tmp_path: Path) -> None:
    model = load_model(checkpoint(tmp_path / "a.pth"))
    image = np.zeros((8, 9, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    found = model.predict(one for one in [image, tmp_path / "a.png", str(tmp_path / "a.png")])
    assert [one.labels.shape for one in found] == [(8, 9)] * 3
    assert model.predict([]) == []
    with pytest.raises(ValueError, match=r"bad\.png"):
        model.predict([image, tmp_path / "bad.png"])
    with pytest.warns(UserWarning, match=r"bad\.png"):
        found = model.predict([image, tmp_path / "bad.png", image], errors="warn")
    assert [one is None for one in found] == [False, True, False]
    with pytest.raises(ValueError, match="errors must be"):
        model.predict(image, errors="ignore")


def test_label_maps_are_read_alike_everywhere(tmp_path: Path) -> None:
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    one = Prediction(np.zeros((3, 4, 3), np.uint8), labels, None, None, "cityscapes")
    one.save(tmp_path / "l.png", tmp_path / "o.png", colours=tmp_path / "c.png")
    grey, indexed = Image.open(tmp_path / "l.png"), Image.open(tmp_path / "c.png")
    assert (grey.mode, indexed.mode) == ("L", "P")
    for found in (np.asarray(grey), np.asarray(indexed), cv2.imread(str(tmp_path / "l.png"), -1)):
        assert np.array_equal(found, labels)
    for name in ("l.png", "c.png"):
        assert np.array_equal(read_labels(str(tmp_path / name)), labels)
    assert np.array_equal(np.asarray(indexed.convert("RGB")), np.asarray(get_palette("cityscapes"))[labels])


def test_a_notebook_shows_the_picture_and_a_console_a_line(tmp_path: Path) -> None:
    labels = np.zeros((3000, 40), np.uint8)
    labels[:300] = 1
    one = Prediction(np.zeros((3000, 40, 3), np.uint8), labels, None, ("road", "car\x1b[31m"), "distinct")
    assert repr(one) == r"Prediction(3000 x 40 pixels: road 90 %, car\x1b[31m 10 %)"
    picture = cv2.imdecode(np.frombuffer(one._repr_png_(), np.uint8), -1)
    assert picture.shape == (1600, 21, 3)


def test_a_checkpoint_without_a_config_says_how_to_predict(tmp_path: Path) -> None:
    model = torch.nn.Conv2d(3, 2, 1)
    path = checkpoint(tmp_path / "a.pth", meta={}, state_dict=dict(model.state_dict()))
    with pytest.raises(ValueError, match=r"load_model\(.*a\.pth.*, model=net\)"):
        load_model(path)
    fresh = torch.nn.Conv2d(3, 2, 1)
    prediction = load_model(path, model=fresh).predict(np.full((4, 5, 3), 9, np.uint8))
    assert torch.equal(fresh.weight, model.weight)
    assert np.array_equal(prediction.labels, model(torch.full((1, 3, 4, 5), 9.0))[0].argmax(0).numpy())


def test_a_published_file_gives_its_classes_and_their_colours(tmp_path: Path) -> None:
    """As mmcv 1.x wrote them; with numpy's arrays, as MMSegmentation does; at an address."""
    for meta in (
        {"CLASSES": ("a", "b", "c"), "PALETTE": np.eye(3, dtype=np.int64) * 255, "mmcv_version": "1.7.1"},
        {"dataset_meta": {"classes": ("a", "b", "c"), "palette": np.eye(3, dtype=np.int64) * 255}},
    ):
        path = checkpoint(tmp_path / "made.pth")
        weights = torch.load(path, weights_only=True)["state_dict"]
        torch.save({"meta": {"cfg": CONFIG, **meta}, "state_dict": weights}, tmp_path / "net.pth")
        prediction = load_model((tmp_path / "net.pth").as_uri()).predict(np.zeros((8, 8, 3), np.uint8))
        assert prediction.classes == ("a", "b", "c")
        colours = np.unique(prediction.overlay(alpha=1.0).reshape(-1, 3), axis=0)
        assert {tuple(map(int, colour)) for colour in colours} <= {(255, 0, 0), (0, 255, 0), (0, 0, 255)}


def test_a_config_of_mmcv_1_is_told(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "a.pth", meta={"config": "model = dict(type='EncoderDecoder')", "CLASSES": ["a"]})
    with pytest.raises(ValueError, match=r"(?s)written by mmcv 1.x.*`seg test CONFIG .*a\.pth`"):
        load_model(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_told_with_their_names(tmp_path: Path, value: float) -> None:
    path = checkpoint(tmp_path / "a.pth")
    state = torch.load(path, weights_only=True)["state_dict"]
    names = [name for name, weight in state.items() if weight.is_floating_point()]
    for name in names[1:]:
        state[name].fill_(value)
    spoilt = checkpoint(tmp_path / "b.pth", state_dict=state)
    with pytest.warns(UserWarning, match=rf"b\.pth: weights are not finite \({', '.join(names[1:4])}, \.\.\.\)"):
        load_model(spoilt)
    load_model(path)  # without a word


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_arrays_with_pixels_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    model, pixels = load_model(checkpoint(tmp_path / "a.pth")), np.full((16, 16, 3), 100.0, np.float32)
    good = pixels.copy()
    pixels[3, 4] = value
    with pytest.raises(ValueError, match=r"predict: the image holds 3 values \(of 16 x 16 x 3\) that are NaN or"):
        model.predict(pixels)
    with pytest.raises(ValueError, match="predict: image 1 of the list holds 3 values"):
        model.predict([good, pixels])
    with pytest.warns(UserWarning, match="an image: predict: image 1 of the list holds 3 values"):
        assert model.predict([good, pixels], errors="warn")[1] is None


def test_a_file_with_pixels_that_are_no_numbers_is_warned_of(tmp_path: Path) -> None:
    model = load_model(checkpoint(tmp_path / "a.pth"))
    model.reader = lambda record: {**record, "img": np.full((16, 16, 3), np.nan, np.float32)}  # type: ignore[assignment]
    with pytest.warns(UserWarning, match=r"bands\.tif: NaN or infinite values reach the model \(768\)"):
        model.predict(tmp_path / "bands.tif")

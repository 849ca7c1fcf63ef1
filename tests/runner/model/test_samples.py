"""Data samples: two sets of names, checks, copies."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from seg_runner import PixelData, SegDataSample


def a_sample() -> SegDataSample:
    sample = SegDataSample(metainfo={"img_path": "a.png", "ori_shape": (4, 6)})
    sample.gt_sem_seg = PixelData(data=torch.arange(24).view(1, 4, 6))
    sample.extra = [1, 2]
    return sample


def test_two_sets_of_names() -> None:
    sample = a_sample()
    assert sample.keys() == ["gt_sem_seg", "extra"]
    assert sample.metainfo_keys() == ["img_path", "ori_shape"]
    assert sample.all_keys() == ["img_path", "ori_shape", "gt_sem_seg", "extra"]
    assert dict(sample.items())["extra"] == [1, 2]
    assert dict(sample.metainfo_items()) == sample.metainfo == {"img_path": "a.png", "ori_shape": (4, 6)}
    assert sample.values()[1] == [1, 2]
    assert sample.metainfo_values() == ["a.png", (4, 6)]
    assert len(sample.all_values()) == len(dict(sample.all_items())) == 4
    assert "img_path" in sample
    assert "extra" in sample
    assert "pred_sem_seg" not in sample
    assert sample.img_path == "a.png"
    assert (sample.get("extra"), sample.get("img_path"), sample.get("none", 5)) == ([1, 2], "a.png", 5)


def test_no_name_is_in_both() -> None:
    sample = a_sample()
    with pytest.raises(AttributeError, match="set_metainfo"):
        sample.img_path = "b.png"
    with pytest.raises(AttributeError, match="data field"):
        sample.set_metainfo({"extra": 1})
    with pytest.raises(AttributeError, match="private"):
        sample._data = {}
    with pytest.raises(TypeError, match="dict"):
        SegDataSample(metainfo=[1])  # type: ignore[arg-type]


def test_what_is_not_there_is_named_with_what_is() -> None:
    with pytest.raises(AttributeError, match="no 'pred_sem_seg'; it has: img_path, ori_shape, gt_sem_seg, extra"):
        a_sample().pred_sem_seg
    with pytest.raises(KeyError, match="nothing yet"):
        SegDataSample().pop("a")
    with pytest.raises(AttributeError, match="no 'a'"):
        del SegDataSample().a


def test_taking_away() -> None:
    sample = a_sample()
    assert sample.pop("extra") == [1, 2]
    assert sample.pop("extra", None) is None
    assert sample.pop("img_path") == "a.png"
    del sample.ori_shape
    del sample.gt_sem_seg
    assert sample.all_keys() == []


def test_metainfo_is_copied() -> None:
    given = {"ids": [1]}
    sample = SegDataSample(metainfo=given)
    given["ids"].append(2)
    assert sample.ids == [1]


def test_fields_are_checked() -> None:
    sample = SegDataSample()
    with pytest.raises(TypeError, match="PixelData is expected"):
        sample.gt_sem_seg = torch.zeros(1, 2, 2)
    sample.set_field(3, "count", dtype=int)
    sample.set_field("b", "kind", field_type="metainfo")
    assert (sample.count, sample.kind) == (3, "b")
    with pytest.raises(TypeError, match="'count': int is expected"):
        sample.set_field("a", "count", dtype=int)
    sample.gt_depth_map = PixelData(data=np.zeros((2, 2), np.float32))
    assert sample.gt_depth_map.data.shape == (1, 2, 2)


def test_copies() -> None:
    sample = a_sample()
    other, shared = sample.clone(), sample.new()
    sample.gt_sem_seg.data[0, 0, 0] = 99
    assert other.gt_sem_seg.data[0, 0, 0] == 0
    assert shared.gt_sem_seg.data[0, 0, 0] == 99
    assert sample.new(metainfo={"a": 1}, b=2).all_keys() == ["a", "b"]
    assert other.metainfo == sample.metainfo
    other.update(SegDataSample(metainfo={"flip": True}, more=1))
    assert (other.flip, other.more) == (True, 1)


def test_moving() -> None:
    sample = a_sample()
    assert sample.to(torch.float64).gt_sem_seg.data.dtype is torch.float64
    assert sample.cpu().gt_sem_seg.data.device.type == "cpu"
    arrays = sample.numpy()
    assert isinstance(arrays.gt_sem_seg.data, np.ndarray)
    assert isinstance(arrays.to_tensor().gt_sem_seg.data, torch.Tensor)
    sample.seg_logits = PixelData(data=torch.ones(2, 4, 6, requires_grad=True))
    assert not sample.detach().seg_logits.data.requires_grad
    assert sample.seg_logits.data.requires_grad
    assert sample.extra is sample.to("cpu").extra


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_loaders_pin_samples() -> None:
    assert a_sample().pin_memory().gt_sem_seg.data.is_pinned()


def test_as_dict_and_text() -> None:
    plain = a_sample().to_dict()
    assert plain["img_path"] == "a.png"
    assert plain["gt_sem_seg"]["data"].shape == (1, 4, 6)
    assert repr(a_sample()) == (
        "SegDataSample(gt_sem_seg=PixelData(data=Tensor(1, 4, 6)), extra=[1, 2]; img_path='a.png', ori_shape=(4, 6))"
    )


@pytest.mark.filterwarnings("ignore:You are using `torch.load`:FutureWarning")  # torch 2.4 does, to unpickle a tensor
def test_samples_travel_between_processes() -> None:
    sample = pickle.loads(pickle.dumps(a_sample()))
    assert sample.all_keys() == a_sample().all_keys()
    assert torch.equal(sample.gt_sem_seg.data, a_sample().gt_sem_seg.data)


def test_pixel_data() -> None:
    pixels = PixelData(data=torch.zeros(3, 4, 6), other=np.ones((4, 6)))
    assert pixels.shape == (4, 6)
    assert PixelData().shape is None
    part = pixels[1, 2:]
    assert part.shape == (1, 4)
    assert part.other.shape == (1, 1, 4)
    assert pixels[-1, :].shape == (1, 6)
    pixels = PixelData(data=torch.zeros(3, 4, 6))
    pixels.data = torch.zeros(1, 2, 2)
    assert pixels.shape == (2, 2)


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        ([1], TypeError, "tensor or an array"),
        (torch.zeros(2, 3, 4, 5), ValueError, "channels x height x width"),
        (torch.zeros(1, 5, 6), ValueError, r"\(5, 6\) pixels, but 'data' has \(4, 6\)"),
    ],
)
def test_pixel_data_is_checked(value: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        PixelData(data=torch.zeros(1, 4, 6)).other = value


@pytest.mark.parametrize("item", [1, (1,), (1.0, 2), ("a", slice(None))])
def test_pixel_data_is_indexed_by_pairs(item: Any) -> None:
    with pytest.raises(TypeError, match="indexed by"):
        PixelData(data=torch.zeros(1, 4, 6))[item]

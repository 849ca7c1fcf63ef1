"""Photometric distortion on the device: off by default, drawn from the step's generator, distributed as it should."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from seg_runner import SegDataPreProcessor, SegDataSample
from seg_runner.model.photometric import Distortion, Draws, distorted
from torch.utils._python_dispatch import TorchDispatchMode


def images(count: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8, generator=generator) for _ in range(count)]


def batch(given: list[torch.Tensor]) -> dict[str, Any]:
    return {"inputs": given, "data_samples": [SegDataSample() for _ in given]}


def prepared(training: bool = True, given: list[torch.Tensor] | None = None, **options: Any) -> Any:
    torch.manual_seed(5)
    prepare = SegDataPreProcessor(size=(8, 8), **options)
    return prepare(batch(images() if given is None else given), training)["inputs"]


def test_it_is_off_by_default_and_when_testing() -> None:
    plain = torch.stack(images()).float()
    assert torch.equal(prepared(), plain)
    assert torch.equal(prepared(training=False, photometric_distortion={}, test_cfg={"size": (8, 8)}), plain)
    assert not torch.equal(prepared(photometric_distortion={}), plain)


def test_the_numbers_are_those_of_the_steps_generator() -> None:
    assert torch.equal(prepared(photometric_distortion={}), prepared(photometric_distortion={}))
    state = torch.get_rng_state()
    Distortion().draw(2, torch.device("cpu"))
    assert not torch.equal(torch.get_rng_state(), state)


def test_draws_are_distributed_as_those_of_the_transform() -> None:
    torch.manual_seed(0)
    draws = Draws(*(one.flatten() for one in Distortion().draw(20_000, torch.device("cpu"))))
    unchanged = ((draws.brightness, 0), (draws.contrast, 1), (draws.saturation, 1), (draws.contrast_first, 0))
    for values, neutral in unchanged:
        assert (values == neutral).float().mean() == pytest.approx(0.5, abs=0.02)
    assert draws.saturated.mean() == pytest.approx(0.5, abs=0.02)
    assert draws.turned.mean() == pytest.approx(0.5, abs=0.02)
    changed = draws.contrast[draws.contrast != 1]
    assert (changed.min(), changed.max(), changed.mean()) == pytest.approx((0.5, 1.5, 1.0), abs=0.02)
    assert draws.brightness.abs().max() == pytest.approx(32, abs=0.1)
    assert sorted(set(draws.hue.tolist())) == list(range(-18, 18))
    assert (draws.hue == 17).float().mean() == pytest.approx(0.5 / 36, abs=0.004)  # the ends as often as the others


def test_channels_may_come_in_either_order() -> None:
    swapped = [image.flip(0) for image in images()]
    one = prepared(photometric_distortion={}, bgr_to_rgb=True)
    other = prepared(photometric_distortion={}, rgb_to_bgr=True, given=swapped)
    assert torch.equal(one, other.flip(1))


def test_nothing_drawn_changes_nothing() -> None:
    numbers = torch.tensor([0.0, 1, 0, 1, 0, 0, 0]).view(7, 1, 1, 1, 1)
    given = images(1)[0][None]
    assert torch.equal(distorted(given, Draws(*numbers), bgr=True), given.float())


def test_images_of_several_sizes_are_distorted_one_by_one() -> None:
    small = images(1)[0][:, :4, :4]
    assert prepared(given=[small, *images(1)], photometric_distortion={}).shape == (2, 3, 8, 8)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (True, TypeError, r"must be a dict such as dict\(brightness_delta=32\)"),
        ({"hue": 3}, (TypeError, ValueError), "hue_delta"),
        ({"contrast_range": 2}, TypeError, "must be two numbers"),
        ({"contrast_range": (2, 1)}, ValueError, "the smallest number comes first"),
        ({"brightness_delta": -1}, ValueError, "brightness_delta"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        SegDataPreProcessor(photometric_distortion=options)


def test_other_channels_than_three_are_refused() -> None:
    with pytest.raises(ValueError, match="images have 1 channels"):
        prepared(given=[torch.zeros(1, 8, 8)], photometric_distortion={})


class Operations(TorchDispatchMode):
    """Notes each operation of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(function.__name__.partition(".")[0])
        return function(*args, **(kwargs or {}))


def test_bytes_are_normalised_in_two_passes() -> None:
    prepare = SegDataPreProcessor([1.0] * 3, [2.0] * 3, size=(8, 8))
    given = batch(images())
    with Operations() as operations:
        prepare(given, True)
    assert [name for name in operations.names if name != "unbind"] == ["stack", "sub", "div_"]

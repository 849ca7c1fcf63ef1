"""Accumulation: k batches of b images give the gradients of one batch of k * b, ignored pixels or not."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from seg_runner import LogitsModel
from seg_runner.model.accumulation import counted_pixels, window_length
from torch import nn


class Accumulating:
    """A wrapper that steps every k-th time, and keeps the gradients that it stepped with."""

    def __init__(self, model: nn.Module, counts: int) -> None:
        self.model, self.accumulative_counts, self.inner_count = model, counts, 0
        self.stepped: list[list[torch.Tensor]] = []

    def optim_context(self, model: Any) -> AbstractContextManager[Any]:
        return nullcontext()

    def scale_loss(self, loss: Any) -> Any:
        return loss / self.accumulative_counts

    def update_params(self, loss: torch.Tensor) -> None:
        self.scale_loss(loss).backward()
        self.inner_count += 1
        if self.inner_count % self.accumulative_counts == 0:
            self.stepped.append([parameter.grad.clone() for parameter in self.model.parameters()])
            self.model.zero_grad()


def batch(images: int = 6, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(0, classes, (images, 6, 6), generator=generator)
    for index in range(images):
        masks[index, : index % 6] = 255
    return torch.randn(images, 3, 6, 6, generator=generator), masks


LOSSES: list[Any] = [
    None,
    nn.CrossEntropyLoss(ignore_index=255),
    nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.2]), ignore_index=255),
]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("counts", [2, 3])
def test_windows_equal_one_large_batch(loss: Any, counts: int) -> None:
    torch.manual_seed(0)
    model = LogitsModel(nn.Conv2d(3, 3, 3), loss=loss)
    images, masks = batch()
    whole, parts = Accumulating(model, 1), Accumulating(model, counts)
    model.train_step((images, masks), whole)
    logged = []
    for _ in range(2):
        for x, y in zip(images.chunk(counts), masks.chunk(counts), strict=True):
            logged.append(model.train_step((x, y), parts)["loss"])
            assert torch.equal(logged[-1], model.batch_losses((x, y))["loss"])
    for gradients in parts.stepped:
        for one, other in zip(gradients, whole.stepped[0], strict=True):
            assert torch.allclose(one, other, atol=1e-6, rtol=1e-5)


def test_it_can_be_left_out() -> None:
    torch.manual_seed(0)
    model = LogitsModel(nn.Conv2d(3, 3, 3), equal_pixels=False)
    images, masks = batch(2)
    parts = Accumulating(model, 2)
    expected = [torch.zeros_like(parameter) for parameter in model.parameters()]
    for x, y in zip(images.chunk(2), masks.chunk(2), strict=True):
        loss = model.batch_losses((x, y))["loss"] / 2
        for total, gradient in zip(expected, torch.autograd.grad(loss, list(model.parameters())), strict=True):
            total += gradient
    for x, y in zip(images.chunk(2), masks.chunk(2), strict=True):
        model.train_step((x, y), parts)
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(parts.stepped[0], expected, strict=True))


def test_a_window_goes_on_after_a_checkpoint_in_its_middle() -> None:
    torch.manual_seed(0)
    model = LogitsModel(nn.Conv2d(3, 3, 3))
    images, masks = batch(4)
    pieces = list(zip(images.chunk(4), masks.chunk(4), strict=True))
    whole = Accumulating(model, 4)
    for piece in pieces:
        model.train_step(piece, whole)
    first = Accumulating(model, 4)
    for piece in pieces[:2]:
        model.train_step(piece, first)
    kept, grads = model.open_window(), [parameter.grad.clone() for parameter in model.parameters()]
    again = LogitsModel(nn.Conv2d(3, 3, 3))
    again.load_state_dict(model.state_dict())
    for parameter, gradient in zip(again.parameters(), grads, strict=True):
        parameter.grad = gradient
    again.take_open_window(kept)
    second = Accumulating(again, 4)
    second.inner_count = 2
    for piece in pieces[2:]:
        again.train_step(piece, second)
    assert all(torch.equal(a, b) for a, b in zip(second.stepped[0], whole.stepped[0], strict=True))


def test_losses_that_do_not_say_stay_as_they_are() -> None:
    masks = torch.tensor([[[0, 255]]])
    assert counted_pixels(lambda logits, masks: logits.mean(), masks) is None
    assert counted_pixels(nn.CrossEntropyLoss(reduction="sum"), masks) is None
    assert window_length(object()) == 1
    images, labels = batch(2)
    model = LogitsModel(nn.Conv2d(3, 3, 3), loss=lambda logits, masks: logits.square().mean())
    parts = Accumulating(model, 2)
    for x, y in zip(images.chunk(2), labels.chunk(2), strict=True):
        model.train_step((x, y), parts)
    assert len(parts.stepped) == 1


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("empty", [[0], [1], [0, 1], [0, 1, 2]])
def test_batches_in_which_no_pixel_counts_do_no_harm(loss: Any, empty: list[int]) -> None:
    torch.manual_seed(0)
    model = LogitsModel(nn.Conv2d(3, 3, 3), loss=loss)
    images, masks = batch()
    for index in empty:
        masks[2 * index : 2 * index + 2] = 255
    whole, parts = Accumulating(model, 1), Accumulating(model, 3)
    model.train_step((images, masks), whole)
    for x, y in zip(images.chunk(3), masks.chunk(3), strict=True):
        assert model.train_step((x, y), parts)["loss"].isfinite()
    for one, other in zip(parts.stepped[0], whole.stepped[0], strict=True):
        assert one.isfinite().all()
        assert torch.allclose(one, other, atol=1e-6, rtol=1e-5)


def test_losses_of_several_outputs_share_a_window_where_they_divide_alike() -> None:
    masks = torch.tensor([[[0, 1, 255]]])
    alike = [nn.CrossEntropyLoss(ignore_index=255), nn.CrossEntropyLoss(ignore_index=255)]
    assert counted_pixels(alike, masks).item() == 2
    assert counted_pixels(nn.ModuleList(alike), masks).item() == 2
    assert counted_pixels([*alike, nn.CrossEntropyLoss(ignore_index=0)], masks) is None
    assert counted_pixels([alike[0], lambda logits, masks: logits.mean()], masks) is None

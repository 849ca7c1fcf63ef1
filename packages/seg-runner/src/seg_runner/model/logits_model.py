"""LogitsModel: gives any `nn.Module` that returns logits the steps that loops call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from seg_runner.checks import flag, number, whole
from seg_runner.errors import add_note
from seg_runner.model.accumulation import PixelWindow, counted_pixels, window_length
from seg_runner.model.batches_and_outputs import (
    check_images,
    check_masks,
    check_samples,
    images_and_masks,
    logits_of,
    of_several_sizes,
    samples_for,
    stacked,
    target_of,
    truth_of,
)
from seg_runner.model.criteria import DefaultLoss, checked_loss, loss_of
from seg_runner.model.inference import infer, read_test_cfg, resize, restore, write_prediction
from seg_runner.model.preprocessor import preprocessor_from
from seg_runner.model.samples import SegDataSample
from seg_runner.model.wrapping import Around, FirstParameter

__all__ = ["LogitsModel"]

Losses = dict[str, torch.Tensor]


class LogitsModel(Around):
    """Trains, validates and tests a model that maps images to logits.

    The model may return a tensor (N x C x H x W, of any height and width), a tuple with auxiliary logits after the
    main ones, a dict with `logits` or `out` and maybe `aux`, or a Hugging Face output. Batches may be `(images,
    masks)`, dicts with usual names, or MMSegmentation's `dict(inputs=[...], data_samples=[...])`. Names of parameters,
    and keys of checkpoints, are the model's own.

    Args:
        model: the model.
        loss: `loss(logits, masks)`: a tensor, or a dict of tensors whose names contain 'loss'; or a list of losses, one
            for each output of the model, the main one's first. Default: cross-entropy, binary cross-entropy where
            there is one channel; both leave `ignore_index` out. A batch in which no pixel counts has loss 0, with
            torch's cross-entropy too.
        data_preprocessor: for instance `SegDataPreProcessor`, or its config; without one, images are taken as they
            are, as floats.
        test_cfg: `dict(mode='whole')`, or `dict(mode='slide', crop_size=(h, w), stride=(h, w))`.
        aux_weight: the weight of each auxiliary loss, or one for each.
        ignore_index: for the default losses, and torch's that compare numbers (BCEWithLogitsLoss, MSELoss, ...).
        align_corners: for all resizing of logits.
        threshold: above which probability a pixel is foreground, where there is one channel.
        equal_pixels: where gradients are accumulated, let every pixel that counts weigh the same, so that k batches of
            b images equal one of k * b (for the default losses, torch's cross-entropy, and losses with a method
            `counted_pixels(masks)`).

    Example:
        >>> net = LogitsModel(nn.Conv2d(3, 4, 1), loss=nn.CrossEntropyLoss(ignore_index=255))
        >>> [sample.pred_sem_seg.shape for sample in net.val_step((torch.zeros(2, 3, 8, 6), torch.zeros(2, 8, 6)))]
        [(8, 6), (8, 6)]
        >>> list(net.state_dict())
        ['weight', 'bias']
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[..., Any] | Sequence[Callable[..., Any]] | None = None,
        data_preprocessor: nn.Module | Mapping[str, Any] | None = None,
        test_cfg: Mapping[str, Any] | None = None,
        *,
        aux_weight: float | Sequence[float] = 0.4,
        ignore_index: int = 255,
        align_corners: bool = False,
        threshold: float = 0.5,
        equal_pixels: bool = True,
    ) -> None:
        super().__init__(model)
        self.data_preprocessor = preprocessor_from(data_preprocessor)
        self.criterion = checked_loss(loss) if loss is not None else DefaultLoss(ignore_index)
        self._ignored = whole(ignore_index, "ignore_index", None)
        self.test_cfg = read_test_cfg(test_cfg)
        self.aux_weight, self.align_corners = _checked_weights(aux_weight), flag(align_corners, "align_corners")
        self.threshold = number(threshold, "threshold", least=0, most=1)
        self.equal_pixels, self._window = flag(equal_pixels, "equal_pixels"), PixelWindow()
        self._masks: list[torch.Tensor] = []
        self._first = FirstParameter()

    # -- steps -------------------------------------------------------------------------------------------------------

    def train_step(self, data: Any, optim_wrapper: Any) -> Losses:
        """Forward, loss and update of one batch; returns detached tensors, `loss` first."""
        with optim_wrapper.optim_context(self):
            losses = self.batch_losses(data)
        loss = losses["loss"]
        if not loss.requires_grad:
            raise ValueError(
                "the loss does not depend on any parameter that is trained: are all of them frozen, or does the loss "
                "detach what it is given?"
            )
        if self.equal_pixels and window_length(optim_wrapper) > 1:
            loss = self._of_window(loss, optim_wrapper)
        self._masks.clear()
        optim_wrapper.update_params(loss)
        return {name: value.detach() for name, value in losses.items()}

    @torch.no_grad()
    def test_step(self, data: Any) -> list[Any]:
        """One sample per image with its prediction at the original size; images of several sizes go one by one."""
        several = self._one_by_one(data)
        if several:
            return [sample for one in several for sample in self.test_step(one)]
        images, samples = self._read(data, training=False)
        logits = infer(self._main_logits, images, self.test_cfg, self.align_corners)
        return [self._finished(sample, part) for sample, part in zip(samples, logits, strict=True)]

    def val_step(self, data: Any) -> list[Any]:
        """The same as `test_step`."""
        return self.test_step(data)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's own forward."""
        return self.model(*args, **kwargs)

    def batch_losses(self, data: Any) -> Losses:
        """All losses of a batch, `loss` (their sum) first; in evaluation mode at the label maps' own sizes."""
        several = None if self.training else self._one_by_one(data)
        if several:
            return _averaged([self.batch_losses(one) for one in several])
        if self.data_preprocessor is None and not (isinstance(data, Mapping) and "data_samples" in data):
            images, masks = images_and_masks(data)
            if masks is None:
                raise TypeError("this batch has no masks: training needs (images, masks), or dict(image=..., mask=...)")
            images, masks = self._as_images(images), target_of(masks, self.device)
            if self.training:
                check_masks(images, masks)
            return self._losses_of(self._outputs(images), masks)
        images, samples = self._read(data, training=self.training)
        if self.training:
            truth = target_of(truth_of(samples, images), images.device)
            return self._losses_of(self._outputs(images), truth)
        logits = logits_of(self._outputs(images))[0]
        return _averaged([self._sample_losses(*pair) for pair in zip(samples, logits, strict=True)])

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are."""
        anchor = self._first.of(self._model)
        return anchor.device if anchor is not None else torch.device("cpu")

    @property
    def _model(self) -> Any:
        """The model, by the short way: `nn.Module` looks attributes up in several places."""
        return self._modules["model"]

    # -- inside ------------------------------------------------------------------------------------------------------

    def _one_by_one(self, data: Any) -> list[Any] | None:
        """Batches of one image each, where images differ in size and the preprocessor is not told to pad them."""
        return None if getattr(self.data_preprocessor, "test_cfg", None) else of_several_sizes(data)

    def _read(self, data: Any, training: bool) -> tuple[torch.Tensor, list[SegDataSample]]:
        """Images on the device, and samples, of any batch."""
        if not (isinstance(data, Mapping) and "inputs" in data):
            images, masks = images_and_masks(data)
            if masks is not None:
                masks = target_of(masks, self.device)
            data = {"inputs": images, "data_samples": samples_for(stacked(images), masks)}
        if self.data_preprocessor is not None:
            data = self.data_preprocessor(data, training)
        images = self._as_images(data["inputs"])
        check_images(images)
        samples = data.get("data_samples")
        return images, samples_for(images, None) if samples is None else check_samples(samples, images)

    def _as_images(self, images: Any) -> torch.Tensor:
        """Images as one batch of floats on the device."""
        batch = stacked(images)
        anchor = self._first.of(self._model)
        if anchor is not None and batch.device != anchor.device:
            batch = batch.to(anchor.device, non_blocking=True)
        if batch.dtype is torch.float64 and anchor is not None:  # as numpy makes them
            return batch.to(anchor.dtype)
        return batch if batch.is_floating_point() else batch.float()

    def _outputs(self, images: torch.Tensor) -> Any:
        """What the model returns; where it fails, the exception says what it was given."""
        try:
            return self._model(images)
        except RuntimeError as error:
            add_note(
                error, f"the model was given images of shape {tuple(images.shape)} (N x C x H x W), {images.dtype}"
            )
            raise

    def _main_logits(self, images: torch.Tensor) -> torch.Tensor:
        return logits_of(self._outputs(images))[0]

    def open_window(self) -> dict[str, torch.Tensor]:
        """What a checkpoint in the middle of an accumulation must keep beside the gradients."""
        return {} if self._window.seen is None else {"(pixels)": self._window.seen}

    def take_open_window(self, kept: Mapping[str, torch.Tensor]) -> None:
        """Go on in the middle of an accumulation."""
        seen = kept.get("(pixels)")
        self._window.seen = None if seen is None else seen.to(self.device)

    def _of_window(self, loss: torch.Tensor, wrapper: Any) -> torch.Tensor:
        counted = counted_pixels(self.criterion, self._masks[0])
        return loss if counted is None else self._window.weighted(loss, counted, wrapper, self.parameters())

    def _losses_of(self, output: Any, masks: torch.Tensor) -> Losses:
        self._masks[:] = [masks]
        main, auxiliary = logits_of(output)
        value = self._loss(main, masks, 0)
        if not auxiliary and isinstance(value, torch.Tensor):
            return {"loss": value}
        losses = _named("decode.", value)
        for index, (logits, weight) in enumerate(zip(auxiliary, self._weights(len(auxiliary)), strict=True)):
            lead = "aux." if len(auxiliary) == 1 else f"aux_{index}."
            named = _named(lead, self._loss(logits, masks, index + 1)).items()
            losses |= {name: value * weight if "loss" in name else value for name, value in named}
        return _with_total(losses)

    def _loss(self, logits: torch.Tensor, masks: torch.Tensor, output: int) -> Any:
        """What the loss of this output gives: a number, or several by name."""
        criterion = self._criterion(output)
        size = masks.shape[-2:]
        if logits.shape[-2:] != size:
            align = getattr(criterion, "align_corners", self.align_corners)
            logits = resize(logits, (size[0], size[1]), align)
        return loss_of(criterion, logits, masks, self._ignored)

    def _criterion(self, output: int) -> Any:
        """The loss of the main output (0), or of an auxiliary one."""
        found: Any = self._modules.get("criterion")
        found = self.criterion if found is None else found
        if not isinstance(found, nn.ModuleList | list):
            return found
        if output >= len(found):
            raise ValueError(f"loss is a list of {len(found)}, but the model returns {output + 1} outputs or more")
        return found[output]

    def _weights(self, count: int) -> list[float]:
        if isinstance(self.aux_weight, int | float):
            return [float(self.aux_weight)] * count
        if not count and not self.training:
            return []  # auxiliary heads are there for training: many models leave them out otherwise
        if len(self.aux_weight) != count:
            raise ValueError(
                f"aux_weight has {len(self.aux_weight)} numbers, but the model returns {count} auxiliary outputs"
            )
        return list(self.aux_weight)

    def _sample_losses(self, sample: Any, logits: torch.Tensor) -> Losses:
        truth = target_of(sample.gt_sem_seg.data, logits.device)
        size = (int(truth.shape[-2]), int(truth.shape[-1]))
        return self._losses_of(restore(logits, sample.metainfo, size, self.align_corners)[None], truth)

    def _finished(self, sample: Any, logits: torch.Tensor) -> Any:
        return write_prediction(sample, restore(logits, sample.metainfo, None, self.align_corners), self.threshold)


def _named(lead: str, value: torch.Tensor | Mapping[str, torch.Tensor]) -> Losses:
    if isinstance(value, torch.Tensor):
        return {f"{lead}loss": value}
    return {f"{lead}{name}": part.mean() for name, part in value.items()}


def _with_total(losses: Losses) -> Losses:
    """`loss` first: the sum of everything whose name contains 'loss'."""
    parts = [value for name, value in losses.items() if "loss" in name]
    if not parts:
        raise ValueError(f"no name of {list(losses)} contains 'loss': nothing can be minimised")
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return {"loss": total} | {name: value for name, value in losses.items() if name != "loss"}


def _averaged(losses: Sequence[Losses]) -> Losses:
    return {name: torch.stack([each[name] for each in losses]).mean() for name in losses[0]}


def _checked_weights(aux_weight: Any) -> float | list[float]:
    if isinstance(aux_weight, Sequence) and not isinstance(aux_weight, str):
        return [number(weight, "each of aux_weight", least=0) for weight in aux_weight]
    return number(aux_weight, "aux_weight", least=0)

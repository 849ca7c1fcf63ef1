"""LogitsModel: gives any `nn.Module` that returns logits the steps that loops call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from seg_runner.checks import flag, number, whole
from seg_runner.errors import add_note
from seg_runner.model.accumulation import Accumulates, PixelWindow, UpdatesParams, counted_pixels
from seg_runner.model.batches_and_outputs import (
    check_images,
    check_masks,
    check_samples,
    images_and_masks,
    label_maps_of,
    logits_of,
    masks_on,
    samples_for,
    split_by_image,
    stack_images,
    stack_masks,
)
from seg_runner.model.criteria import DefaultLoss, add_up, auxiliary_weights, checked_loss, checked_weights, loss_of
from seg_runner.model.inference import infer, read_test_cfg, resize, restore, write_prediction
from seg_runner.model.preprocessor import preprocessor_from
from seg_runner.model.samples import SegDataSample
from seg_runner.model.wrapping import TransparentWrapper

__all__ = ["LogitsModel"]

Losses = dict[str, torch.Tensor]
Batch = tuple[torch.Tensor, torch.Tensor | None, list[SegDataSample] | None]


class LogitsModel(TransparentWrapper):
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
        test_cfg: `dict(mode='whole')`, or `dict(mode='slide', crop_size=(h, w), stride=(h, w))`; `windows=4` in it
            sends so many through the model at a time.
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
        self.aux_weight, self.align_corners = checked_weights(aux_weight), flag(align_corners, "align_corners")
        self.threshold = number(threshold, "threshold", least=0, most=1)
        self.equal_pixels, self._window = flag(equal_pixels, "equal_pixels"), PixelWindow()
        self._masks: list[torch.Tensor] = []
        self._first_path: list[str] = []

    # -- steps -------------------------------------------------------------------------------------------------------

    def train_step(self, data: object, optim_wrapper: UpdatesParams) -> Losses:
        """Run forward pass, loss and update for one batch; return detached tensors, `loss` first."""
        with optim_wrapper.optim_context(self):
            losses = self.batch_losses(data)
        loss = losses["loss"]
        if not loss.requires_grad:
            raise ValueError(
                "the loss does not depend on any parameter that is trained: are all of them frozen, or does the loss "
                "detach what it is given?"
            )
        counts = getattr(optim_wrapper, "_accumulative_counts", 0)  # MMEngine's name for it, and quicker to read
        if (counts or getattr(optim_wrapper, "accumulative_counts", 1)) > 1 and self.equal_pixels:
            loss = self._of_window(loss, optim_wrapper)
        self._masks.clear()
        optim_wrapper.update_params(loss)
        return {name: value.detach() for name, value in losses.items()}

    @torch.no_grad()
    def test_step(self, data: object) -> list[SegDataSample]:
        """Return one sample per image with its prediction at the original size; images of several sizes go singly."""
        several = self._split(data)
        if several:
            return [sample for one in several for sample in self.test_step(one)]
        images, masks, samples = self._read(data, training=False)
        check_images(images)
        if samples is None:
            samples = samples_for(images, masks)
        logits = infer(lambda part: self._outputs(part)[0], images, self.test_cfg, self.align_corners)
        pairs = zip(samples, logits, strict=True)
        parts = [restore(part, sample.metainfo, None, self.align_corners) for sample, part in pairs]
        del logits, pairs  # where they were resized, the labels need no memory beside them
        return [write_prediction(sample, part, self.threshold) for sample, part in zip(samples, parts, strict=True)]

    def val_step(self, data: object) -> list[SegDataSample]:
        """Do the same as `test_step`."""
        return self.test_step(data)

    def forward(self, *args: object, **kwargs: object) -> Any:
        """Call the model's own forward."""
        return self.model(*args, **kwargs)

    def batch_losses(self, data: object) -> Losses:
        """Return all losses of a batch, `loss` (their sum) first; in evaluation mode at the label maps' own sizes."""
        if not self.training and (several := self._split(data)):
            return _mean([self.batch_losses(one) for one in several])
        images, masks, samples = self._read(data, self.training)
        if samples is not None and not self.training:
            logits = self._outputs(images)[0]
            return _mean([self._sample_losses(*pair) for pair in zip(samples, logits, strict=True)])
        if masks is None:
            raise TypeError("this batch has no masks: training needs (images, masks), or dict(image=..., mask=...)")
        if self.training and not (masks.shape == images.shape[:1] + images.shape[2:] and masks.numel()):
            check_masks(images, masks)
        return self._losses_of(self._outputs(images), masks)

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are."""
        first = self._first_parameter()
        return first.device if first is not None else torch.device("cpu")

    # -- batches -----------------------------------------------------------------------------------------------------

    def _split(self, data: object) -> Sequence[object] | None:
        """Return batches of one image each, where images differ in size and no preprocessor is told to pad them."""
        return None if getattr(self.data_preprocessor, "test_cfg", None) else split_by_image(data)

    def _read(self, data: object, training: bool) -> Batch:
        """Read a batch: images as floats, and masks of class indices, both where the model is; and its samples.

        Returns:
            Images N x C x H x W; masks N x H x W, None where there are none; data samples, None where there are none.
        """
        samples: list[SegDataSample] | None = None
        if self.data_preprocessor is not None or (isinstance(data, Mapping) and "data_samples" in data):
            images, masks, samples = self._prepare(data, training)
        else:
            images, masks = data if isinstance(data, (list, tuple)) and len(data) == 2 else images_and_masks(data)
        if not isinstance(images, torch.Tensor):
            images = _stacked(images, stack_images)
        if masks is not None and not isinstance(masks, torch.Tensor):
            masks = _stacked(masks, stack_masks)
        if masks is not None and masks.dim() == 4 and masks.shape[1] == 1:
            masks = masks[:, 0]
        first = self._first_parameter()
        if first is not None and images.device != first.device:
            images = images.to(first.device, non_blocking=True)
        if first is not None and images.dtype is torch.float64:  # as numpy makes them
            images = images.to(first.dtype)
        elif not images.is_floating_point():
            images = images.float()
        if masks is not None and masks.device != images.device:  # before the next line: small integers move faster
            masks = masks.to(images.device, non_blocking=True)
        if masks is not None and masks.dtype is not torch.int64 and not masks.is_floating_point():
            masks = masks.long()
        return images, masks, samples

    def _prepare(self, data: object, training: bool) -> Batch:
        """Read a batch with data samples, by the preprocessor if there is one; masks are read for training only."""
        if not (isinstance(data, Mapping) and "inputs" in data):
            images, masks = images_and_masks(data)
            masks = None if masks is None else masks_on(masks, self.device)
            data = {"inputs": images, "data_samples": samples_for(stack_images(images), masks)}
        batch: Mapping[str, Any] = data if self.data_preprocessor is None else self.data_preprocessor(data, training)
        images = stack_images(batch["inputs"])
        check_images(images)
        found = batch.get("data_samples")
        samples = samples_for(images, None) if found is None else check_samples(found, images)
        return images, label_maps_of(samples, images) if training else None, samples

    def _first_parameter(self) -> nn.Parameter | None:
        """Return the model's first parameter as it is now, None where it has none.

        Its path is kept, since `parameters()` walks through all modules before it at each step. The tensor itself is
        not: a layer may be replaced, and the old tensor then no longer moves with the model.
        """
        found: nn.Parameter | None = None
        if self._first_path:
            module = self._modules["model"]
            for name in self._first_path[:-1]:
                module = None if module is None else module._modules.get(name)
            found = None if module is None else module._parameters.get(self._first_path[-1])
        if found is None:
            path, found = next(self.model.named_parameters(), ("", None))
            self._first_path = path.split(".") if path else []
        return found

    # -- losses and predictions --------------------------------------------------------------------------------------

    def _outputs(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the logits that the model gives, the main ones first; an error says what the model was given."""
        model: Any = self._modules["model"]  # not self.model: `nn.Module` looks in several places before this one
        try:
            output = model(images)
        except RuntimeError as error:
            add_note(
                error, f"the model was given images of shape {tuple(images.shape)} (N x C x H x W), {images.dtype}"
            )
            raise
        return [output] if isinstance(output, torch.Tensor) and output.dim() == 4 else logits_of(output)

    def _losses_of(self, outputs: Sequence[torch.Tensor], masks: torch.Tensor) -> Losses:
        """Return the losses of all outputs, resized to the masks; `loss` is their weighted sum."""
        self._masks[:] = [masks]
        criteria: Any = self._modules.get("criterion")  # as above; a function is an attribute as any other
        criteria = self.criterion if criteria is None else criteria
        several = isinstance(criteria, (nn.ModuleList, list))
        if several and len(criteria) < len(outputs):
            raise ValueError(f"loss is a list of {len(criteria)}, but the model returns {len(outputs)} outputs or more")
        values = []
        for index, logits in enumerate(outputs):
            criterion = criteria[index] if several else criteria
            if logits.shape[-2:] != masks.shape[-2:]:
                align_corners = getattr(criterion, "align_corners", self.align_corners)
                logits = resize(logits, (masks.shape[-2], masks.shape[-1]), align_corners)
            values.append(loss_of(criterion, logits, masks, self._ignored))
        if len(values) == 1 and isinstance(values[0], torch.Tensor):
            return {"loss": values[0]}
        return add_up(values, auxiliary_weights(self.aux_weight, len(values) - 1, self.training))

    def _sample_losses(self, sample: SegDataSample, logits: torch.Tensor) -> Losses:
        """Return the losses of one image, whose logits are brought back to the size of its label map."""
        masks = masks_on(sample.gt_sem_seg.data, logits.device)
        size = (int(masks.shape[-2]), int(masks.shape[-1]))
        return self._losses_of([restore(logits, sample.metainfo, size, self.align_corners)[None]], masks)

    # -- accumulation ------------------------------------------------------------------------------------------------

    def open_window(self) -> dict[str, torch.Tensor]:
        """Return what a checkpoint in the middle of an accumulation must keep beside the gradients."""
        return {} if self._window.seen is None else {"(pixels)": self._window.seen}

    def take_open_window(self, kept: Mapping[str, torch.Tensor]) -> None:
        """Go on in the middle of an accumulation."""
        seen = kept.get("(pixels)")
        self._window.seen = None if seen is None else seen.to(self.device)

    def _of_window(self, loss: torch.Tensor, optim_wrapper: UpdatesParams) -> torch.Tensor:
        """Return the loss so weighted that all pixels of an accumulation count alike."""
        if not isinstance(optim_wrapper, Accumulates):
            return loss
        counted = counted_pixels(self.criterion, self._masks[0])
        if counted is None:
            return loss
        over_ranks = getattr(optim_wrapper, "over_ranks", None)  # where gradients are those of all ranks already
        counted = counted if over_ranks is None else over_ranks(counted)
        return self._window.weighted(loss, counted, optim_wrapper, _trained(optim_wrapper) or self.parameters())


def _trained(optim_wrapper: object) -> list[nn.Parameter]:
    """Return what an optimizer holds: gradients gathered so far are there, also while a model is gathered (FSDP2)."""
    groups = getattr(optim_wrapper, "param_groups", None)
    return [one for group in groups for one in group["params"]] if isinstance(groups, list) else []


def _stacked(values: list[torch.Tensor], stack: Callable[[list[torch.Tensor]], torch.Tensor]) -> torch.Tensor:
    """Stack tensors of one size, as loaders list them; `stack` knows other kinds, and what is wrong with a batch."""
    try:
        return torch.stack(values)
    except (TypeError, RuntimeError):
        return stack(values)


def _mean(losses: Sequence[Losses]) -> Losses:
    """Return the mean of each loss over several batches."""
    return {name: torch.stack([each[name] for each in losses]).mean() for name in losses[0]}

"""Batch norm whose statistics are those of all ranks' samples, on any device: torch's own raises on a CPU."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import distributed
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["AllProcesses", "Meeting", "SyncedBatchNorm", "gather_single"]

gather_single = getattr(distributed, "all_gather_single", None) or distributed.all_gather_into_tensor
"""Gathers equal tensors of all processes into one; torch 2.13 has given it another name."""


class Meeting(Protocol):
    """Where ranks tell one another numbers in the middle of a forward or backward pass."""

    def rows(self, row: torch.Tensor) -> torch.Tensor:
        """Return the rows of all ranks in their order, ranks x numbers; called by all."""


class AllProcesses:
    """Every process is a rank."""

    def rows(self, row: torch.Tensor) -> torch.Tensor:
        """Return the rows of all processes; the own one where there is one."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return row[None]
        every = row.new_empty(distributed.get_world_size() * row.numel())
        gather_single(every, row)
        return every.view(-1, row.numel())


class SyncedBatchNorm(_BatchNorm):
    """Batch norm over the samples of all ranks, those with more of them counting more; as torch's on one process.

    Weights, running statistics and their names are those of torch's batch norm; running statistics are equal on all
    ranks. In evaluation mode nothing is sent.

    Args:
        num_features: Channels.
        eps: Is added to the variance.
        momentum: How much of the running statistics a step replaces; None for the mean over all steps.
        affine: Whether there are weights.
        track_running_stats: Whether there are running statistics.
        meeting: Where the ranks meet; None: all processes.

    Example:
        >>> norm = SyncedBatchNorm(2, affine=False)
        >>> norm(torch.tensor([[1.0, 0.0], [3.0, 0.0]])).round(decimals=3)
        tensor([[-1.,  0.],
                [ 1.,  0.]])
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        meeting: Meeting | None = None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        self.meeting: Meeting = meeting or AllProcesses()

    def _check_input_dim(self, input: torch.Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected an input of at least 2 dimensions, got {input.dim()}")

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise N x C x ...; by the statistics of all ranks' samples in training.

        Raises:
            ValueError: all ranks together have one value for each channel, which has no variance.
        """
        self._check_input_dim(input)
        if not self.training and self.running_mean is not None:
            return super().forward(input)
        normed: torch.Tensor
        found = _Normalise.apply(input, self.weight, self.bias, self.eps, self.meeting)  # type: ignore[no-untyped-call]
        normed, count, mean, variance = found
        if self.training and self.running_mean is not None:
            self._follow(count, mean, variance)
        return normed

    @torch.no_grad()
    def _follow(self, count: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor) -> None:
        """Bring the running statistics up to date."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        part = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        unbiased = variance * (count / (count - 1))
        self.running_mean.mul_(1 - part).add_(mean.to(self.running_mean.dtype), alpha=part)
        self.running_var.mul_(1 - part).add_(unbiased.to(self.running_var.dtype), alpha=part)


class _Normalise(torch.autograd.Function):
    """The statistics of all ranks from one row of each, and the gradient through them from another."""

    @staticmethod
    def forward(
        ctx: Any,
        input: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        eps: float,
        meeting: Meeting,
    ) -> Any:
        values = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        channels, over = values.shape[1], [0, *range(2, values.dim())]
        own = values.numel() // channels
        if own:
            variance, mean = torch.var_mean(values, over, correction=0)
        else:
            variance, mean = values.new_zeros(channels), values.new_zeros(channels)
        row = torch.cat([mean.new_full((1,), own).double(), mean.double(), variance.double() * own])
        counts, means, squares = torch.split(meeting.rows(row), [1, channels, channels], 1)
        count = counts.sum()
        if int(count) < 2:
            raise ValueError(f"batch norm needs more than one value for each channel; the input is {list(input.shape)}")
        mean = (counts * means).sum(0) / count
        variance = (squares + counts * (means - mean) ** 2).sum(0) / count
        inverse, center = torch.rsqrt(variance + eps).to(values.dtype), mean.to(values.dtype)
        ctx.save_for_backward(values, weight, center, inverse, count)
        ctx.meeting, ctx.over, ctx.has_bias = meeting, over, bias is not None
        shape = [1, -1, *[1] * (values.dim() - 2)]
        factor = inverse if weight is None else inverse * weight
        normed = (values - center.view(shape)).mul_(factor.view(shape))
        if bias is not None:
            normed += bias.view(shape)
        ctx.mark_non_differentiable(count, mean, variance)
        return normed.to(input.dtype), count, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        values, weight, center, inverse, count = ctx.saved_tensors
        shape = [1, -1, *[1] * (values.dim() - 2)]
        given = gradients[0].to(values.dtype)
        scaled = (values - center.view(shape)).mul_(inverse.view(shape))
        total, along = given.sum(ctx.over), (given * scaled).sum(ctx.over)
        rows = ctx.meeting.rows(torch.cat([total, along]).double())
        mean, slope = (rows.sum(0) / count).to(values.dtype).split(len(total))
        factor = inverse if weight is None else inverse * weight
        onward = (given - mean.view(shape) - scaled.mul_(slope.view(shape))).mul_(factor.view(shape))
        of_weight = None if weight is None else along.to(weight.dtype)
        of_bias = total.to(values.dtype) if ctx.has_bias else None
        return onward.to(gradients[0].dtype), of_weight, of_bias, None, None

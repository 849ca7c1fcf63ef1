"""The whole model on every rank, and gradients averaged: torch's DistributedDataParallel round a model with steps.

Gradients are exchanged by hooks that `DDP.forward` sets up, and a model's `train_step` goes forward and updates in one
call. So it is called inside that forward, with a recorder in the place of the optimizer wrapper: it keeps the loss, and
the wrapper itself goes backward and updates when the forward is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from itertools import chain
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from seg_runner.distributed.world import World

__all__ = ["DataParallel", "LossRecorder", "ReplicatedModel", "SeparateDataParallel", "align_ranks"]


def align_ranks(model: nn.Module) -> None:
    """Give all ranks the weights and buffers of rank 0."""
    with torch.no_grad():
        for tensor in chain(model.parameters(), model.buffers()):
            distributed.broadcast(tensor, src=0)


class LossRecorder:
    """Stands for the optimizer wrapper inside a forward pass, and keeps the loss that the model hands over.

    Whatever else a model asks of it (`accumulative_counts`, `scale_loss`, `param_groups`), the real one answers.

    Args:
        wrapper: The real one. Its context is open already, so the model gets none here.
    """

    def __init__(self, wrapper: object) -> None:
        self.wrapper = wrapper
        self.loss: torch.Tensor | None = None
        self.options: dict[str, Any] = {}

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Return nothing: the context of the real wrapper stands round the whole forward."""
        return nullcontext()

    @property
    def inner_count(self) -> int:
        """Return how many micro-batches there were: defined, since a Protocol does not see what `__getattr__` gives."""
        return int(self.wrapper.inner_count)  # type: ignore[attr-defined]

    def scale_loss(self, loss: Any) -> Any:
        """Divide by the number of micro-batches."""
        return self.wrapper.scale_loss(loss)  # type: ignore[attr-defined]

    def update_params(self, loss: torch.Tensor, *args: Any, **options: Any) -> None:
        """Keep the loss.

        Raises:
            RuntimeError: a second update in one step, which gradients cannot be exchanged for.
        """
        if self.loss is not None:
            raise RuntimeError(
                "this model updates twice in one train_step, and gradients are exchanged once for each: use "
                "model_wrapper_cfg=dict(type='MMSeparateDistributedDataParallel'), which wraps each of its parts"
            )
        self.loss = loss
        self.options = {**dict(zip(("step_kwargs", "zero_kwargs"), args, strict=False)), **options}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapper, name)


class ReplicatedModel(DistributedDataParallel):
    """A model on every rank, whose gradients are averaged over the ranks as they are computed."""

    def train_step(self, data: object, optim_wrapper: Any) -> Mapping[str, Any]:
        """Do one step of the model; gradients are exchanged where the wrapper's window ends."""
        with optim_wrapper.optim_context(self):
            loss, outputs, options = self(data, optim_wrapper)
        if loss is not None:
            optim_wrapper.update_params(loss, **options)
        return outputs  # type: ignore[no-any-return]  # what the model's own step returns

    def _run_ddp_forward(self, data: object, optim_wrapper: object) -> tuple[Any, Any, dict[str, Any]]:
        """Do the model's own step, where torch would call its `forward`."""
        recorder = LossRecorder(optim_wrapper)
        with self._inside_ddp_forward():
            outputs = self.module.train_step(data, recorder)
        return recorder.loss, outputs, recorder.options

    def val_step(self, data: object) -> Any:
        """Validate by the model itself."""
        return self.module.val_step(data)

    def test_step(self, data: object) -> Any:
        """Test by the model itself."""
        return self.module.test_step(data)


class DataParallel:
    """The strategy `ddp`.

    Args:
        find_unused_parameters: Look in each step for parameters that the loss does not depend on, at some cost.
        static_graph: The same parameters are used in every step; torch then finds those that are not by itself.
        broadcast_buffers: Take buffers (running statistics) from rank 0 at each forward pass, as torch does by itself;
            MMEngine's default is not to, and `SyncBuffersHook` averages them after an epoch.
        compress: `'bf16'` or `'fp16'`: gradients are sent in this type, at half the bytes.
        **options: Of `torch.nn.parallel.DistributedDataParallel`: `bucket_cap_mb`, `gradient_as_bucket_view`, ...
    """

    shards = False

    def __init__(
        self,
        find_unused_parameters: bool = False,
        static_graph: bool = False,
        broadcast_buffers: bool = False,
        compress: str | None = None,
        **options: Any,
    ) -> None:
        self.options: dict[str, Any] = {
            "find_unused_parameters": find_unused_parameters,
            "static_graph": static_graph,
            "broadcast_buffers": broadcast_buffers,
            **options,
        }
        if compress not in (None, "bf16", "fp16"):
            raise ValueError(f"strategy.compress is {compress!r}; it is 'bf16', 'fp16' or None")
        self.compress = compress

    def wrap(self, model: nn.Module, world: World, device: torch.device) -> nn.Module:
        """Return the model in torch's DDP; one without anything to train stays as it is."""
        if not any(parameter.requires_grad for parameter in model.parameters()):
            return model
        wrapped: nn.Module = self.replicated(model, ReplicatedModel)
        return wrapped

    def align(self, model: nn.Module) -> None:
        """Give all ranks the weights and buffers of rank 0: each may have drawn its own (`diff_rank_seed`)."""
        align_ranks(model)

    def replicated(self, model: nn.Module, kind: type[DistributedDataParallel]) -> Any:
        """Return a module in DDP, with the gradients compressed where that was asked for.

        Without `device_ids`, torch leaves the batch where it is: the model's preprocessor moves it.
        """
        wrapped = kind(model, **self.options)
        if self.compress is not None:
            from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

            wrapped.register_comm_hook(None, getattr(default_hooks, f"{self.compress}_compress_hook"))
        return wrapped


class SeparateDataParallel(DataParallel):
    """The strategy `separate_ddp`: each part of a model in a DDP of its own, so that one step may update several times.

    The arguments are those of `ddp`. Parts without anything to train stay as they are.
    """

    def wrap(self, model: nn.Module, world: World, device: torch.device) -> nn.Module:
        """Return the model with each of its parts in torch's DDP."""
        for name, part in model.named_children():
            if any(parameter.requires_grad for parameter in part.parameters()):
                setattr(model, name, self.replicated(part, DistributedDataParallel))
        return SeparateModel(model)


class SeparateModel(nn.Module):
    """Holds a model whose parts are in DDPs; its name ends as unwrapping expects it of a wrapper."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def train_step(self, data: object, optim_wrapper: Any) -> Any:
        """Do one step of the model, whose updates are its own."""
        return self.module.train_step(data, optim_wrapper)  # type: ignore[operator]

    def val_step(self, data: object) -> Any:
        """Validate by the model itself."""
        return self.module.val_step(data)  # type: ignore[operator]

    def test_step(self, data: object) -> Any:
        """Test by the model itself."""
        return self.module.test_step(data)  # type: ignore[operator]

    @contextmanager
    def no_sync(self) -> Any:
        """Keep gradients on this rank, in all parts."""
        with ExitStack() as stack:
            for part in self.module.children():
                if isinstance(part, DistributedDataParallel):
                    stack.enter_context(part.no_sync())
            yield

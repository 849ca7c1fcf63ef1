"""The whole model on every rank, and gradients averaged: torch's DistributedDataParallel round a model with steps.

Gradients are exchanged by hooks that `DDP.forward` sets up, and a model's `train_step` goes forward and updates in one
call. So it is called inside that forward, with a recorder in the place of the optimizer wrapper: it keeps the loss, and
the wrapper itself goes backward and updates when the forward is over.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from itertools import chain
from operator import attrgetter
from typing import Any, NoReturn

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from seg_runner.checks import flag
from seg_runner.distributed.shards import cut_on_loading, has_shards, is_sharded
from seg_runner.distributed.unused import UnusedWatch, name_unused
from seg_runner.distributed.world import World

__all__ = ["DataParallel", "LossRecorder", "ReplicatedModel", "SeparateDataParallel", "align_ranks"]


SYNC_BUFFERS = "forward_sync_buffers"
SEPARATE = "strategy='separate_ddp' (MMSeparateDistributedDataParallel)"
LEARNS = attrgetter("requires_grad")


def align_ranks(model: nn.Module) -> None:
    """Give all ranks the weights and buffers of rank 0."""
    with torch.no_grad():
        for tensor in chain(model.parameters(), model.buffers()):
            if not is_sharded(tensor):
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
                f"{SEPARATE}, which wraps each of its parts"
            )
        self.loss = loss
        self.options = {**dict(zip(("step_kwargs", "zero_kwargs"), args, strict=False)), **options}

    def backward(self, *args: object, **options: object) -> NoReturn:
        """Refuse.

        Raises:
            RuntimeError: always: gradients are exchanged only in a backward pass after the forward.
        """
        raise RuntimeError(
            "this model's train_step goes backward itself, where gradients are not exchanged yet: let it call "
            f"optim_wrapper.update_params(loss) once, at its end; or use {SEPARATE}, which wraps each of its parts"
        )

    step = backward

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapper, name)


def context_of(optim_wrapper: Any, model: nn.Module) -> AbstractContextManager[Any]:
    """Return the context of an optimizer wrapper round a forward pass.

    Raises:
        RuntimeError: there are several wrappers, so a step has several updates.
    """
    try:
        context: AbstractContextManager[Any] = optim_wrapper.optim_context(model)
    except NotImplementedError as error:
        raise RuntimeError(
            "there are several optimizers, so one train_step updates several times, and gradients are exchanged once "
            f"for each: use {SEPARATE}, which wraps each part of the model"
        ) from error
    return context


class ReplicatedModel(DistributedDataParallel):
    """A model on every rank, whose gradients are averaged over the ranks as they are computed.

    Torch decides when this is made which parameters take part. What is frozen or thawed later, as a hook may do, is
    noticed at the next step.
    """

    def __init__(self, module: nn.Module, **options: Any) -> None:
        super().__init__(module, **options)
        self._note(options)
        self._unused = UnusedWatch(module) if self.find_unused_parameters and not self.static_graph else None

    def _note(self, options: Mapping[str, Any]) -> None:
        self._options = dict(options)
        parameters = list(self.module.parameters())
        self._learning = [each for each in parameters if each.requires_grad]
        self._frozen = [each for each in parameters if not each.requires_grad]

    def register_comm_hook(self, state: object, hook: Any) -> None:
        """Let a function exchange the gradients, as torch's does, and keep it."""
        super().register_comm_hook(state, hook)
        self._comm_hook = state, hook

    def _renew(self) -> None:
        """Make torch's part anew, for the parameters that learn now."""
        kept, training, options = getattr(self, "_comm_hook", None), self.training, self._options
        DistributedDataParallel.__init__(self, self.module, **{**options, "init_sync": False})
        self.training = training
        self._note(options)
        if kept is not None:
            self.register_comm_hook(*kept)

    def train_step(self, data: object, optim_wrapper: Any) -> Mapping[str, Any]:
        """Do one step of the model; gradients are exchanged where the wrapper's window ends."""
        if not all(map(LEARNS, self._learning)) or any(map(LEARNS, self._frozen)):  # no list is made: each step pays
            self._renew()
        if self._unused is not None:
            self._unused.look()
            self._unused = None if self._unused.over else self._unused
        with context_of(optim_wrapper, self):
            try:
                loss, outputs, options = self(data, optim_wrapper)
            except RuntimeError as error:
                if (named := name_unused(error, self.module)) is not None:
                    raise named from error
                raise
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
            "find_unused_parameters": flag(find_unused_parameters, "strategy.find_unused_parameters"),
            "static_graph": flag(static_graph, "strategy.static_graph"),
            "broadcast_buffers": flag(broadcast_buffers, "strategy.broadcast_buffers"),
            **options,
        }
        if compress not in (None, "bf16", "fp16"):
            raise ValueError(f"strategy.compress is {compress!r}; it is 'bf16', 'fp16' or None")
        self.compress = compress
        self.said: list[str] = []  # for the log of the run, which hears of a logger only while it trains

    def wrap(self, model: nn.Module, world: World, device: torch.device) -> nn.Module:
        """Return the model in torch's DDP; one without anything to train stays as it is.

        One with a DDP inside, or sharded, exchanges gradients already: its steps are called as they are.
        """
        if isinstance(model, DistributedDataParallel) and callable(getattr(model.module, "train_step", None)):
            self.said = ["the model comes in DDP, made anew here: its options go into strategy=dict(type='ddp', ...)"]
            model = model.module
        if any(isinstance(part, DistributedDataParallel) for part in model.modules()):
            return SeparateModelWrapper(model)
        if has_shards(list(model.parameters())):
            cut_on_loading(model)
            return SeparateModelWrapper(model)
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
        options = dict(self.options)
        if SYNC_BUFFERS in inspect.signature(DistributedDataParallel).parameters:  # the name from torch 2.13 on
            options[SYNC_BUFFERS] = options.pop("broadcast_buffers")
        wrapped = kind(model, **options)
        if self.compress is not None:
            from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

            send = getattr(default_hooks, f"{self.compress}_compress_hook")
            # by its name torch refuses the one of bf16 on a CPU, where gloo sends that type by now
            wrapped.register_comm_hook(None, lambda state, bucket: send(state, bucket))
        return wrapped


class SeparateDataParallel(DataParallel):
    """The strategy `separate_ddp`: each part of a model in a DDP of its own, so that one step may update several times.

    The arguments are those of `ddp`. Parts without anything to train stay as they are.
    """

    def wrap(self, model: nn.Module, world: World, device: torch.device) -> nn.Module:
        """Return the model with each of its parts in torch's DDP."""
        # a wrapper that keeps names clean by itself (LogitsModel) knows torch's DDP
        kind = DistributedDataParallel if hasattr(model, "model_path") else ReplicatedPart
        for name, part in model.named_children():
            if any(parameter.requires_grad for parameter in part.parameters()):
                setattr(model, name, self.replicated(part, kind))
        return SeparateModelWrapper(model)


class ReplicatedPart(DistributedDataParallel):
    """A part of a model in DDP, which the names of parameters, modules and checkpoint keys do not show."""

    def __init__(self, module: nn.Module, **options: Any) -> None:
        super().__init__(module, **options)
        self._register_load_state_dict_pre_hook(_into_module)  # type: ignore[no-untyped-call]

    def init_weights(self) -> None:
        """Let the part initialise itself, if it knows how."""
        own = getattr(self.module, "init_weights", None)
        if callable(own):
            own()

    def state_dict(self, *args: Any, **options: Any) -> Any:
        """Return the state of the part."""
        return self.module.state_dict(*args, **options)

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Module]]:
        """Yield this, and all modules of the part under its own names; so parameters have these names, too."""
        memo = set() if memo is None else memo
        if self not in memo:
            if remove_duplicate:
                memo.add(self)
            yield prefix, self
        yield from self.module.named_modules(memo, prefix, remove_duplicate)


def _into_module(state_dict: dict[str, Any], prefix: str, *rest: object) -> None:
    """Give the keys of a part the path that torch's DDP has."""
    for key in [key for key in state_dict if key.startswith(prefix)]:
        state_dict[f"{prefix}module.{key[len(prefix) :]}"] = state_dict.pop(key)


class SeparateModelWrapper(nn.Module):
    """Holds a model with DDPs inside it; its name ends as unwrapping expects it of a wrapper."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: object, **options: object) -> Any:
        """Call the model's own forward."""
        return self.module(*args, **options)

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
            for part in self.module.modules():
                if isinstance(part, DistributedDataParallel):
                    stack.enter_context(part.no_sync())
            yield

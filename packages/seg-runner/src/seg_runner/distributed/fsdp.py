"""Each rank keeps a part of the weights, gradients and optimizer state: torch's FSDP2 (`fully_shard`) round a model.

The model is sharded in place, once its weights are there: what is left in no unit belongs to the wrapper, so a step, an
evaluation and a call of the wrapper gather it. Outside of them every parameter is a DTensor under its usual name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import distributed, nn

from seg_runner.checks import flag
from seg_runner.distributed.ddp import LossRecorder, align_ranks, context_of
from seg_runner.distributed.shards import cut_on_loading, exchange_parameters, optimizers_of
from seg_runner.distributed.units import find_units
from seg_runner.distributed.world import World

__all__ = ["FullyShardedDataParallel", "ShardedDataParallel"]

LOG = logging.getLogger("seg_runner")


class ShardedRecorder(LossRecorder):
    """Keeps the loss where gradients are added over the ranks after every batch, those of an accumulation, too."""

    def over_ranks(self, count: torch.Tensor) -> torch.Tensor:
        """Return the sum of a count over the ranks; of a rank that has no sample of its own, nothing."""
        total = count * int(getattr(self.wrapper, "share", 1) > 0)
        distributed.all_reduce(total)
        return total


class ShardedDataParallel(nn.Module):
    """Holds a model in parts; its steps gather what no unit of the model gathers by itself."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.cast: Callable[[], AbstractContextManager[Any]] = nullcontext
        self.sharded: list[Any] = []

    def forward(self, *args: object, **options: object) -> Any:
        """Call the model's own forward."""
        return self.module(*args, **options)

    def train_step(self, data: object, optim_wrapper: Any) -> Mapping[str, Any]:
        """Do one step of the model; gradients are added over the ranks as they are computed."""
        with context_of(optim_wrapper, self), self.cast():
            loss, outputs, options = self.recorded(data, optim_wrapper)
        if loss is not None:
            optim_wrapper.update_params(loss, **options)
        return outputs  # type: ignore[no-any-return]  # what the model's own step returns

    def recorded(self, data: object, optim_wrapper: object) -> tuple[Any, Any, dict[str, Any]]:
        """Do the model's own step without its update."""
        recorder = ShardedRecorder(optim_wrapper)
        outputs = self.module.train_step(data, recorder)  # type: ignore[operator]
        return recorder.loss, outputs, recorder.options

    def val_step(self, data: object) -> Any:
        """Validate by the model itself."""
        return self._evaluate("val_step", data)

    def test_step(self, data: object) -> Any:
        """Test by the model itself."""
        return self._evaluate("test_step", data)

    def call_gathered(self, function: Callable[[nn.Module, Any], Any], data: object) -> Any:
        """Call a function with the bare model, gathered, and data; by all ranks alike."""
        return self._evaluate(function, data)

    def _evaluate(self, step: str | Callable[[nn.Module, Any], Any], data: object) -> Any:
        try:
            with self.cast():
                return self.evaluated(step, data)
        finally:
            for part in self.sharded:  # without a backward pass nothing else does it
                part.reshard()

    def evaluated(self, step: str | Callable[[nn.Module, Any], Any], data: object) -> Any:
        """Call a step of the model, or a function with it."""
        return getattr(self.module, step)(data) if isinstance(step, str) else step(self.module, data)


class FullyShardedDataParallel:
    """The strategy `fsdp`.

    Args:
        wrap: What is gathered together: names of classes (`'Block'`), of modules, patterns (`'backbone.stages.*'`).
            None: the blocks that a model repeats, else what holds at least `min_params`.
        min_params: Wrap by size: every module with at least so many parameters that no smaller one holds.
        param_dtype: `'bfloat16'` or `'float16'`: weights are gathered and used in this type, under autocast.
        reduce_dtype: In which gradients are added over the ranks; float32 where weights are used in a shorter type.
        output_dtype: Into which each unit casts what it returns.
        reshard_after_forward: Let go of gathered weights after the forward pass, and gather them again for the backward
            pass (True), or keep them (False: faster, and more memory); None: keep only those of no unit.
        shard_size: Cut over so many ranks, and keep a copy in each such set of them (HSDP), a machine for instance;
            None: over all ranks.
        offload: Keep weights, gradients and optimizer state in the memory of the CPU.
    """

    shards = True

    def __init__(
        self,
        wrap: str | type | Sequence[str | type] | None = None,
        min_params: float | None = None,
        param_dtype: str | None = None,
        reduce_dtype: str | None = None,
        output_dtype: str | None = None,
        reshard_after_forward: bool | int | None = None,
        shard_size: int | None = None,
        offload: bool = False,
    ) -> None:
        _check_kinds(wrap, min_params, reshard_after_forward, shard_size)
        if wrap is not None and min_params is not None:
            raise ValueError("strategy: wrap says what is wrapped by name and min_params by size; give one of them")
        self.chosen = [wrap] if isinstance(wrap, str | type) else wrap
        self.min_params = None if min_params is None else int(min_params)
        self.param_dtype = _dtype("param_dtype", param_dtype)
        self.reduce_dtype = _dtype("reduce_dtype", reduce_dtype)
        self.output_dtype = _dtype("output_dtype", output_dtype)
        if self.reduce_dtype is None and self.param_dtype is not None:
            self.reduce_dtype = torch.float32
        self.reshard_after_forward = reshard_after_forward
        self.shard_size = shard_size
        self.offload = flag(offload, "strategy.offload")
        self.device = torch.device("cpu")

    def wrap(self, model: nn.Module, world: World, device: torch.device) -> nn.Module:
        """Return the model in the wrapper that shards it later.

        Raises:
            RuntimeError: torch is older than FSDP2's present form.
            ValueError: `shard_size` does not divide the ranks.
        """
        if (version := tuple(map(int, torch.__version__.split(".")[:2]))) < (2, 7):
            raise RuntimeError(f"strategy 'fsdp' needs torch 2.7 or newer, and this is {'.'.join(map(str, version))}")
        if self.shard_size is not None and (self.shard_size < 2 or world.size % self.shard_size):
            raise ValueError(f"strategy.shard_size is {self.shard_size}, which does not divide the {world.size} ranks")
        self.device = device
        return ShardedDataParallel(model)

    def align(self, model: nn.Module) -> None:
        """Give all ranks the weights and buffers of rank 0."""
        align_ranks(model)

    def shard(self, model: nn.Module, optim_wrapper: object) -> None:
        """Keep only this rank's part of the weights, and let the optimizer hold these.

        Args:
            model: What `wrap` has made.
            optim_wrapper: An optimizer, or a wrapper of one or several.
        """
        from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

        if not isinstance(model, ShardedDataParallel):
            raise TypeError(f"strategy 'fsdp' shards what it has wrapped, not a {type(model).__name__}")
        _refuse_scalars(model.module)
        for optimizer in optimizers_of(optim_wrapper):
            _refuse_optimizer(optimizer, self.shard_size or distributed.get_world_size())
        units, how = find_units(model.module, self.chosen, self.min_params)
        for parameter in model.parameters():
            if not parameter.is_contiguous():  # torch cuts no others
                parameter.data = parameter.data.contiguous()
        held = [(module, name, one) for module in model.modules() for name, one in module._parameters.items()]
        options = self._options()
        for unit in reversed(units.values()):  # what lies inside first
            fully_shard(unit, **options)
            for method in ("loss", "predict"):  # by which heads are called
                if callable(getattr(unit, method, None)):
                    register_fsdp_forward_method(unit, method)
        fully_shard(model, **options)
        for method in ("recorded", "evaluated"):
            register_fsdp_forward_method(model, method)
        model.sharded = [module for module in model.modules() if isinstance(module, FSDPModule)]
        model.cast = self._cast
        new = {id(old): module._parameters[name] for module, name, old in held if old is not None}
        exchange_parameters(optim_wrapper, new)  # type: ignore[arg-type]  # where there was one before, there is now
        cut_on_loading(model)
        self._tell(units, how)

    def _options(self) -> dict[str, Any]:
        from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy

        options: dict[str, Any] = {"mesh": self._mesh()}
        if self.offload and self.device.type != "cpu":
            options["offload_policy"] = CPUOffloadPolicy()
        if self.param_dtype or self.reduce_dtype or self.output_dtype:
            options["mp_policy"] = MixedPrecisionPolicy(
                self.param_dtype, self.reduce_dtype, self.output_dtype, cast_forward_inputs=False
            )
        return {**options, "reshard_after_forward": self.reshard_after_forward}

    def _mesh(self) -> Any:
        """Return the ranks as torch wants them: a row, or sets of `shard_size`."""
        from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

        kind, size = self.device.type, distributed.get_world_size()
        if self.shard_size not in (None, size):
            return init_device_mesh(
                kind, (size // self.shard_size, self.shard_size), mesh_dim_names=("copies", "parts")
            )
        if self.offload and kind != "cpu":
            # norms of what lies on the CPU are added over the ranks there
            both = distributed.new_group(backend=f"cpu:gloo,{kind}:{distributed.get_backend()}")
            return DeviceMesh.from_group(both, kind)
        return init_device_mesh(kind, (size,))

    def _cast(self) -> AbstractContextManager[Any]:
        """Return autocast, so that what comes in float32 meets weights of a shorter type everywhere in a model."""
        short = self.param_dtype in (torch.bfloat16, torch.float16)
        return torch.autocast(self.device.type, self.param_dtype) if short else nullcontext()

    def _tell(self, units: Mapping[str, nn.Module], how: str) -> None:
        kinds = sorted({type(unit).__mro__[2].__name__ for unit in units.values()})
        what = f"{len(units)} units ({', '.join(kinds)}), {how}" if units else f"the whole model as one unit ({how})"
        share = self.shard_size or distributed.get_world_size()
        LOG.info("fsdp: each rank keeps 1/%d of the weights; gathered together: %s", share, what)


def _dtype(key: str, name: str | torch.dtype | None) -> torch.dtype | None:
    known = {"bfloat16": torch.bfloat16, "bf16": torch.bfloat16, "float16": torch.float16, "fp16": torch.float16}
    known |= {"float32": torch.float32, "fp32": torch.float32}
    if name is None:
        return name
    short = str(name).removeprefix("torch.")
    if short not in known:
        raise ValueError(f"strategy.{key} is {name!r}; it is 'bfloat16', 'float16', 'float32' or None")
    return known[short]


def _check_kinds(wrap: object, min_params: object, reshard: object, shard_size: object) -> None:
    """Say which option is of another kind than it must be."""
    named = all(isinstance(one, str | type) for one in (wrap if isinstance(wrap, list | tuple | set) else [wrap]))
    number = isinstance(min_params, int | float) and not isinstance(min_params, bool) and min_params > 0
    for key, value, right, what in (
        ("wrap", wrap, wrap is None or named, "a name or a list of names"),
        ("min_params", min_params, min_params is None or number, "a number above 0"),
        ("reshard_after_forward", reshard, reshard is None or isinstance(reshard, int), "True, False or None"),
        ("shard_size", shard_size, shard_size is None or type(shard_size) is int, "a whole number of ranks"),
    ):
        if not right:
            raise TypeError(f"strategy.{key} must be {what}, not {value!r}")


def _refuse_scalars(model: nn.Module) -> None:
    scalars = [name for name, parameter in model.named_parameters() if parameter.ndim == 0]
    if scalars:
        raise ValueError(
            f"strategy 'fsdp' cuts each parameter along its first dimension, and {', '.join(scalars)} has none: make "
            "it a parameter of shape (1,), or use strategy='ddp'"
        )


def _refuse_optimizer(optimizer: torch.optim.Optimizer, parts: int) -> None:
    """Refuse what torch's own optimizers cannot do with parts of weights, before the first step."""
    kind, why = type(optimizer).__name__, ""
    if kind in ("Rprop", "LBFGS"):
        why = "does not know"
    elif kind == "Adafactor" and any(
        one.ndim > 2 and one.shape[0] % parts for group in optimizer.param_groups for one in group["params"]
    ):
        why = f"only knows where {parts} divides the first dimension of each (as the channels of convolutions)"
    if why:
        raise ValueError(
            f"strategy 'fsdp' leaves each rank parts of weights, which torch's {kind} {why}: use another optimizer, "
            "such as AdamW, or strategy='ddp'"
        )

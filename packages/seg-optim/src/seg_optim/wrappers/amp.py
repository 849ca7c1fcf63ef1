"""AmpOptimWrapper: mixed precision through torch.amp, with a gradient scaler where the number format needs one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NoReturn, Unpack

import torch
from torch import Tensor, nn

from seg_optim.checks import check_arguments, check_flag, check_given, check_number
from seg_optim.wrappers.wrapper import OptimWrapper, WrapperArguments

__all__ = ["AmpOptimWrapper", "ApexOptimWrapper"]

logger = logging.getLogger("seg_optim")
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}
SCALER_LIMITS = {
    "init_scale": {"above": 0.0},
    "growth_factor": {"above": 1.0},
    "backoff_factor": {"above": 0.0, "most": 1.0},
    "growth_interval": {"least": 1.0},
}


class AmpOptimWrapper(OptimWrapper):
    """An OptimWrapper whose forward pass runs in a shorter number format.

    fp16 is trained with a gradient scaler; bf16, fp32 and fp64 need none and get none. Works on every device that
    torch.autocast knows, the CPU included, and follows a model that is moved to another one later.

    Args:
        loss_scale: `'dynamic'`, a fixed number, or a dict for `torch.amp.GradScaler`. Used with fp16 only; where it is
            not used, one log line says so.
        dtype: a torch dtype or its name. None: what torch's autocast takes there (CUDA float16, the CPU bfloat16).
        use_fsdp: use the scaler that FSDP needs.
        **kwargs: for `OptimWrapper`.

    Attributes:
        scaler: the `GradScaler`, or None.

    Example:
        >>> net = torch.nn.Linear(2, 1)
        >>> wrapper = AmpOptimWrapper(dtype="bfloat16", loss_scale=1, optimizer=torch.optim.SGD(net.parameters(), 0.1))
        >>> with wrapper.optim_context(net):
        ...     out = net(torch.ones(1, 2))
        >>> out.dtype
        torch.bfloat16
        >>> wrapper.update_params(out.float().mean())
    """

    def __init__(
        self,
        loss_scale: str | float | Mapping[str, Any] = "dynamic",
        dtype: str | torch.dtype | None = None,
        use_fsdp: bool = False,
        **kwargs: Unpack[WrapperArguments],
    ) -> None:
        super().__init__(**kwargs)
        _check_loss_scale(loss_scale)
        check_flag("use_fsdp", use_fsdp)
        self._given = (loss_scale, dtype, use_fsdp)
        self._static_scale = float(loss_scale) if isinstance(loss_scale, int | float) else None
        self.scaler: torch.amp.GradScaler | None = None
        self._skipped: Tensor | int = 0
        self._prepare(self._where())

    def _where(self) -> str:
        """Return the kind of device that the parameters are on now."""
        return next((p.device.type for group in self.optimizer.param_groups for p in group["params"]), "cpu")

    def _follow(self) -> None:
        """Fit a model that was moved to another device after this was made."""
        device_type = self._where()
        if device_type != self.device_type:
            self._prepare(device_type)

    def _prepare(self, device_type: str) -> None:
        """Choose number format and scaler for a device; an earlier scaler's scale is kept."""
        loss_scale, dtype, use_fsdp = self._given
        known = self.scaler.state_dict() if self.scaler is not None else {}
        self.device_type, self.dtype, self.scaler = device_type, _dtype(dtype, device_type), None
        if self.dtype is torch.float16:
            self.scaler = _scaler(loss_scale, device_type, use_fsdp)
            if known and self.scaler is not None and self.scaler.is_enabled():
                self.scaler.load_state_dict(known)
            return
        name = str(self.dtype).removeprefix("torch.")
        logger.warning("AmpOptimWrapper: %s on %s needs no loss scaling, so loss_scale is not used", name, device_type)

    @property
    def skipped_steps(self) -> int:
        """Count the steps that the scaler left out because of infinite gradients (reading waits for the device)."""
        return int(self._skipped)

    def backward(self, loss: Tensor, **kwargs: object) -> None:
        """Work out the gradients of the loss times the scale; counts the micro-step."""
        super().backward(loss if self.scaler is None else self.scaler.scale(loss), **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Unscale, clip and step; left out, and counted, when a gradient is infinite."""
        if self.scaler is None:
            super().step(**kwargs)
            return
        if self._takes_closure:
            raise ValueError("LBFGS cannot be used with a gradient scaler; use dtype='bfloat16'")
        if self._clip is not None:
            self.scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.scaler.step(self.optimizer, **kwargs)
        self.step_count += 1
        if self._watch is not None and self.step_count >= self._watch.next_look:
            self._watch.stepped(self.step_count)
        self._count_skipped(self.scaler)
        self.scaler.update(self._static_scale)

    def _count_skipped(self, scaler: torch.amp.GradScaler) -> None:
        found = list(scaler._found_inf_per_device(self.optimizer).values()) if scaler.is_enabled() else []
        if found:
            self._skipped = self._skipped + (sum(flag.to(found[0].device) for flag in found) > 0)

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Autocast, and no needless exchange of gradients, round preprocessing and forward pass."""
        self._follow()
        short = self.dtype in (torch.float16, torch.bfloat16)
        cast = torch.autocast(self.device_type, self.dtype if short else None, enabled=short)
        outer = super().optim_context(model)
        return cast if isinstance(outer, nullcontext) else _both(outer, cast)

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's state, and the scaler's under `loss_scaler`."""
        self._follow()
        state = super().state_dict()
        if self.scaler is not None:
            state["loss_scaler"] = self.scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state; one without `loss_scaler` (or with one that is not needed here) loads too."""
        self._follow()
        state = dict(state_dict)
        scale = state.pop("loss_scaler", None)
        if scale and self.scaler is not None:
            self.scaler.load_state_dict(scale)
        super().load_state_dict(state)


class ApexOptimWrapper:
    """The name is known, the wrapper is not needed: NVIDIA apex is no longer developed for this.

    Raises:
        NotImplementedError: always, saying what to use.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise NotImplementedError(
            "ApexOptimWrapper: use type='AmpOptimWrapper' (opt_level O1 is its default; O0 is type='OptimWrapper')"
        )


@contextmanager
def _both(outer: AbstractContextManager[Any], inner: AbstractContextManager[Any]) -> Iterator[None]:
    with outer, inner:
        yield


def _check_loss_scale(loss_scale: object) -> None:
    known = loss_scale == "dynamic" or isinstance(loss_scale, int | float | Mapping)
    if not known or isinstance(loss_scale, bool):
        raise TypeError(f"loss_scale={loss_scale!r}: 'dynamic', a number or a dict for GradScaler is needed")
    if isinstance(loss_scale, Mapping):
        check_arguments("loss_scale (for torch's GradScaler)", torch.amp.GradScaler, loss_scale)
        for key, limits in SCALER_LIMITS.items():
            if key in loss_scale:
                check_given(f"loss_scale.{key}", loss_scale[key], **limits)
        _check_largest("loss_scale.init_scale", loss_scale.get("init_scale", 1.0))
        check_flag("loss_scale.enabled", loss_scale.get("enabled"))
    elif isinstance(loss_scale, int | float):
        check_number("loss_scale", loss_scale, above=0)
        _check_largest("loss_scale", loss_scale)


def _check_largest(where: str, scale: float) -> None:
    largest = torch.finfo(torch.float32).max
    if float(scale) > largest:
        raise ValueError(
            f"{where}={scale!r}: at most {largest:.3g} is possible, as a scale is a float32; with more, every step "
            "would be skipped. 65536 is usual"
        )


def _dtype(dtype: str | torch.dtype | None, device_type: str) -> torch.dtype:
    if dtype is None:
        return torch.get_autocast_dtype(device_type)
    known = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if known not in DTYPES.values():
        raise ValueError(f"dtype={dtype!r}: choose one of {', '.join(DTYPES)}, or None")
    return known  # type: ignore[return-value]


def _scaler(
    loss_scale: str | float | Mapping[str, Any], device_type: str, use_fsdp: bool
) -> torch.amp.GradScaler | None:
    options: dict[str, Any] = {}
    if isinstance(loss_scale, Mapping):
        options = dict(loss_scale)
    elif loss_scale != "dynamic":
        options = {"init_scale": float(loss_scale)}
    if options.get("enabled") is False:
        return None
    if use_fsdp:
        from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler

        return ShardedGradScaler(**options)
    return torch.amp.GradScaler(device_type, **options)

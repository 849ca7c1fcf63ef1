"""NanGuardHook: notices a loss or gradient that is not finite, keeps what caused it, and stops, skips or rolls back."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from seg_hooks.checks import flag, one_of, whole
from seg_hooks.device import send_to_host
from seg_hooks.files import pointed_at
from seg_hooks.hook import Hook
from seg_hooks.hooks import nan_replay
from seg_hooks.model.finite import is_marked
from seg_hooks.model.sharded import made_whole
from seg_hooks.model.weights import KeptBuffers, load_weights, raw_weights
from seg_hooks.processes.world import agreed, current_world, size
from seg_hooks.protocols import Describes, HasModel, Logs, Progress, Saves, Updates
from seg_hooks.randomness import random_state
from seg_hooks.read_checkpoint import load_bounded

__all__ = ["NanGuardHook"]


class _Runner(Progress, HasModel, Updates, Saves, Logs, Describes, Protocol):
    pass


@dataclass
class _Step:
    """A step whose verdict may still be on the device."""

    index: int
    finite: Tensor
    arrived: Any
    here: Tensor
    """The verdict of this rank alone."""
    facts: dict[str, Any]


class NanGuardHook(Hook[_Runner]):
    """Stops a run whose loss or gradient is no longer finite, before a checkpoint is spoilt, and keeps the evidence.

    What is kept lies in `<work_dir>/nan/iter_<n>`: sample names, random state at the start of the step, every loss
    term, rates, the state of the loss scaler, and the checkpoint before it. The command that is printed trains from
    that checkpoint to that step, saves nothing, and names the first module whose output is not finite. A loss scaler
    that steps back is not reported.

    On several ranks all judge alike, and do the same: a step is bad where it is so on one of them. Each keeps its own
    evidence, those after the first in `rank<r>` of that folder.

    With 'stop' the verdict is read some steps later, so that no step waits for the device; in one process it is always
    read before a checkpoint is written. 'skip' and 'rollback' have to know at once: on an accelerator they wait for
    each step.

    Args:
        policy: 'stop' raises FloatingPointError; 'skip' leaves the update out and puts the buffers back; 'rollback'
            takes weights and optimizer of the last checkpoint and goes on with the next batches.
        max_times: How many bad steps in a row 'skip' bears, how many altogether 'rollback'; one more stops.
        check_gradients: Look at gradients too: at the clip norm where there is one, else by one multi-tensor norm.
        delay: With 'stop', after how many steps the verdict is read at the latest.
        keep_batch: Also keep the tensors of the batch.
    """

    priority = "ABOVE_NORMAL"

    def __init__(
        self,
        policy: str = "stop",
        max_times: int = 3,
        check_gradients: bool = True,
        delay: int = 2,
        keep_batch: bool = False,
    ) -> None:
        own = "NanGuardHook"
        self.policy = one_of(own, "policy", policy, ("stop", "skip", "rollback"))
        self.max_times = whole(own, "max_times", max_times, least=1)
        self.check_gradients = flag(own, "check_gradients", check_gradients)
        self.delay = whole(own, "delay", delay, least=0)
        if policy != "stop":
            self.delay = 0
        self.keep_batch = flag(own, "keep_batch", keep_batch)
        self.bad_steps = 0
        self._waiting: deque[_Step] = deque()
        self._handles: list[Any] = []
        self._norm: Any = None
        self._wrapper: Any = None
        self._last_clip: Any = None
        self._random: dict[str, Any] = {}
        self._buffers = KeptBuffers()
        self._replay: nan_replay.Replay | None = None
        self._stale: Any = None
        self._spoilt = False

    def before_train(self, runner: _Runner) -> None:
        """Watch the optimizer's steps; check that the policy can be carried out."""
        self._release()
        self._spoilt = False
        self._stale = _stamp(runner) if runner.iter == 0 else None  # of an earlier run in the same folder
        self._wrapper = runner.optim_wrapper
        if self.check_gradients or self.policy == "skip":
            for optimizer in nan_replay.optimizers_of(runner.optim_wrapper):
                self._handles.append(optimizer.register_step_pre_hook(self._before_step))
                self._handles.append(optimizer.register_step_post_hook(self._after_step))
        self._buffers = KeptBuffers()
        if nan_replay.replaying():
            self._replay = nan_replay.Replay(runner.iter)

    def before_train_iter(self, runner: _Runner, batch_idx: int, data_batch: object = None) -> None:
        """Remember the random state, and the buffers where they may have to be put back."""
        self._random = random_state(numpy=False)
        if self.policy == "skip":
            self._buffers.keep(runner.model)
        if self._replay is not None:
            self._replay.before_step(runner)

    def after_train_iter(
        self, runner: _Runner, batch_idx: int, data_batch: object = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Judge this step, or an earlier one whose verdict has arrived."""
        if self._replay is not None:
            self._replay.after_step(runner)
        norm, self._norm = self._norm, None
        finite = verdict(outputs or {}, norm if self.check_gradients else None)
        if finite is None:
            return
        facts = {"outputs": outputs, "grad_norm": norm, "batch": data_batch, "random": self._random}
        self._waiting.append(_Step(runner.iter, *send_to_host(agreed(finite)), finite, facts))
        while self._waiting and (len(self._waiting) > self.delay or _has_arrived(self._waiting[0])):
            self._judge(runner, self._waiting.popleft())

    def before_save_checkpoint(self, runner: _Runner, checkpoint: dict[str, Any]) -> None:
        """Read every verdict first: weights that are spoilt are not saved.

        Of several ranks only the first may be here; all read the verdict together, soon, and the file is marked.
        """
        if size() == 1:
            self._drain(runner)

    def after_train(self, runner: _Runner) -> None:
        """Read what is left."""
        self._drain(runner)
        self._release()

    def after_run(self, runner: _Runner) -> None:
        """Let the optimizer go, also after an exception."""
        self._release()

    def on_exception(self, runner: _Runner) -> None:
        """Let the optimizer go."""
        self._release()

    def state_dict(self) -> dict[str, Any]:
        """Return the count of bad steps."""
        return {"bad_steps": self.bad_steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the count."""
        self.bad_steps = int(state_dict["bad_steps"])

    def _before_step(self, optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
        """Measure the norm of the gradients before an update; with 'skip' empty an update that is not finite."""
        if getattr(optimizer, "found_inf", None) is not None:
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not parameters:
            return
        self._norm = self._clip_norm()
        if self._norm is None:
            norms = torch._foreach_norm([p.grad for p in parameters])
            self._norm = made_whole(torch.linalg.vector_norm(torch.stack([norm.float() for norm in norms])))
        if self.policy != "skip":
            return
        finite = torch.isfinite(torch.as_tensor(self._norm))
        if getattr(optimizer, "is_captured", False):  # in a graph: its kernels decide, each time
            optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]  # what torch's scalers leave there
        elif not bool(finite):
            for parameter in parameters:
                parameter.grad = None

    def _after_step(self, optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
        """Take back what the update was told."""
        if getattr(optimizer, "is_captured", False):
            vars(optimizer).pop("found_inf", None)

    def _clip_norm(self) -> Any:
        """Return the norm that clipping took in this very update, where the wrapper makes the updates; else None."""
        norm = getattr(self._wrapper, "grad_norm", None) if hasattr(self._wrapper, "update_params") else None
        if norm is None or norm is self._last_clip:
            return None
        self._last_clip = norm
        return norm

    def _judge(self, runner: _Runner, step: _Step) -> None:
        if step.arrived is not None:
            step.arrived.synchronize()
        spoilt, updated = self._spoilt, step.facts["grad_norm"] is not None
        if updated:
            self._spoilt = False
        if bool(step.finite):
            if self.policy == "skip" and not self._spoilt:
                self.bad_steps = 0
            return
        if spoilt and agreed(torch.tensor(nan_replay.loss_is_finite(step.facts["outputs"]))):
            return  # the update of accumulated gradients of which a bad loss, already counted, was a part
        self._spoilt = self.policy == "skip" and not updated
        self.bad_steps += 1
        text = self._write(runner, step)
        if self.policy == "stop" or self.bad_steps > self.max_times:
            self._waiting.clear()
            raise FloatingPointError(text)
        runner.logger.warning(
            "%s\npolicy=%r: bad step %d; at most %d are allowed.", text, self.policy, self.bad_steps, self.max_times
        )
        if self.policy == "rollback":
            self._roll_back(runner, _folder(runner, step.index) / nan_replay.BEFORE)
        elif self.policy == "skip":
            self._buffers.put_back()

    def _write(self, runner: _Runner, step: _Step) -> str:
        """Keep the evidence and the checkpoint before it; return what to say."""
        if self._replay is not None:
            return f"iteration {step.index + 1} is not finite, as in the original run."
        world, folder = current_world(), _folder(runner, step.index)
        checkpoint = world.first(lambda: nan_replay.keep_checkpoint(self._last_checkpoint(runner), folder))
        replay = nan_replay.replay_command(checkpoint, runner.seed)
        own = folder / f"rank{world.rank}" if world.rank else folder
        text = nan_replay.write_bundle(own, step.index, step.facts, runner.optim_wrapper, replay, self.keep_batch)
        if world.size == 1:
            return text
        told = world.gather((bool(step.here), text))
        return "\n".join(f"rank {number}: {words}" for number, (fine, words) in enumerate(told) if not fine)

    def _last_checkpoint(self, runner: _Runner) -> Path | None:
        """Return this run's newest checkpoint."""
        if _stamp(runner) in (None, self._stale):
            return None
        return pointed_at(Path(runner.work_dir) / "last_checkpoint")

    def _roll_back(self, runner: _Runner, kept: Path) -> None:
        """Load raw weights and optimizer state of the last checkpoint; rates stay, averages saw no bad step."""
        path = current_world().first(lambda: kept if kept.is_file() else self._last_checkpoint(runner))
        if path is None:
            raise FloatingPointError("NanGuardHook: policy='rollback', but there is no checkpoint yet to go back to.")
        try:
            checkpoint = load_bounded(path)
        except Exception as error:  # whatever is wrong with the file, there is nothing to go back to
            raise FloatingPointError(f"NanGuardHook: cannot go back to {path}: {error}") from error
        if is_marked(checkpoint):
            raise FloatingPointError(f"NanGuardHook: cannot go back to {path}: its weights are not finite.")
        for optimizer in nan_replay.optimizers_of(runner.optim_wrapper):
            optimizer.zero_grad()  # what was accumulated so far may not be finite either
        load_weights(runner.model, raw_weights(checkpoint))
        if "optimizer" in checkpoint:
            rates = [dict(group, params=None) for group in runner.optim_wrapper.param_groups]
            runner.optim_wrapper.load_state_dict(checkpoint["optimizer"])
            for group, options in zip(runner.optim_wrapper.param_groups, rates, strict=True):
                group.update({name: value for name, value in options.items() if name != "params"})
        runner.logger.warning("Went back to the weights of %s.", path.name)

    def _drain(self, runner: _Runner) -> None:
        while self._waiting:
            self._judge(runner, self._waiting.popleft())

    def _release(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._waiting.clear()
        self._norm = None


def _folder(runner: _Runner, index: int) -> Path:
    return Path(runner.work_dir) / "nan" / f"iter_{index + 1}"


def _stamp(runner: _Runner) -> tuple[int, int] | None:
    """Return which `last_checkpoint` lies in the folder of the run: it is replaced at each save."""
    try:
        found = (Path(runner.work_dir) / "last_checkpoint").stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def verdict(outputs: dict[str, Any], norm: object) -> Tensor | None:
    """Return one boolean on the device: total loss (else every loss term) and norm are finite; None without either."""
    values = [outputs["loss"]] if "loss" in outputs else [v for name, v in outputs.items() if "loss" in name]
    values = [*values, *([] if norm is None else [norm])]
    tensors = [torch.as_tensor(value).detach().sum() for value in values]
    if not tensors:
        return None
    if len(tensors) == 1:
        return torch.isfinite(tensors[0])
    device = next((tensor.device for tensor in tensors if tensor.device.type != "cpu"), tensors[0].device)
    return torch.isfinite(torch.stack([tensor.float().to(device, non_blocking=True) for tensor in tensors])).all()


def _has_arrived(step: _Step) -> bool:
    """Tell whether the verdict can be read without waiting; several ranks would find that at different steps."""
    if step.arrived is None:
        return step.finite.device.type == "cpu"
    return size() == 1 and bool(step.arrived.query())

"""The parts of a run's state, one class each: weights, optimizer, gradients, hooks, position in the data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from seg_runner.checkpoint.content import own
from seg_runner.checkpoint.report import ResumeReport
from seg_runner.checkpoint.schedulers import Settings, settings
from seg_runner.checkpoint.state import is_stateful
from seg_runner.checkpoint.weights import load_weights, weights_of
from seg_runner.data.stream import TrainBatches
from seg_runner.distributed.shards import apart, cut_state_on_loading, like, mean_gradients, over_ranks
from seg_runner.distributed.virtual.world import ExactDataParallel
from seg_runner.model.wrapping import unwrap
from seg_runner.protocols import Progress, Stateful

__all__ = ["Averages", "DataPosition", "Gradients", "Hooks", "Optimizer", "Weights"]

Content = Mapping[str, object]


class Weights:
    """The weights of the bare model, without the prefixes of wrappers.

    Args:
        model: The model, wrapped or not.
        hooks: The run's hooks: where none averages, a checkpoint's raw weights go on, not its averaged ones.
        load_options: As the config gives them; `strict=False` goes on even where no weight fits.
    """

    key = "state_dict"

    def __init__(self, model: torch.nn.Module, hooks: Iterable[object], load_options: Content | None) -> None:
        self.model, self.hooks, self.load_options = model, hooks, load_options or {}

    def save(self) -> dict[str, torch.Tensor]:
        """Return them, even where there are none: every checkpoint has this key."""
        return weights_of(self.model)

    def restore(self, checkpoint: Content, report: ResumeReport) -> None:
        """Load them into the model.

        Raises:
            RuntimeError: Not one of them fits.
        """
        weights, name = checkpoint.get("state_dict", {}), "weights"
        raw = checkpoint.get("ema_state_dict")
        averages = any("EMAHook" in kind.__name__ for hook in self.hooks for kind in type(hook).__mro__)
        if isinstance(raw, Mapping) and raw and not averages:
            weights = {key.removeprefix("module."): value for key, value in raw.items() if key != "steps"}
            name = "weights (the raw ones, as this run has no EMAHook)"
        found = load_weights(self.model, weights if isinstance(weights, Mapping) else {})
        if found.wanted and not found.loaded and self.load_options.get("strict") is not False:
            raise RuntimeError(
                "no weight of this checkpoint fits the model, so no run can go on from it (load_options.strict=False "
                "goes on with fresh weights anyway):\n  " + "\n  ".join(found.lines()[1:])
            )
        (report.restored if found.whole else report.not_restored).append(name)
        report.not_restored += found.lines()[1:]


class Averages:
    """Averaged weights, which EMAHook writes and takes itself; here it is only said what became of them."""

    key = "ema_state_dict"

    def __init__(self, hooks: Iterable[object]) -> None:
        self.hooks = hooks

    def save(self) -> None:
        """Return nothing: the hook adds them at `before_save_checkpoint`."""

    def restore(self, checkpoint: Content, report: ResumeReport) -> None:
        """Report whether a hook took them, at `after_load_checkpoint`."""
        takes = any(hasattr(hook, "ema_model") for hook in self.hooks)
        if self.key in checkpoint and takes:
            report.restored.append("averaged weights")
        elif self.key in checkpoint:
            report.not_restored.append("averaged weights: no EMAHook in this run; the raw ones go on")
        elif takes:
            report.not_restored.append("averaged weights: not in the checkpoint")


class Optimizer:
    """The optimizer's state and groups.

    Args:
        optim_wrapper: The optimizer wrapper; None where nothing is trained.

    Attributes:
        before: The options of its groups before the checkpoint's were taken over: schedulers may need them.
    """

    key = "optimizer"

    def __init__(self, optim_wrapper: Stateful | None) -> None:
        self.optim_wrapper = optim_wrapper
        self.before: Settings = {}

    def save(self) -> object:
        """Return the wrapper's state."""
        return None if self.optim_wrapper is None else self.optim_wrapper.state_dict() or None

    def restore(self, checkpoint: Content, report: ResumeReport) -> None:
        """Take over the state."""
        self.before = settings(self.optim_wrapper)
        if self.optim_wrapper is None:
            return
        if self.key not in checkpoint:
            report.not_restored.append("optimizer: not in the checkpoint")
            return
        saved: Any = checkpoint[self.key]
        # cutting copies the parts; a copy of the whole on every rank would be most of what they save
        self.optim_wrapper.load_state_dict(saved if cut_state_on_loading(self.optim_wrapper) else own(saved))
        report.restored.append("optimizer")


class Gradients:
    """Gradients of an accumulation that a checkpoint cuts in the middle; none where every step ends a window."""

    key = "grads"

    def __init__(self, model: torch.nn.Module, optim_wrapper: object) -> None:
        self.model, self.optim_wrapper = model, optim_wrapper

    def save(self) -> dict[str, torch.Tensor] | None:
        """Return them by the names of their parameters, and what the model itself counts over a window."""
        if self.optim_wrapper is None:
            return None
        if not hasattr(self.optim_wrapper, "items") and _ends_window(self.optim_wrapper):
            return None  # where there are several, the model may leave gradients to any of them
        if isinstance(self.model, ExactDataParallel):
            return self.model.open_gradients() or None
        bare = unwrap(self.model)
        several = apart(bare) > 1
        grads = {name: parameter.grad for name, parameter in bare.named_parameters() if parameter.grad is not None}
        grads = mean_gradients(bare) if several else grads
        counts = getattr(bare, "open_window", None)
        counted = counts() if grads and callable(counts) else {}
        return {**grads, **(over_ranks(counted) if several else counted)} or None

    def restore(self, checkpoint: Content, report: ResumeReport) -> None:
        """Give the parameters their gradients, where the optimizer goes on, too."""
        grads = checkpoint.get(self.key)
        if self.optim_wrapper is None or "optimizer" not in checkpoint or not isinstance(grads, Mapping) or not grads:
            return
        if isinstance(self.model, ExactDataParallel):
            taken = self.model.take_gradients(grads)
            text = "gradients of the unfinished accumulation"
            (report.restored if taken else report.not_restored).append(
                text if taken else f"{text}: they are not those of {self.model.ranks} virtual ranks"
            )
            return
        bare = unwrap(self.model)
        for name, parameter in bare.named_parameters():
            if name in grads:
                parameter.grad = like(grads[name], parameter).clone().to(parameter.device)
        take = getattr(bare, "take_open_window", None)
        if callable(take):
            ranks = apart(bare)
            take(grads if ranks == 1 else {name: value / ranks for name, value in grads.items()})
        report.restored.append("gradients of the unfinished accumulation")


def _ends_window(optim_wrapper: object) -> bool:
    """Tell whether the step just done was an update, so that no gradient waits for the next one."""
    should_update = getattr(optim_wrapper, "should_update", None)
    single = getattr(optim_wrapper, "accumulative_counts", None) == 1
    return single or (callable(should_update) and bool(should_update()))


class Hooks:
    """The states of hooks, under their classes' names; the second of a class is `Name#2`."""

    key = "hooks"

    def __init__(self, hooks: Sequence[object]) -> None:
        self.hooks = hooks

    def save(self) -> dict[str, dict[str, object]] | None:
        """Return the state of each hook that has one."""
        return {name: dict(hook.state_dict()) for name, hook in self._stateful()} or None

    def restore(self, checkpoint: Content, report: ResumeReport) -> None:
        """Hand each hook its own; report hooks that came or went."""
        found = checkpoint.get(self.key)
        saved = dict(found) if isinstance(found, Mapping) else {}
        for name, hook in self._stateful():
            if name in saved:
                hook.load_state_dict(own(saved.pop(name)))
                report.restored.append(name)
            elif hook.state_dict():
                report.not_restored.append(f"hook {name}: not in the checkpoint")
        report.not_restored += [f"hook {name}: in the checkpoint, not in this run" for name in saved]

    def _stateful(self) -> Iterator[tuple[str, Stateful]]:
        counts: dict[str, int] = {}
        for hook in self.hooks:
            if is_stateful(hook):
                name = type(hook).__name__
                counts[name] = counts.get(name, 0) + 1
                yield (name if counts[name] == 1 else f"{name}#{counts[name]}"), hook


class DataPosition:
    """The position in the data, and the random numbers that follow from it.

    Args:
        loop: The training loop; one without `batches` keeps no position.
        progress: The run's counts and its seed.
        resume_data: False: keep all counts, but begin a fresh pass over the data.
    """

    key = "data"

    def __init__(self, loop: object, progress: Progress, *, resume_data: bool) -> None:
        self.loop, self.progress, self.resume_data = loop, progress, resume_data
        self.batches: TrainBatches | None = getattr(loop, "batches", None)

    def save(self) -> dict[str, object] | None:
        """Return the position after the finished iterations, whatever was read ahead."""
        return None if self.batches is None else self.batches.state_dict(self.progress.finished_iters) or None

    def restore(self, checkpoint: Content, report: ResumeReport) -> None:
        """Go to the saved position; where there is none, count it from the iterations."""
        saved, batches = checkpoint.get(self.key), self.batches
        if batches is None:
            return
        iteration = int(getattr(self.loop, "iter", 0))
        if not self.resume_data:
            batches.restart(dict(saved) if isinstance(saved, Mapping) and saved else {"iteration": iteration})
            report.not_restored.append("position in the data: resume_data=False begins a fresh pass")
            return
        if isinstance(saved, Mapping):
            report.unexplained += batches.load_state_dict(own(dict(saved)))
            if not batches.notes:
                report.restored.append("position in the data, random numbers")
        else:
            batches.follow(self.progress.seed)
            batches.seek(iteration)
            report.not_restored.append("position in the data: not in the checkpoint, counted from its iteration")
        report.not_restored += batches.notes

"""GraphStep: stands for a model's `train_step`, and repeats what was captured of it."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from seg_runner.errors import add_note
from seg_runner.model.graph.device_graphs import DeviceGraphs
from seg_runner.model.graph.inputs import StaticBatch, kind_of_batch
from seg_runner.model.graph.options import GraphOptions
from seg_runner.model.graph.rates import Rates, make_capturable
from seg_runner.model.graph.recorded import RecordedOperations
from seg_runner.model.graph.settings import Notes, Settings, changed_in_python
from seg_runner.process.device import graphs_of
from seg_runner.trees import map_tensors, tensors_of

__all__ = ["GraphStep", "capture_steps"]

RESTARTS = 8
"""So often may what a graph takes for granted change; then each step is an ordinary one."""
KINDS = 256
"""So many kinds of batches, that were not captured, are counted."""


class Captures(Protocol):
    """What runs a function so that it can be run again without its Python."""

    def warm(self, function: Callable[[], Any]) -> Any:
        """Run it in the ordinary way."""

    def capture(self, function: Callable[[], Any]) -> tuple[Any, Callable[[], Any]]:
        """Run it once; return its result, and what runs it again and leaves its result in the same tensors."""


@dataclass
class Graph:
    """A captured step.

    Attributes:
        inputs: The batch that it reads.
        row: All its results as one tensor, where they are single numbers of one type; else they are copied singly.
        result: What the step returns; its tensors are those that each repetition writes to.
        notes: What it leaves in the objects round it.
        repeat: Does it again.
    """

    inputs: StaticBatch
    row: torch.Tensor | None
    result: Any
    notes: Notes
    repeat: Callable[[], Any] = lambda: None

    def outputs(self, again: bool = True) -> Any:
        """Return the results in tensors of their own, which no later step changes; bring the notes in line.

        Args:
            again: The step was repeated, so that its Python was not run.
        """
        tensors = [*tensors_of(self.result), *self.notes.tensors]
        copies = iter([one.clone() for one in tensors] if self.row is None else self.row.clone().unbind())
        result = map_tensors(self.result, lambda _: next(copies))
        self.notes.repeat(copies, counts=again)
        return result


class GraphStep:
    """Does the training steps of a model: the first few in the ordinary way, then as a graph for each shape of batch.

    What a hook sees before and after a step is what it sees without. What a graph cannot do again is an error when the
    step is captured; where the circumstances of a step change, it is captured anew.

    Args:
        model: The model, with `train_step(data, optim_wrapper)`.
        wrapper: The optimizer wrapper.
        options: Options of the mode.
        device: Where is trained.
        logger: Is told, once each, which steps stay ordinary ones.
    """

    def __init__(
        self, model: nn.Module, wrapper: Any, options: GraphOptions, device: torch.device, logger: logging.Logger
    ) -> None:
        self._model, self._wrapper, self._options, self._device = model, wrapper, options, device
        self._optimizer: Optimizer = wrapper.optimizer
        self._plain: Callable[..., Any] = model.train_step  # type: ignore[assignment]  # a method, bound to the model
        module = graphs_of(device)
        self._captures: Captures = RecordedOperations() if module is None else DeviceGraphs(module)
        self._rates = Rates(self._optimizer, device)
        self._logger, self._told, self._restarts = logger, set[str](), 0
        self._watched = Settings(model, self._optimizer)
        self._found: tuple[Any, ...] = ()
        self._seen: Counter[Hashable] = Counter()
        self._graphs: dict[Hashable, Graph] = {}

    @property
    def captured(self) -> int:
        """Return how many graphs there are now."""
        return len(self._graphs)

    def __call__(self, data: object, optim_wrapper: Any) -> Any:
        """Do one training step."""
        if optim_wrapper is not self._wrapper:
            return self._plain(data, optim_wrapper=optim_wrapper)
        self._look_at_settings()
        self._rates.write()
        kind, hooked = kind_of_batch(data), self._watched.hooked()
        if isinstance(kind, str) or hooked or self._restarts > RESTARTS:
            self._tell(str(kind) if isinstance(kind, str) else hooked or "what a graph depends on changes too often")
            return self._ordinary(data)
        graph = self._graphs.get(kind)
        if graph is not None:
            graph.inputs.fill(data)
            graph.repeat()
            return graph.outputs()
        self._seen[kind] += 1
        if len(self._seen) > KINDS:
            self._seen.clear()
            self._tell(
                "hardly a batch is of the kind of another one: do they hold numbers, such as the index of a sample?"
            )
        if self._seen[kind] <= self._options.warm_up:
            return self._ordinary(data)
        if len(self._graphs) >= self._options.graphs:
            self._tell(f"batches have more than {self._options.graphs} shapes (compile.graphs)")
            return self._ordinary(data)
        self._graphs[kind] = graph = self._capture(data)
        return graph.outputs(again=False)

    def _look_at_settings(self) -> None:
        """Forget all graphs where what they depend on is no longer so."""
        found = self._watched.now()
        if found != self._found:
            self._restarts += bool(self._found)
            self._graphs.clear()
            self._seen.clear()
            make_capturable(self._optimizer, self._device)
            self._watched = Settings(self._model, self._optimizer)
            self._found = self._watched.now()

    def _ordinary(self, data: object) -> Any:
        result = self._captures.warm(lambda: self._step(data))
        self._found = self._watched.now()  # what the step itself changes is found when it is captured
        return result

    def _step(self, data: object) -> Any:
        with self._rates.in_groups():
            return self._plain(data, optim_wrapper=self._wrapper)

    def _capture(self, data: object) -> Graph:
        """Capture the step of this batch, which is done thereby."""
        inputs = StaticBatch(data, self._device)

        def step() -> Graph:
            notes = Notes([self._wrapper, *_owners(self._optimizer)])
            result = self._step(inputs.batch)
            notes.compare()
            return Graph(inputs, _row([*tensors_of(result), *notes.tensors]), result, notes)

        kept = sum(map(len, self._optimizer.state.values()))
        before = changed_in_python(self._model)
        try:
            with _same_random_numbers(self._device), _said_to(self._optimizer):
                graph, repeat = self._captures.capture(step)
            _refuse(self._model, before, kept, self._optimizer)
        except RuntimeError as error:
            add_note(error, "compile=dict(mode='graph'): this step cannot be captured; compile=True compiles the model")
            raise
        captured: Graph = graph
        captured.repeat = repeat
        return captured

    def _tell(self, why: str) -> None:
        if why not in self._told:
            self._told.add(why)
            self._logger.warning("compile=dict(mode='graph'): some steps are not captured: %s", why)

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the graphs out of copies of the model (averages, files): they have its own method."""
        return getattr, (self._model, "train_step")


def capture_steps(
    model: nn.Module, wrapper: Any, options: GraphOptions, device: torch.device, logger: logging.Logger
) -> None:
    """Let a model do its training steps as graphs; everything else about it stays as it is."""
    model.train_step = GraphStep(model, wrapper, options, device, logger)  # type: ignore[assignment]  # no module
    logger.info("compile=dict(mode='graph'): steps are captured once a shape was seen %d times", options.warm_up)


def _row(tensors: list[torch.Tensor]) -> torch.Tensor | None:
    """Return single numbers of one type as one tensor: they are copied out by one kernel then."""
    kinds = {(one.shape, one.dtype, one.device) for one in tensors}
    return torch.stack([one.detach() for one in tensors]) if len(kinds) == 1 and tensors[0].dim() == 0 else None


def _owners(optimizer: Optimizer) -> Iterable[object]:
    """Return the objects whose methods are called round a step of an optimizer."""
    hooks = [*optimizer._optimizer_step_pre_hooks.values(), *optimizer._optimizer_step_post_hooks.values()]
    return {id(owner): owner for hook in hooks if (owner := getattr(hook, "__self__", None)) is not None}.values()


@contextmanager
def _said_to(optimizer: Any) -> Iterator[None]:
    """Let who hears of an optimizer's step see that it is being captured: nothing may be decided on the host."""
    optimizer.is_captured = True
    try:
        yield
    finally:
        del optimizer.is_captured


@contextmanager
def _same_random_numbers(device: torch.device) -> Iterator[None]:
    """Refuse a step that draws random numbers on the host: a graph would repeat the same ones for ever."""

    def states() -> tuple[Any, ...]:
        of_numpy: tuple[Any, ...] = np.random.get_state(legacy=True)  # type: ignore[assignment]
        # the stand-in draws again
        of_torch = b"" if graphs_of(device) is None else torch.get_rng_state().numpy().tobytes()
        return random.getstate(), of_numpy[1].tobytes(), of_numpy[2:], of_torch

    before = states()
    yield
    if states() != before:
        raise RuntimeError("the step draws random numbers on the host, by Python, NumPy or torch's CPU generator")


def _refuse(model: nn.Module, before: dict[str, Any], kept: int, optimizer: Optimizer) -> None:
    """Refuse a step that changes what a graph cannot change again."""
    names = list(changed_in_python(model, before))
    if names:
        raise RuntimeError(f"the step changes {', '.join(names[:8])} in Python instead of writing to a tensor in place")
    if sum(map(len, optimizer.state.values())) != kept:
        raise RuntimeError("a parameter has its first gradient in the captured step: a larger compile.warm_up helps")

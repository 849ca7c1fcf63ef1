"""The same run, bit for bit, on any number of processes: `randomness=dict(world='exact', ranks=V)`.

V virtual ranks train, whatever the number of processes: each has its own batch, its own random numbers and its own
gradient. Process r of P does the work of the ranks r V/P ... (r+1) V/P - 1, one after another. Gradients, buffers and
losses are added in one fixed binary tree over all V, so where a process ends and another begins makes no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from seg_runner.distributed.ddp import align_ranks
from seg_runner.distributed.norms import SyncedBatchNorm
from seg_runner.distributed.virtual.leaves import Buffers, Flats, Layout, Leaf, RankRecorder
from seg_runner.distributed.virtual.lockstep import Lockstep, RankMeeting
from seg_runner.distributed.virtual.tree import Carry, added, over_processes
from seg_runner.distributed.world import World
from seg_runner.process.device import random_states, restore_random_states
from seg_runner.process.randomness import global_state, set_global_state

__all__ = ["ExactDataParallel", "ExactWorld", "RankBatches", "own_ranks"]


def own_ranks(ranks: int, rank: int, size: int) -> range:
    """Return the virtual ranks of a process.

    Raises:
        ValueError: the processes do not divide the virtual ranks.

    >>> own_ranks(4, 1, 2)
    range(2, 4)
    """
    if ranks % size:
        raise ValueError(
            f"randomness.ranks={ranks}: {size} processes cannot share {ranks} virtual ranks evenly. Start "
            f"{' or '.join(str(count) for count in range(1, ranks + 1) if ranks % count == 0)} of them"
        )
    share = ranks // size
    return range(rank * share, (rank + 1) * share)


class RankBatches(list[Any]):
    """The batches of one step, one for each virtual rank of this process.

    Args:
        batches: They.
        shares: What the loss of each counts: 1 where all ranks have equally many samples.
        seed: Gives the generators the numbers of the virtual rank at a place; None: those that all have in common.
        averages: How many samples a virtual rank has on the average, by those of each.
    """

    def __init__(
        self,
        batches: list[Any],
        shares: list[float] | None = None,
        seed: Callable[[int | None], None] | None = None,
        averages: list[float] | None = None,
    ) -> None:
        super().__init__(batches)
        self.averages = averages or [1.0] * len(batches)
        self.shares = shares or [1.0] * len(batches)
        self.seed = seed or _keep_seed

    def moved(self, move: Callable[[Any], Any]) -> RankBatches:
        """Return the same with each batch changed."""
        return RankBatches([move(batch) for batch in self], self.shares, self.seed, self.averages)


def _keep_seed(place: int | None) -> None:
    """Leave the generators as they are."""


class ExactDataParallel(nn.Module):
    """A model that is trained by virtual ranks.

    Args:
        module: The model.
        ranks: How many virtual ranks there are.
        world: The processes.
        meeting: Where the synced batch norms of the model meet.
    """

    def __init__(self, module: nn.Module, ranks: int, world: World, meeting: RankMeeting | None = None) -> None:
        super().__init__()
        self.module = module
        self.meeting = meeting or RankMeeting()
        self.ranks, self.world = ranks, world
        self.own = own_ranks(ranks, world.rank, world.size)
        self.leaves = [Leaf() for _ in self.own]
        self.carry: Carry[Flats] = Carry()
        self.apart = 0
        self._parts: tuple[Layout, Buffers] | None = None

    def parts(self) -> tuple[Layout, Buffers]:
        """Return where gradients and buffers are; looked for anew where other parameters are trained than before."""
        if self._parts is None or not self._parts[0].fits():
            if any(leaf.flats is not None for leaf in self.leaves):
                raise RuntimeError(
                    "parameters were frozen or set free in the middle of an accumulation: do it where one ends"
                )
            buffers = Buffers(self.module, copied=len(self.own) > 1)
            self._parts = Layout(self.module.parameters(), buffers.room, self.world.size), buffers
        return self._parts

    def train(self, mode: bool = True) -> ExactDataParallel:
        """Set the model to training or evaluation; what it is made of may have changed meanwhile."""
        if all(leaf.flats is None for leaf in self.leaves):
            self._parts = None
        return super().train(mode)

    def forward(self, *args: object, **options: object) -> Any:
        """Call the model's own forward."""
        return self.module(*args, **options)

    def val_step(self, data: object) -> Any:
        """Validate by the model itself."""
        return self.module.val_step(data)  # type: ignore[operator]

    def test_step(self, data: object) -> Any:
        """Test by the model itself."""
        return self.module.test_step(data)  # type: ignore[operator]

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Keep gradients apart: the optimizer wrapper opens this where a step ends no accumulation."""
        self.apart += 1  # counted, since virtual ranks that wait for one another are in here at once
        try:
            yield
        finally:
            self.apart -= 1

    def open_gradients(self) -> dict[str, torch.Tensor]:
        """Return what all virtual ranks have gathered of an unfinished accumulation; called by all processes."""
        found: dict[str, torch.Tensor] = {}
        names = {parameter: name for name, parameter in self.module.named_parameters()}
        for rank, leaf in zip(self.own, self.leaves, strict=True):
            if leaf.flats is None:
                continue
            named = zip(leaf.flats.layout.parameters, leaf.flats.views, leaf.used, strict=True)
            found |= {f"{rank}:{names[parameter]}": view.clone() for parameter, view, used in named if used}
            if len(self.own) == 1:
                leaf.take_window(self.module)
            found |= {f"{rank}:{name}": value for name, value in leaf.window.items()}
        return {name: value for of_process in self.world.gather(found) for name, value in of_process.items()}

    def take_gradients(self, kept: Mapping[str, torch.Tensor]) -> bool:
        """Go on in the middle of an accumulation; False where it is that of no virtual ranks."""
        layout, _ = self.parts()
        names = {parameter: name for name, parameter in self.module.named_parameters()}
        for rank, leaf in zip(self.own, self.leaves, strict=True):
            own = {name.partition(":")[2]: value for name, value in kept.items() if name.startswith(f"{rank}:")}
            if not own:
                return False
            leaf.flats = layout.take()
            leaf.used = [names[parameter] in own for parameter in layout.parameters]
            for parameter, view, used in zip(layout.parameters, leaf.flats.views, leaf.used, strict=True):
                view.zero_()
                if used:
                    view.copy_(own[names[parameter]])
            leaf.window = {name: value for name, value in own.items() if name.startswith("(")}
            if len(self.own) == 1:
                leaf.give_window(self.module)
        return True

    def train_step(self, data: Any, optim_wrapper: Any) -> Any:
        """Do one step of every virtual rank of this process, and one update.

        Raises:
            TypeError: the batch is none of ours, with one for each virtual rank.
            RuntimeError: there are several optimizers.
        """
        if not isinstance(data, RankBatches):
            raise TypeError(
                f"with randomness.world='exact' a step gets the batches of {len(self.own)} virtual ranks, not a "
                f"{type(data).__name__}: let a training loop of the runner read a torch DataLoader"
            )
        if hasattr(optim_wrapper, "items"):
            raise RuntimeError(
                "randomness.world='exact' adds the gradients of one optimizer, and this run has several: use one, or "
                "leave world='exact' out and take strategy='separate_ddp'"
            )
        return Step(self, data, optim_wrapper).run()


class Step:
    """One step of the virtual ranks of a process.

    The optimizer wrapper scales the loss, goes backward and updates in one call; so it gets a loss whose backward pass
    goes through all virtual ranks, and leaves the sum of their gradients where the update looks for it.
    """

    def __init__(self, model: ExactDataParallel, data: RankBatches, optim_wrapper: Any) -> None:
        self.model, self.data, self.wrapper = model, data, optim_wrapper
        self.leaves, self.several = model.leaves, len(data) > 1
        self.layout, self.buffers = model.parts()
        self.outputs: Any = None
        self.sync = True
        self.lockstep: Lockstep | None = None
        if self.several and any(isinstance(part, SyncedBatchNorm) for part in model.module.modules()):
            self.lockstep = model.meeting.lockstep = Lockstep(len(data), self._enter, self._leave)

    def run(self) -> Any:
        """Return what the model's own steps return: of losses and other numbers the mean over all virtual ranks."""
        self.buffers.begin()
        try:
            if self.lockstep is None:
                self._forward(0)
            else:
                self.lockstep.run(self._forward)
            first = self.leaves[0]
            if first.loss is None:
                raise RuntimeError("the model's train_step updates nothing, so there is no gradient to add over ranks")
            with torch.autograd.set_multithreading_enabled(False):  # all of it here, where the generators are
                anchor = torch.zeros((), requires_grad=True)
                loss = _Backward.apply(anchor, first.loss.detach(), self._backward)  # type: ignore[no-untyped-call]
                self.wrapper.update_params(loss, **first.options)
        finally:
            self.model.meeting.lockstep = None
            self.buffers.put_back()
            for leaf in self.leaves:
                leaf.loss = None
        self.data.seed(None)
        return self.outputs

    def _forward(self, place: int) -> None:
        """Do the model's own step of one virtual rank, without its update."""
        leaf = self.leaves[place]
        self.data.seed(place)
        leaf.give_gradients(self.layout)
        if self.several:
            self.buffers.give()
            leaf.give_window(self.model.module)
        with torch.enable_grad(), self.wrapper.optim_context(self.model):
            self.sync = not self.model.apart
            recorder = RankRecorder(self.wrapper, self.data.averages[place])
            leaf.outputs = self.model.module.train_step(self.data[place], recorder)  # type: ignore[operator]
            if recorder.loss is not None and (share := self.data.shares[place]) != 1:
                recorder.loss = recorder.loss * share
        leaf.loss, leaf.options = recorder.loss, recorder.options
        if self.lockstep is not None:
            self._leave(place)

    def _enter(self, place: int) -> None:
        """Let a virtual rank go on that has waited for others: its random numbers, gradients and buffers."""
        leaf = self.leaves[place]
        for parameter, gradient in zip(self.layout.parameters, leaf.gradients, strict=True):
            parameter.grad = gradient
        self.buffers.put(leaf.buffers)
        leaf.give_window(self.model.module)
        set_global_state(leaf.numbers[0])
        restore_random_states(leaf.numbers[1])

    def _leave(self, place: int) -> None:
        """Keep what belongs to a virtual rank that waits for others."""
        leaf = self.leaves[place]
        leaf.numbers = global_state(), random_states()
        leaf.gradients = [parameter.grad for parameter in self.layout.parameters]
        leaf.buffers = self.buffers.now()
        leaf.take_window(self.model.module)

    def _backward(self, factor: torch.Tensor) -> None:
        """Go backward through all virtual ranks, and add what they have; the wrapper multiplies with `factor`."""

        def back(place: int) -> None:
            leaf = self.leaves[place]
            if self.lockstep is not None:
                self._enter(place)
            elif place:
                self._forward(place)
            if leaf.loss is None:
                raise RuntimeError("the model updates on one virtual rank, and not on another")
            leaf.loss.backward(factor.to(leaf.loss.dtype))  # type: ignore[no-untyped-call]
            leaf.loss = None
            self._end(leaf)

        if self.lockstep is not None:
            self.lockstep.run(back)
        else:
            for place in range(len(self.leaves)):
                back(place)
        self._finish()

    def _end(self, leaf: Leaf) -> None:
        """Take what a virtual rank leaves behind."""
        leaf.take_gradients(self.layout)
        self.buffers.take()
        leaf.gradients, leaf.buffers = [], []
        if self.several:
            leaf.take_window(self.model.module)
        if self.sync:
            self.model.carry.push(leaf.hand_over(), self.layout.spare)

    def _finish(self) -> None:
        """Add what the virtual ranks have, over all processes; where an accumulation ends, their gradients too."""
        size, ranks = self.model.world.size, self.model.ranks
        names = _numbers(self.leaves[0].outputs)
        note = added([self._note(place, names) for place in range(len(self.leaves))])
        flats = self.model.carry.total() if self.sync else None
        room = None if flats is None else flats.note
        if room is not None and note.dtype is room.dtype and len(note) <= len(room):
            room[: len(note)] = note
            note = room[: len(note)]
        else:
            note = torch.nn.functional.pad(note, (0, -len(note) % size))
            over_processes(note, size)
            note /= ranks
        if flats is not None and size > 1:
            scratch = self.layout.take()
            for flat, beside in zip(flats, scratch, strict=True):
                over_processes(flat, size, beside)
            self.layout.spare.append(scratch)
        for flat in flats or ():
            flat /= ranks
        self._read(note, names)
        if flats is not None:
            self.layout.set_gradients(flats, (note[: len(self.layout.parameters)] > 0).tolist())
            self.layout.spare.append(flats)

    def _note(self, place: int, names: Sequence[str]) -> torch.Tensor:
        """Return what a virtual rank tells besides its gradients: which there are, its losses and its buffers."""
        leaf, layout = self.leaves[place], self.layout
        device = layout.parameters[0].device
        numbers = [leaf.outputs[name].detach().reshape(1).to(device) * self.data.shares[place] for name in names]
        told = [torch.tensor(leaf.used, dtype=torch.float32, device=device), *numbers, *self.buffers.changed(place)]
        wide = any(one.dtype is torch.float64 for one in told)
        return torch.cat([one.to(torch.float64 if wide else torch.float32) for one in told])

    def _read(self, note: torch.Tensor, names: Sequence[str]) -> None:
        """Take the means over all virtual ranks."""
        at, first = len(self.layout.parameters), self.leaves[0].outputs
        self.outputs = first
        if names:
            means = {name: note[at + place].clone() for place, name in enumerate(names)}
            self.outputs = {
                name: means[name].to(value.dtype) if name in means else value for name, value in first.items()
            }
        self.buffers.end(note[at + len(names) :])


class _Backward(torch.autograd.Function):
    """A loss whose backward pass is a function of ours."""

    @staticmethod
    def forward(ctx: Any, anchor: torch.Tensor, loss: torch.Tensor, work: Callable[[torch.Tensor], None]) -> Any:
        ctx.work = work
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *factors: torch.Tensor) -> Any:
        with torch.enable_grad():
            ctx.work(factors[0])
        return None, None, None


def _numbers(outputs: object) -> list[str]:
    """Return the names of those outputs of a step that are averaged over the ranks."""
    if not isinstance(outputs, Mapping):
        return []
    tensors = {name: value for name, value in outputs.items() if isinstance(value, torch.Tensor)}
    return [name for name, value in tensors.items() if value.is_floating_point() and value.numel() == 1]


class ExactWorld:
    """How the model is trained where `randomness.world` is 'exact', whatever `strategy` says.

    Args:
        ranks: How many virtual ranks there are.
    """

    shards = False

    def __init__(self, ranks: int) -> None:
        self.ranks, self.meeting = ranks, RankMeeting()
        self.said: list[str] = []  # for the log of the run, which hears of a logger only while it trains

    def wrap(self, model: nn.Module, world: World, device: torch.device) -> nn.Module:
        """Return the model with a step for virtual ranks; one without anything to train stays as it is."""
        if not any(parameter.requires_grad for parameter in model.parameters()):
            return model
        wrapped = ExactDataParallel(model, self.ranks, world, self.meeting)
        where = f"{len(wrapped.own)} in each of {world.size} processes" if world.size > 1 else "all in one process"
        self.said.append(f"world='exact': {self.ranks} virtual ranks, {where}")
        return wrapped

    def align(self, model: nn.Module) -> None:
        """Give all processes the weights and buffers of rank 0."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            align_ranks(model)

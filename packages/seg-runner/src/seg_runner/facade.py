"""What hooks and loops read off the runner. Reading builds nothing: what is not there yet is None, or 0."""

from __future__ import annotations

from typing import Any

from seg_runner.assembly.arguments import Parts
from seg_runner.checkpoint.checkpoints import Checkpoints
from seg_runner.evaluation.ranks import started_as
from seg_runner.hooks.table import HookTable, Points
from seg_runner.loop.train import EpochBasedTrainLoop
from seg_runner.process.randomness import Randomness

__all__ = ["Facade"]


class Facade:
    """The readable side of a runner: where it stands, which loaders and loops it has."""

    parts: Parts
    table: HookTable
    loops: dict[str, Any]
    loaders: dict[str, Any]
    randomness: Randomness
    checkpoints: Checkpoints

    @property
    def points(self) -> Points:
        """The hook table; `print(runner.points)` shows which hooks run at which point, in order."""
        return self.table.freeze()

    @property
    def hooks(self) -> list[Any]:
        """The hooks in the order in which they run."""
        return self.table.hooks

    @property
    def iter(self) -> int:
        """Finished training iterations; inside `after_train_iter` the step is not yet counted."""
        return getattr(self.loops["train"], "iter", 0)

    @property
    def epoch(self) -> int:
        """Finished epochs; stays 0 in iteration loops."""
        return getattr(self.loops["train"], "epoch", 0)

    @property
    def max_iters(self) -> int:
        """Iterations of the whole run; 0 where nothing is trained or the loop is not built yet."""
        return getattr(self.loops["train"], "max_iters", 0)

    @property
    def max_epochs(self) -> int:
        """Epochs of the whole run; 1 in iteration loops, 0 where nothing is trained."""
        return getattr(self.loops["train"], "max_epochs", 0)

    @property
    def finished_iters(self) -> int:
        """Iterations whose update is done, the one counted in which an `after_train_iter` hook asks."""
        return getattr(self.loops["train"], "finished_iters", self.iter)

    @property
    def finished_epochs(self) -> int:
        """Epochs whose last step is done, the one counted in which an `after_train_epoch` hook asks."""
        return getattr(self.loops["train"], "finished_epochs", self.epoch)

    @property
    def counts_epochs(self) -> bool:
        """Whether the training loop counts epochs rather than iterations."""
        return isinstance(self.loops["train"], EpochBasedTrainLoop)

    @property
    def train_loop(self) -> Any:
        """The training loop; None before `train()`."""
        return self.loops["train"]

    @property
    def val_loop(self) -> Any:
        """The validation loop; None where there is none, or not yet."""
        return self.loops["val"]

    @property
    def test_loop(self) -> Any:
        """The test loop; None where there is none, or not yet."""
        return self.loops["test"]

    @property
    def train_dataloader(self) -> Any:
        """The loader of training batches: the user's own object where one was given."""
        return self.loaders["train"]

    @property
    def val_dataloader(self) -> Any:
        """The loader of validation batches; with several named sets, of the one being run."""
        return getattr(self.loops["val"], "dataloader", self.loaders["val"])

    @property
    def test_dataloader(self) -> Any:
        """The loader of test batches."""
        return getattr(self.loops["test"], "dataloader", self.loaders["test"])

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.randomness.seed

    @property
    def deterministic(self) -> bool:
        """Whether only deterministic operations may be used."""
        return bool(self.randomness.deterministic)

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        return started_as()[0]

    @property
    def world_size(self) -> int:
        """How many processes train together."""
        return started_as()[1]

    @property
    def distributed(self) -> bool:
        """Whether there are several processes."""
        return self.world_size > 1

    @property
    def resuming(self) -> bool:
        """Whether the run is being put where a checkpoint stands right now."""
        return self.checkpoints.resuming

    @property
    def resumed(self) -> bool:
        """Whether the run goes on from a checkpoint."""
        return self.checkpoints.resumed

    @property
    def run_id(self) -> object:
        """The name of the run in its checkpoints, kept over resumes; None before the first."""
        return self.checkpoints.identity.run_id

    @property
    def log_interval(self) -> int:
        """Iterations between two plain lines."""
        return int(self.parts["log_interval"])

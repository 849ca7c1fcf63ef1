"""Read by the type checker only: what fits the Protocols of seg-hooks."""

from __future__ import annotations

from seg_hooks import TrainState
from seg_hooks.protocols import Data, Describes, HasModel, Hub, Logs, Progress, Resumes, Saves, Stops, Updates
from seg_runner import Runner


def runner_fits(runner: Runner) -> tuple[Progress, HasModel, Updates, Logs, Saves, Resumes, Data, Stops]:
    """seg-runner's Runner is what hooks expect."""
    return runner, runner, runner, runner, runner, runner, runner, runner


def runner_describes_itself(runner: Runner) -> Describes:
    """What RuntimeInfoHook keeps of a run."""
    return runner


def train_state_fits(state: TrainState) -> tuple[Progress, HasModel, Updates, Logs, Saves, Resumes, Data, Stops]:
    """So is TrainState, in anybody's own loop."""
    return state, state, state, state, state, state, state, state


def train_state_describes_itself(state: TrainState) -> Describes:
    """What RuntimeInfoHook keeps of a run."""
    return state


def hubs_fit(runner: Runner, state: TrainState) -> tuple[Hub, Hub]:
    """Both message hubs are what hooks write into."""
    return runner.message_hub, state.message_hub

from __future__ import annotations

import math

import torch
from seg_runner import MessageHub
from seg_runner.log.history import LossWatch


def test_the_watch_counts_over_log_points_and_resumes():
    hub, watch = MessageHub(), LossWatch()
    for _ in range(3):
        hub.update_scalars({"train/loss": torch.tensor(1.0), "train/lr": math.nan, "val/loss": math.nan})
    assert watch.first(hub.log_scalars, 3) is None
    for value in (1.0, math.inf, 1.0):
        hub.update_scalars({"train/loss": torch.tensor(value)})
    assert watch.first(hub.log_scalars, 6) == (5, ["loss"])
    assert watch.first(hub.log_scalars, 6) is None
    resumed = MessageHub()
    resumed.load_state_dict(hub.state_dict())
    assert LossWatch().first(resumed.log_scalars, 6) is None  # that was told by the run before
    resumed.update_scalar("train/loss", math.nan)
    assert LossWatch().first(resumed.log_scalars, 7) == (7, ["loss"])

"""auto_scale_lr: rates follow the batch size, which is read where it stands."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import torch
from seg_runner.assembly.auto_scale_lr import batch_size_of, scale_lr
from seg_runner.assembly.fallback import FallbackOptimWrapper
from torch import nn


def test_rates_follow_the_batch_size() -> None:
    wrapper = FallbackOptimWrapper(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1))
    runner = SimpleNamespace(data_ranks=1, logger=logging.getLogger("quiet"), param_schedulers=[])
    scale_lr(wrapper, {"enable": True, "base_batch_size": 16}, 4, runner)
    assert wrapper.get_lr() == {"lr": [0.025]}
    scale_lr(wrapper, {"enable": False, "base_batch_size": 16}, 4, runner)
    scale_lr(wrapper, None, 4, runner)
    assert wrapper.get_lr() == {"lr": [0.025]}
    with pytest.raises(ValueError, match="needs base_batch_size"):
        scale_lr(wrapper, {"enable": True}, 4, runner)
    with pytest.raises(ValueError, match="cannot see the batch size"):
        scale_lr(wrapper, {"enable": True, "base_batch_size": 16}, None, runner)


def test_the_batch_size_is_read_where_it_stands() -> None:
    loader = torch.utils.data.DataLoader([1, 2, 3], batch_size=3)
    assert batch_size_of({}, loader) == 3
    batched = torch.utils.data.DataLoader([1, 2, 3], batch_sampler=loader.batch_sampler)
    assert batch_size_of({}, batched) == 3
    assert batch_size_of({"train_dataloader": {"batch_size": 5}}, [1]) == 5
    assert batch_size_of({}, [1]) is None

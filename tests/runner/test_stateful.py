"""torchdata's StatefulDataLoader, the real one, used as it is: order and position come from its own state."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from seg_runner import IoUMetric, TrainBatches
from seg_runner.data.prefetch import prefetched
from seg_runner.process.randomness import Randomness
from torch.utils.data import DataLoader

stateful = pytest.importorskip("torchdata.stateful_dataloader")
pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata 0.11 on a newer torch
RUN = Randomness(seed=5)
WAYS = [(0, False), (2, False), (2, True)]


def loader_of(data, workers, persistent, seed=3):
    torch.manual_seed(seed)
    options = {"num_workers": workers, "persistent_workers": persistent}
    return stateful.StatefulDataLoader(data, 4, shuffle=True, **options)


def take(batches, count):
    return [batch.tolist() for batch in islice(batches, count)]


@pytest.mark.parametrize(("workers", "persistent"), WAYS)
def test_it_goes_on_where_it_stood(workers, persistent):
    data = torch.arange(30)
    batches = TrainBatches(loader_of(data, workers, persistent), RUN)
    whole = take(batches, 20)
    batches.close()
    assert sorted(index for batch in whole[:8] for index in batch) == list(range(30))
    cut = TrainBatches(loader_of(data, workers, persistent), RUN)
    assert take(cut, 11) == whole[:11]
    state = cut.state_dict()
    cut.close()
    assert take(cut, 2) == whole[11:13], "closing stops the workers, nothing else"
    cut.close()
    other = TrainBatches(loader_of(data, workers, persistent, seed=99), RUN)
    assert other.load_state_dict(state) == []
    assert take(other, 9) == whole[11:]
    assert other.notes == []
    other.close()


def test_nothing_is_read_ahead_of_its_state():
    batches = TrainBatches(loader_of(torch.arange(30), 0, False), RUN)
    assert prefetched(batches, "cuda", RUN) is batches


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_is_resumed_equals_one_that_was_not(make_runner, squares, tmp_path, workers):
    def run(work_dir, **changed):
        loader = loader_of(squares(), workers, False)
        val = {"val_dataloader": DataLoader(squares(seed=1), 4), "val_evaluator": IoUMetric(num_classes=3)}
        runner = make_runner(work_dir=tmp_path / work_dir, train_dataloader=loader, **val, **changed)
        runner.train()
        return runner

    whole = run("whole", train_cfg={"max_iters": 8, "val_interval": 4})
    run("cut", train_cfg={"max_iters": 4, "val_interval": 4})
    cut = run("cut", train_cfg={"max_iters": 8, "val_interval": 4}, resume=True, strict_resume=True)
    assert cut.iter == 8
    for one, other in zip(whole.model.parameters(), cut.model.parameters(), strict=True):
        assert torch.equal(one, other)

from __future__ import annotations

import random
import warnings
from itertools import islice

import numpy as np
import pytest
import torch
from seg_runner import ClassBalancedSampler, DefaultSampler, InfiniteSampler, TrainBatches
from seg_runner.process.randomness import Randomness, seed_everything
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, WeightedRandomSampler

RUN = Randomness(seed=5)
SAMPLERS = {
    "torch shuffle": None,
    "default": lambda data: DefaultSampler(data, seed=5),
    "infinite": lambda data: InfiniteSampler(data, seed=5),
    "balanced": lambda data: ClassBalancedSampler(data, 0.5, presence=np.eye(len(data)), seed=5),
    "weighted": lambda data: WeightedRandomSampler(torch.ones(len(data)), len(data)),
    "own generator": lambda data: RandomSampler(data, True, len(data), generator=torch.Generator()),
}


class Noise(Dataset):
    """Each sample: its index, and a number from every kind of generator."""

    def __init__(self, size: int = 30) -> None:
        self.size, self.own, self.reads = size, np.random.default_rng(0), 0

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> torch.Tensor:
        self.reads += 1
        values = [index, random.random(), np.random.rand(), torch.rand(()).item(), self.own.random()]
        return torch.tensor(values, dtype=torch.float64)


def loader_of(sampler=None, workers=0, persistent=False, batch_size=4, **options):
    data = Noise()
    options["sampler" if sampler else "shuffle"] = sampler(data) if sampler else True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two cores, four workers
        return DataLoader(
            data, batch_size, num_workers=workers, persistent_workers=persistent and workers > 0, **options
        )


def take(loader, count, start=None, run=RUN, **ranks):
    """`count` batches, each with a number that the step after it would draw; and the state behind them."""
    batches = TrainBatches(loader, run, **ranks)
    if isinstance(start, dict):
        batches.load_state_dict(start)
    elif start:
        batches.seek(start)
    found = [torch.cat([next(batches).flatten(), torch.rand(1, dtype=torch.float64)]) for _ in range(count)]
    state = batches.state_dict()
    batches.close()
    return found, state


def same(one, other):
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_resumed_stream_goes_on_exactly(name):
    whole, _ = take(loader_of(SAMPLERS[name]), 20)
    first, state = take(loader_of(SAMPLERS[name]), 11)
    assert same(first, whole[:11])
    rest, _ = take(loader_of(SAMPLERS[name]), 9, state)
    assert same(rest, whole[11:])
    sought, _ = take(loader_of(SAMPLERS[name]), 9, 11)
    assert same(sought, whole[11:])


@pytest.mark.parametrize(("workers", "persistent"), [(2, False), (2, True), (4, False), (4, True)])
def test_the_stream_does_not_depend_on_workers(workers, persistent):
    whole, _ = take(loader_of(), 20)
    many, state = take(loader_of(None, workers, persistent), 11)
    assert same(many, whole[:11])
    rest, _ = take(loader_of(None, workers, persistent), 9, state)
    assert same(rest, whole[11:])


@pytest.mark.parametrize("name", ["torch shuffle", "default", "infinite"])
@pytest.mark.parametrize("ranks", [2, 4])
def test_the_stream_does_not_depend_on_ranks(name, ranks):
    count = 7 if name != "infinite" else 20
    whole, _ = take(loader_of(SAMPLERS[name]), count)
    parts = [
        take(loader_of(SAMPLERS[name], batch_size=4 // ranks), count, rank=rank, world_size=ranks)[0]
        for rank in range(ranks)
    ]
    for number, batch in enumerate(whole):
        rows = {tuple(row) for row in batch[:-1].view(-1, 5).tolist()}
        assert {tuple(row) for part in parts for row in part[number][:-1].view(-1, 5).tolist()} == rows


def test_resuming_reads_none_of_the_skipped_samples():
    loader = loader_of()
    take(loader, 3, 10_000)
    assert loader.dataset.reads == 4 * 3


class Counted(Noise):
    """Counts reads over all processes."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = torch.zeros(30, dtype=torch.int64).share_memory_()

    def __getitem__(self, index):
        self.shared[index] += 1
        return super().__getitem__(index)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_read_only_what_is_left_of_a_pass(workers):
    data = Counted()
    batches = TrainBatches(DataLoader(data, 4, sampler=DefaultSampler(data, seed=5), num_workers=workers), RUN)
    batches.seek(8 * 1000 + 5)
    seen = sorted(int(row[0]) for batch in islice(batches, 3) for row in batch)
    batches.close()
    assert data.shared.sum() == 10
    assert data.shared.nonzero().flatten().tolist() == seen


def test_batch_size_and_ranks_may_change_without_repeats_or_gaps():
    first, state = take(loader_of(), 3)
    rest, _ = take(loader_of(batch_size=6), 3, state)
    seen = [row[0] for batch in first + rest for row in batch[:-1].view(-1, 5).tolist()]
    assert sorted(seen) == list(range(30))


def test_passes_differ_and_so_do_the_numbers_of_a_sample():
    batches, _ = take(loader_of(), 16)
    rows = [row for batch in batches for row in batch[:-1].view(-1, 5).tolist()]
    assert [row[0] for row in rows[:30]] != [row[0] for row in rows[30:60]]
    assert sorted(row[0] for row in rows[:30]) == sorted(row[0] for row in rows[30:60])
    assert len({tuple(row) for row in rows}) == 60


def test_a_sample_shown_twice_in_a_pass_gets_new_numbers():
    found, _ = take(loader_of(lambda data: WeightedRandomSampler([1.0] + [1e-9] * 29, 30)), 7)
    rows = [tuple(row) for batch in found for row in batch[:-1].view(-1, 5).tolist()]
    assert len(set(rows)) == len(rows)


def test_drop_last_and_a_loader_without_batches():
    found, _ = take(loader_of(drop_last=True), 8)
    assert {batch.numel() for batch in found} == {21}
    unbatched = DataLoader(Noise(), batch_size=None, shuffle=True)
    whole, _ = take(unbatched, 40)
    assert same(take(unbatched, 5, 35)[0], whole[35:])


class Pairs:
    """A batch sampler of a user's own: shuffled pairs, from the global generator."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __iter__(self):
        order = list(range(self.size))
        random.shuffle(order)
        return iter([order[i : i + 2] for i in range(0, self.size, 2)])

    def __len__(self) -> int:
        return self.size // 2


def test_a_batch_sampler_of_the_users_own():
    def make():
        return DataLoader(Noise(10), batch_sampler=Pairs(10))

    whole, _ = take(make(), 12)
    _, state = take(make(), 7)
    assert same(take(make(), 5, state)[0], whole[7:])
    assert same(take(make(), 5, 7)[0], whole[7:])
    halves = [take(make(), 2, rank=rank, world_size=2)[0] for rank in (0, 1)]
    assert torch.equal(halves[1][0][:-1], whole[1][:-1])


def test_a_subclass_of_torchs_batch_sampler_is_asked_itself():
    class Backwards(BatchSampler):
        def __iter__(self):
            return iter(list(super().__iter__())[::-1])

    loader = DataLoader(Noise(), batch_sampler=Backwards(range(30), 4, True))
    found, _ = take(loader, 7)
    assert found[0][0] == 24


def test_a_seed_of_the_samplers_own_is_kept_over_resumes():
    def make():
        return loader_of(lambda data: DefaultSampler(data, seed=99))

    whole, _ = take(make(), 12)
    _, state = take(make(), 5)
    other = Randomness(seed=123, chosen=False)
    assert same(take(make(), 7, state, run=other)[0], whole[5:])


def test_a_drawn_seed_follows_the_checkpoint():
    whole, _ = take(loader_of(SAMPLERS["default"]), 12)
    _, state = take(loader_of(SAMPLERS["default"]), 5)
    fresh = Randomness(seed=77, chosen=False)
    loader = loader_of(lambda data: DefaultSampler(data, seed=77))
    assert same(take(loader, 7, state, run=fresh)[0], whole[5:])


def test_the_position_inside_a_step_is_that_of_the_finished_step():
    batches = TrainBatches(loader_of(), RUN)
    list(islice(batches, 5))
    assert batches.state_dict(4)["position"] != batches.state_dict(5)["position"]
    assert batches.state_dict(5) == batches.state_dict()


def test_a_fresh_pass_on_request():
    _, state = take(loader_of(), 10)
    batches = TrainBatches(loader_of(), RUN)
    batches.restart(state)
    assert batches.iteration == 10
    seen = [row[0] for batch in islice(batches, 8) for row in batch.tolist()]
    assert sorted(seen) == list(range(30))


def test_changes_since_are_named():
    _, state = take(loader_of(), 2)
    data = DataLoader(Noise(12), 4)
    changes = TrainBatches(data, RUN).changes(state)
    assert len(changes) == 1
    assert "length" in changes[0]
    assert TrainBatches(loader_of(batch_size=5), RUN).changes(state) == ["data: batch_size was 4, now 5"]


# ------------------------------------------------------------------------------------------ other kinds of loaders


def test_any_iterable_of_batches():
    batches = TrainBatches([1, 2, 3], RUN)
    assert list(islice(batches, 7)) == [1, 2, 3, 1, 2, 3, 1]
    assert batches.batches_per_pass == 3
    again = TrainBatches([1, 2, 3], RUN)
    again.load_state_dict(batches.state_dict())
    assert [next(again), next(again)] == [2, 3]
    again.close()
    assert next(again) == 1


def test_a_generator_is_used_up_with_a_clear_error():
    batches = TrainBatches((i for i in range(2)), RUN)
    assert [next(batches), next(batches)] == [0, 1]
    assert batches.batches_per_pass is None
    with pytest.raises(ValueError, match="used up"):
        next(batches)


class Stream(IterableDataset):
    def __iter__(self):
        for number in range(10):
            yield torch.tensor([number, random.random()], dtype=torch.float64)


def test_a_stream_without_indices_is_read_again(caplog):
    def make():
        return DataLoader(Stream(), 2)

    whole, _ = take(make(), 12)
    _, state = take(make(), 8)
    rest, _ = take(make(), 4, state)
    assert same(rest, whole[8:])
    assert "reading 3 batches again" in caplog.text


class KnowsItsState:
    """Of the shape of torchdata's StatefulDataLoader."""

    def __init__(self) -> None:
        self.at = 0

    def __len__(self) -> int:
        return 5

    def __iter__(self):
        start, self.at = (self.at, self.at) if self.at < 5 else (0, 0)
        for number in range(start, 5):
            self.at = number + 1
            yield number

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


def test_a_loader_with_a_state_is_used_as_it_is():
    batches = TrainBatches(KnowsItsState(), RUN)
    assert list(islice(batches, 7)) == [0, 1, 2, 3, 4, 0, 1]
    again = TrainBatches(KnowsItsState(), RUN)
    again.load_state_dict(batches.state_dict())
    assert [next(again) for _ in range(4)] == [2, 3, 4, 0]
    assert again.notes == []
    batches.close()
    assert next(batches) == 2


def test_a_stateful_loader_without_a_saved_state_says_so():
    batches = TrainBatches(KnowsItsState(), RUN)
    batches.seek(3)
    assert "none of it" in batches.notes[0]


def test_the_reference_stream_uses_the_loader_and_the_global_generators():
    run = Randomness(seed=5, stream="mmengine")
    torch.manual_seed(0)
    expected = list(islice(loader_of(SAMPLERS["infinite"]), 5))
    torch.manual_seed(0)
    batches = TrainBatches(loader_of(SAMPLERS["infinite"]), run)
    batches.open()
    found = list(islice(batches, 5))
    assert [b[:, 0].tolist() for b in found] == [b[:, 0].tolist() for b in expected]
    assert "global generators" in batches.notes[0]


def test_the_stream_of_the_fork_starts_the_loader_with_its_first_batch():
    drawn = {}
    for stream in ("mmengine", "onedl"):
        torch.manual_seed(0)
        TrainBatches(loader_of(SAMPLERS["infinite"]), Randomness(seed=5, stream=stream)).open()
        drawn[stream] = torch.rand(()).item()
    torch.manual_seed(0)
    assert drawn["onedl"] == torch.rand(()).item()
    assert drawn["mmengine"] != drawn["onedl"]


@pytest.mark.parametrize("name", ["default", "infinite"])
def test_the_reference_stream_reads_again_what_it_has_read(name):
    """MMEngine does, so the global generators stand where they stand there."""
    run = Randomness(seed=5, stream="mmengine")
    seed_everything(run)
    first = TrainBatches(loader_of(SAMPLERS[name]), run)
    first.open()
    whole = list(islice(first, 14))
    seed_everything(run)
    loader = loader_of(SAMPLERS[name])
    batches = TrainBatches(loader, run)
    batches.open()
    batches.seek(10)
    before = batches.source.position
    assert all(map(torch.equal, list(islice(batches, 4)), whole[10:]))
    assert batches.source.position == first.source.position
    assert before["taken"] == 10


@pytest.mark.parametrize("name", ["default", "infinite"])
def test_the_stream_of_the_fork_keeps_its_order_over_a_resume(name):
    run = Randomness(seed=5, stream="onedl")
    whole = [b[:, 0].tolist() for b in islice(TrainBatches(loader_of(SAMPLERS[name]), run), 14)]
    loader = loader_of(SAMPLERS[name])
    batches = TrainBatches(loader, run)
    batches.seek(10)
    assert [b[:, 0].tolist() for b in islice(batches, 4)] == whole[10:]
    assert loader.dataset.reads <= 16


# ------------------------------------------------------------------------------------------------------ failures


class Broken(Noise):
    images = tuple(f"city/{i}.png" for i in range(30))

    def __getitem__(self, index):
        if index == 17:
            raise OSError("cannot read")
        return super().__getitem__(index)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_failing_sample_is_named(workers):
    batches = TrainBatches(DataLoader(Broken(), 4, num_workers=workers), RUN)
    with pytest.raises(OSError, match="cannot read") as caught:
        list(islice(batches, 8))
    text = str(caught.value) + "".join(getattr(caught.value, "__notes__", []))
    assert "sample 17 of Broken (city/17.png) in pass 0" in text
    batches.close()


class Deadly(Noise):
    def __getitem__(self, index):
        if index == 17:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def test_a_killed_worker_is_named_with_what_it_was_reading():
    batches = TrainBatches(DataLoader(Deadly(), 4, num_workers=1), RUN)
    with pytest.raises(RuntimeError, match="sample 17 of Deadly in pass 0"):
        list(islice(batches, 8))


class Stops(Noise):
    def __getitem__(self, index):
        raise StopIteration


def test_no_sample_ends_the_stream_without_a_word():
    with pytest.raises(RuntimeError, match="raised StopIteration") as caught:
        list(TrainBatches(DataLoader(Stops(), 4), RUN))
    assert "sample 0 of Stops in pass 0" in "".join(caught.value.__cause__.__notes__)


def test_an_empty_data_set_is_an_error():
    with pytest.raises(ValueError, match="gives no batch"):
        next(TrainBatches(DataLoader(Noise(3), 4, drop_last=True), RUN))
    with pytest.raises(ValueError, match="gives no batch"):
        next(TrainBatches([], RUN))


def test_the_last_samples_are_known():
    batches = TrainBatches(DataLoader(Broken(), 4), RUN)
    assert batches.last_samples() == []
    next(batches)
    assert batches.last_samples(2) == [f"sample {i} of Broken (city/{i}.png)" for i in (0, 1)]


def test_the_users_worker_init_and_attributes_stay():
    class Named(Noise):
        metainfo = {"classes": ("a",)}

    loader = DataLoader(Named(), 4)
    batches = TrainBatches(loader, RUN)
    assert batches.loader is loader
    assert batches.source._dataset.metainfo == {"classes": ("a",)}

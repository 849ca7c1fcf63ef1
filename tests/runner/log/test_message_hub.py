"""The message hub: what is stored, what it costs, and that nothing is read before somebody asks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seg_runner import MessageHub
from seg_runner.log.history import GATHER, HistoryBuffer
from seg_runner.log.message_hub import PENDING

READS = {"item", "tolist", "cpu", "numpy", "__float__", "__int__", "__bool__", "to", "__index__", "__array__"}


class Watched(torch.Tensor):
    """A tensor that writes down each time it is brought over to the host."""

    transfers: list[str] = []

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in READS:
            cls.transfers.append(name)
        return super().__torch_function__(func, types, args, kwargs or {})


@pytest.fixture
def transfers() -> list[str]:
    Watched.transfers = []
    return Watched.transfers


def watched(value: float) -> torch.Tensor:
    return torch.tensor(value).as_subclass(Watched)


def test_nothing_is_read_until_somebody_asks_and_then_all_at_once(transfers: list[str]) -> None:
    hub = MessageHub()
    for step in range(50):
        hub.update_scalar("train/lr", 0.1)
        hub.update_scalars({f"train/loss_{index}": watched(step + index) for index in range(5)})
        hub.update_info("iter", step)
    assert transfers == []
    assert hub.get_scalar("train/loss_3").mean(2) == (51 + 52) / 2
    assert transfers == ["tolist"]
    assert hub.get_scalar("train/loss_4").current() == 53
    assert transfers == ["tolist"]


def test_single_updates_wait_as_well(transfers: list[str]) -> None:
    hub = MessageHub()
    for step in range(20):
        hub.update_scalar("train/loss", watched(step))
    assert transfers == []
    assert hub.log_scalars["train/loss"].max() == 19
    assert transfers == ["tolist"]


def test_waiting_updates_are_bounded(transfers: list[str]) -> None:
    hub = MessageHub()
    for _ in range(3 * PENDING + 5):
        hub.update_scalars({"a": watched(1.0), "b": watched(2.0)})
    assert len(transfers) == 3
    assert hub.get_scalar("a").updates == 3 * PENDING + 5


def test_numbers_that_nobody_reads_are_bounded_too() -> None:
    hub = MessageHub(max_length=100)
    for step in range(3 * GATHER + 5):
        hub.update_scalar("a", float(step))
    history = hub.get_scalar("a")
    assert len(history.added) <= GATHER
    assert (history.updates, history.current(), history.min()) == (3 * GATHER + 5, 3 * GATHER + 4, 0)


def test_a_later_change_in_place_does_not_show_and_no_graph_is_kept() -> None:
    hub = MessageHub()
    weight = torch.ones(4, requires_grad=True)
    loss = (weight * 2).sum()
    hub.update_scalars({"loss": loss})
    with torch.no_grad():
        loss.mul_(100)
    assert not hub._pending[0][2].requires_grad
    assert hub.get_scalar("loss").current() == 8


def test_order_is_first_seen_whatever_the_kind_of_value() -> None:
    hub = MessageHub()
    hub.update_scalar("train/lr", 0.1)
    hub.update_scalars({"train/loss": torch.tensor(1.0)})
    hub.update_scalar("train/time", 0.5)
    assert list(hub.log_scalars) == ["train/lr", "train/loss", "train/time"]


def test_a_key_may_change_between_numbers_and_tensors() -> None:
    hub = MessageHub()
    for value in (1.0, torch.tensor(2.0), 3, np.float32(4), torch.tensor([5]), np.array([6.0]), True):
        hub.update_scalar("x", value)
    assert hub.get_scalar("x").data[0].tolist() == [1, 2, 3, 4, 5, 6, 1]


def test_mixed_dtypes_are_kept_exactly() -> None:
    hub = MessageHub()
    big = 2**24 + 1
    hub.update_scalars({"a": torch.tensor(big), "b": torch.tensor(0.1, dtype=torch.float64), "c": torch.tensor([0.5])})
    assert [hub.get_scalar(key).current() for key in "abc"] == [big, 0.1, 0.5]


def test_counts() -> None:
    hub = MessageHub()
    hub.update_scalars({"d": {"value": 6.0, "count": 3}})
    hub.update_scalar("d", torch.tensor(2.0), count=1)
    assert hub.get_scalar("d").mean() == 2.0


@pytest.mark.parametrize(
    ("value", "error"), [("a", TypeError), (None, TypeError), (torch.ones(2), ValueError), (np.ones(3), ValueError)]
)
def test_what_is_no_number_is_refused_with_its_name(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="train/loss"):
        MessageHub().update_scalar("train/loss", value)


def test_other_mistakes() -> None:
    hub = MessageHub()
    hub.update_scalar("a", 1.0)
    with pytest.raises(ValueError, match="keep to one"):
        hub.update_scalar("a", 1.0, resumed=False)
    with pytest.raises(ValueError, match="keep to one"):
        hub.update_scalars({"a": torch.tensor(1.0)}, resumed=False)
    with pytest.raises(KeyError, match="there are: a"):
        hub.get_scalar("b")
    with pytest.raises(TypeError, match="dict"):
        hub.update_scalars([1])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="dict"):
        hub.update_info_dict([1])  # type: ignore[arg-type]


def test_notes() -> None:
    hub = MessageHub()
    hub.update_info("a", 1)
    hub.update_info_dict({"b": [2]})
    assert hub.get_info("a") == 1
    assert hub.get_info("c", "none") == "none"
    assert hub.pop_info("a") == 1
    assert hub.pop_info("a", 5) == 5
    assert hub.runtime_info == {"b": [2]}


def test_a_note_and_a_scalar_may_share_a_name() -> None:
    hub = MessageHub()
    hub.update_info("x", "text")
    hub.update_scalars({"x": torch.tensor(1.0)})
    assert hub.get_scalar("x").current() == 1.0


def test_the_state_is_plain_and_loads_with_weights_only(tmp_path: Any) -> None:
    hub = MessageHub(state_length=3)
    for step in range(5):
        hub.update_scalars({"train/loss": torch.tensor(float(step))})
    hub.update_scalar("secret", 1.0, resumed=False)
    hub.update_info_dict(
        {"best": np.float32(0.5), "meta": {"classes": ("a", "b")}, "ids": [1, np.int64(2)], "odd": object()}
    )
    hub.update_info("scratch", 1, resumed=False)
    state = hub.state_dict()
    assert state["log_scalars"] == {"train/loss": [2.0, 3.0, 4.0]}
    assert state["runtime_info"] == {"best": 0.5, "meta": {"classes": ("a", "b")}, "ids": [1, 2]}
    assert state["resumed_keys"] == {}
    torch.save(state, tmp_path / "hub.pth")
    again = MessageHub()
    again.load_state_dict(torch.load(tmp_path / "hub.pth", weights_only=True))
    assert again.get_scalar("train/loss").mean(2) == 3.5
    assert again.get_info("meta") == {"classes": ("a", "b")}


def test_counts_survive_a_checkpoint() -> None:
    hub, again = MessageHub(), MessageHub()
    hub.update_scalar("d", 6.0, count=3)
    again.load_state_dict(hub.state_dict())
    assert again.get_scalar("d").mean() == 2.0


def test_means_over_everything_survive_a_checkpoint() -> None:
    hub, again = MessageHub(state_length=5), MessageHub()
    for step in range(100):
        hub.update_scalar("train/loss", float(step))
    again.load_state_dict(hub.state_dict())
    for one in (hub, again):
        one.update_scalar("train/loss", 100.0)
        history = one.get_scalar("train/loss")
        assert (history.mean(), history.min(), history.max(), history.mean(3)) == (50.0, 0.0, 100.0, 99.0)


def test_as_many_values_are_saved_as_somebody_reads() -> None:
    hub, again = MessageHub(state_length=5), MessageHub()
    for step in range(100):
        hub.update_scalar("train/loss", float(step))
    assert hub.get_scalar("train/loss").mean(40) == 79.5
    again.load_state_dict(hub.state_dict())
    assert again.get_scalar("train/loss").mean(40) == 79.5


def test_states_of_the_reference_are_read() -> None:
    class Foreign:
        def __init__(self) -> None:
            self._log_history = np.array([1.0, 4.0])
            self._count_history = np.array([1, 1])

    hub = MessageHub()
    hub.load_state_dict({"log_scalars": {"a": Foreign(), "b": object()}, "runtime_info": {"iter": 3}})
    assert list(hub.log_scalars) == ["a"]
    assert hub.get_scalar("a").mean() == 2.5
    assert hub.get_info("iter") == 3
    with pytest.raises(TypeError, match="dict"):
        hub.load_state_dict([])


def test_two_hubs_never_mix() -> None:
    one, two = MessageHub(), MessageHub()
    one.update_scalar("a", 1.0)
    assert list(two.log_scalars) == []


def test_memory_is_bounded_and_totals_stay_exact() -> None:
    history = HistoryBuffer(max_length=100)
    for value in range(10_000):
        history.update(float(value))
    assert len(history.data[0]) == 100
    assert len(history._values) < 200
    assert history.mean() == 4999.5
    assert (history.min(), history.max()) == (0, 9999)
    assert history.mean(50) == 9974.5


@pytest.mark.parametrize("window", [None, 0, -5, 1000, 5000])
def test_a_window_over_everything_counts_what_is_no_longer_kept(window: int | None) -> None:
    history = HistoryBuffer(max_length=10)
    history.extend([float(value) for value in range(1000)], [2] * 1000)
    assert history.mean(window) == 499.5 / 2
    assert (history.min(window), history.max(window)) == (0, 999)
    assert history.mean(999) == sum(range(990, 1000)) / 20  # of this many only the kept ones are known


@pytest.mark.parametrize("portion", [1, 7])
def test_the_buffer_is_cut_when_it_is_twice_as_long_as_asked(portion: int) -> None:
    """So an update costs the same on average, and a run of any length the same memory."""
    history = HistoryBuffer(max_length=14)
    longest = 0
    for start in range(0, 700, portion):
        history.extend([float(start + index) for index in range(portion)], [1] * portion)
        assert len(history._values) == len(history._counts)
        assert len(history.data[0]) == min(start + portion, 14)
        longest = max(longest, len(history._values))
    assert longest == 28 - portion


def test_the_latest_value_is_read_before_and_after_it_is_taken_in() -> None:
    history = HistoryBuffer()
    for value in (1.0, 2.0, 3.0):
        history.update(value)
    assert history.current() == 3.0
    assert history.mean() == 2.0
    assert history.current() == 3.0


def test_a_portion_longer_than_the_buffer_leaves_its_end() -> None:
    history = HistoryBuffer(map(float, range(100)), range(100), max_length=3)
    assert len(history._values) == len(history._counts) == 3
    assert [part.tolist() for part in history.data] == [[97.0, 98.0, 99.0], [97, 98, 99]]


def test_a_window_that_grows_slowly_loses_nothing() -> None:
    history = HistoryBuffer(max_length=10)
    for length in range(1, 500):
        history.update(float(length))
        assert history.statistics("min", window_size=max(length - 1, 1)) == min(2, length)
        assert history.max_length == max(10, 2 * (length - 1))


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(1, 5)), min_size=1, max_size=40), st.integers(1, 50))
def test_statistics_equal_plain_numpy(pairs: list[tuple[float, int]], window: int) -> None:
    history = HistoryBuffer([value for value, _ in pairs], [count for _, count in pairs])
    values, counts = np.array([v for v, _ in pairs])[-window:], np.array([c for _, c in pairs])[-window:]
    assert history.mean(window) == pytest.approx(values.sum() / counts.sum(), abs=1e-6)
    assert history.max(window) == values.max()
    assert history.min(window) == values.min()
    assert history.current() == values[-1]


def test_registered_statistics_and_mistakes() -> None:
    def spread(history: HistoryBuffer, window_size: int | None = None) -> float:
        return history.max(window_size) - history.min(window_size)

    HistoryBuffer.register_statistics(spread)
    assert HistoryBuffer([1.0, 5.0, 4.0]).statistics("spread", window_size=2) == 1.0
    with pytest.raises(KeyError, match="register_statistics"):
        HistoryBuffer([1.0]).statistics("bogus")
    with pytest.raises(ValueError, match="empty"):
        HistoryBuffer().current()
    with pytest.raises(ValueError, match="counts"):
        HistoryBuffer([1.0], [1, 2])


@pytest.mark.parametrize("counts", [[1, 1, 1], [0, 1, 2], [2, 3, 1], [3, 0, 1]])
def test_each_value_keeps_its_count_in_its_place(counts: list[int]) -> None:
    history = HistoryBuffer()
    for value, count in enumerate(counts):
        history.update(float(value), count)
    values, kept = history.data
    assert (values.tolist(), kept.tolist()) == ([0.0, 1.0, 2.0], counts)
    assert history.mean() == 3.0 / sum(counts)


def test_a_step_only_appends_to_a_list() -> None:
    history = HistoryBuffer()
    history.update(1.0)
    assert history.added == [1.0]
    history.update(2.0, 3)
    assert history.added == []

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from seg_hooks.conversions import is_builtin
from seg_hooks.own_loop.log import train_record, train_text, val_record, val_text
from seg_hooks.own_loop.scalars import ScalarStore
from torch.utils._python_dispatch import TorchDispatchMode


class CountTransfers(TorchDispatchMode):
    """Counts how often values go to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += "local_scalar_dense" in str(func)
        return func(*args, **(kwargs or {}))


def test_values_are_read_back_in_order_and_the_window_is_kept() -> None:
    store = ScalarStore(window=3)
    for value in (1.0, torch.tensor(2.0), torch.tensor([3]), torch.tensor([[4.0]], dtype=torch.float64)):
        store.update_scalar("a", value)
    assert store.get_scalar("a") == [2.0, 3.0, 4.0]


def test_updating_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    store = ScalarStore()
    with CountTransfers() as transfers:
        for _ in range(20):
            store.update_scalars({"train/loss": torch.ones((), requires_grad=True), "train/acc": torch.ones(())})
    assert transfers.count == 0
    assert not store.scalars["train/loss"][0].requires_grad


def test_only_single_numbers_are_taken() -> None:
    with pytest.raises(ValueError, match=r"'a' is a tensor of shape \(2,\)"):
        ScalarStore().update_scalar("a", torch.ones(2))


def test_state_is_plain_and_leaves_out_what_belongs_to_the_session(tmp_path: Path) -> None:
    store = ScalarStore()
    store.update_scalars({"a": torch.tensor(1.5)})
    store.update_info_dict({"best": 0.5, "names": ["x"], "object": object()})
    store.update_info("pause", 3.0, resumed=False)
    torch.save(store.state_dict(), tmp_path / "state")
    state = torch.load(tmp_path / "state", weights_only=True)
    assert state == {
        "log_scalars": {"a": [1.5]},
        "runtime_info": {"best": 0.5, "names": ["x"]},
        "resumed_keys": {},
    }
    again = ScalarStore()
    again.load_state_dict(state)
    assert again.get_scalar("a") == [1.5]
    assert (again.get_info("best"), again.pop_info("best"), again.pop_info("best", 7)) == (0.5, 0.5, 7)


def test_forgetting_by_prefix() -> None:
    store = ScalarStore()
    store.update_scalars({"val/a": 1, "train/a": 1})
    store.forget("val/")
    assert list(store.scalars) == ["train/a"]


def test_what_is_plain() -> None:
    assert is_builtin({"a": [1, (2.0, None, "x", True)]})
    assert not any(map(is_builtin, (object(), {1: 2}, [torch.ones(1)], {"a": Path("x")})))


def test_losses_and_times_are_means_of_ten_and_the_rest_the_latest() -> None:
    store = ScalarStore()
    for value in range(20):
        store.update_scalars({"train/loss": value, "train/acc": value, "val/mIoU": value})
    assert train_record(store, 20) == {"loss": 14.5, "acc": 19.0, "iter": 20}
    assert val_record(store, "val") == {"mIoU": 19.0}


def test_lines_of_text() -> None:
    record = {"loss": 1.0, "b.lr": 0.1, "memory": 12, "iter": 5}
    assert (
        train_text(record, 100, -3.0)
        == "Iter(train) [  5/100]  b.lr: 1.0000e-01  eta: 0:00:00  memory: 12  loss: 1.0000"
    )
    assert val_text({}, "test", 5, 100) == "Iter(test) [5/100]  "

"""The log processor: records and lines as log readers expect them, checked against lines of the reference."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from seg_runner import LogProcessor, MessageHub
from seg_runner.log.history import HistoryBuffer


def a_run(**given: Any) -> Any:
    parts = {
        "message_hub": MessageHub(),
        "epoch": 0,
        "iter": 3,
        "max_epochs": 10,
        "max_iters": 100,
        "train_dataloader": range(10),
        "val_dataloader": range(5),
        "test_dataloader": range(7),
    }
    return SimpleNamespace(**(parts | given))


def train(hub: MessageHub, steps: int = 12) -> None:
    for step in range(steps):
        hub.update_scalars({"train/base_lr": 0.1 / (step + 1), "train/lr": 0.1 / (step + 1)})
        hub.update_scalars({"train/data_time": 0.01 * step})
        hub.update_scalars({"train/loss": torch.tensor(float(step)), "train/decode.acc_seg": torch.tensor(3.0 * step)})
        hub.update_scalar("train/time", 0.1 * step)
    hub.update_info("eta", 3725.4)


RATES = "base_lr: 8.3333e-03 lr: 8.3333e-03  eta: 1:02:05  time: 0.6500  data_time: 0.0650"


def test_a_training_line_of_an_epoch_run() -> None:
    run = a_run()
    train(run.message_hub)
    record, line = LogProcessor().get_log_after_iter(run, 3, "train")
    assert line == f"Epoch(train)  [1][ 4/10]  {RATES}  loss: 6.5000  decode.acc_seg: 33.0000"
    assert list(record) == ["base_lr", "lr", "data_time", "loss", "decode.acc_seg", "time", "epoch", "iter"]
    assert record["loss"] == 6.5
    assert (record["epoch"], record["iter"]) == (1, 4)


def test_a_training_line_of_an_iteration_run() -> None:
    run = a_run(iter=1, max_iters=10)
    train(run.message_hub)
    record, line = LogProcessor(by_epoch=False).get_log_after_iter(run, 1, "train")
    assert line == f"Iter(train) [ 2/10]  {RATES}  loss: 6.5000  decode.acc_seg: 33.0000"
    assert "epoch" not in record


@pytest.mark.parametrize(
    ("epoch", "total", "lead"), [(0, 1, " [1]"), (9, 10, " [10]"), (0, 10, "  [1]"), (8, 100, "   [9]")]
)
def test_the_epoch_is_as_wide_as_the_last_one(epoch: int, total: int, lead: str) -> None:
    run = a_run(epoch=epoch, max_epochs=total)
    assert LogProcessor().get_log_after_iter(run, 3, "train")[1].startswith(f"Epoch(train){lead}[ 4/10]  ")


def test_progress_of_validation_and_test() -> None:
    run = a_run(epoch=1)
    for mode in ("val", "test"):
        run.message_hub.update_scalars({f"{mode}/time": 0.05, f"{mode}/data_time": 0.025})
    run.message_hub.update_info("eta", 65)
    line = LogProcessor().get_log_after_iter(run, 1, "val")[1]
    assert line == "Epoch(val)  [1][2/5]    eta: 0:01:05  time: 0.0500  data_time: 0.0250  "
    line = LogProcessor().get_log_after_iter(run, 6, "test")[1]
    assert line == "Epoch(test) [7/7]    eta: 0:01:05  time: 0.0500  data_time: 0.0250  "
    line = LogProcessor(by_epoch=False).get_log_after_iter(run, 1, "val")[1]
    assert line == "Iter(val) [2/5]    eta: 0:01:05  time: 0.0500  data_time: 0.0250  "


def validated(**metrics: Any) -> Any:
    run = a_run(epoch=1)
    for value in (0.1, 0.1, 0.1, 0.1, 0.6):
        run.message_hub.update_scalars({"val/data_time": value / 2, "val/time": value})
    for name, value in metrics.items():
        run.message_hub.update_scalar(f"val/{name}", value)
    return run


def test_the_line_after_a_validation() -> None:
    run = validated(aAcc=31.06, mIoU=11.125)
    record, line = LogProcessor().get_log_after_epoch(run, 5, "val")
    assert line == "Epoch(val) [1][5/5]    aAcc: 31.0600  mIoU: 11.1250  data_time: 0.1000  time: 0.2000"
    assert list(record) == ["aAcc", "mIoU", "data_time", "time"]
    line = LogProcessor(by_epoch=False).get_log_after_epoch(run, 5, "val")[1]
    assert line.startswith("Iter(val) [5/5]    aAcc: 31.0600")


def test_what_is_no_number_is_in_the_line_and_on_request_in_the_record() -> None:
    run = validated(mIoU=1.0)
    run.message_hub.update_info("val/table", [1, 2])
    processor = LogProcessor()
    assert "mIoU: 1.0000  table: [1, 2]  data_time" in processor.get_log_after_epoch(run, 5, "val")[1]
    assert "table" not in processor.get_log_after_epoch(run, 5, "val")[0]
    record = processor.get_log_after_epoch(run, 5, "val", with_non_scalar=True)[0]
    assert list(record) == ["mIoU", "table", "data_time", "time"]


def test_times_are_those_of_this_validation_only() -> None:
    run = validated(mIoU=1.0)
    for _ in range(5):
        run.message_hub.update_scalars({"val/data_time": 1.0, "val/time": 2.0})
    record = LogProcessor().get_log_after_epoch(run, 5, "val")[0]
    assert (record["data_time"], record["time"]) == (1.0, 2.0)


def test_metrics_that_were_not_renewed_are_not_shown_again() -> None:
    run = validated(mIoU=1.0, old=2.0)
    processor = LogProcessor()
    processor.get_log_after_epoch(run, 5, "val")
    assert "old" in processor.get_log_after_epoch(run, 5, "val")[0]
    run.iter += 10
    run.message_hub.update_scalar("val/mIoU", 3.0)
    assert "old" not in processor.get_log_after_epoch(run, 5, "val")[0]


def test_a_loss_is_that_of_this_validation() -> None:
    run, processor = validated(val_loss=4.0), LogProcessor()
    assert processor.get_log_after_epoch(run, 5, "val")[0]["val_loss"] == 4.0
    run.iter += 10
    run.message_hub.update_scalar("val/val_loss", 2.0)
    assert processor.get_log_after_epoch(run, 5, "val")[0]["val_loss"] == 2.0
    run.iter += 10
    for value in (1.0, 2.0):
        run.message_hub.update_scalar("val/val_loss", value)
    for _ in range(2):
        assert processor.get_log_after_epoch(run, 5, "val")[0]["val_loss"] == 1.5


def test_a_resumed_run_does_not_show_what_the_checkpoint_held() -> None:
    before, run = validated(mIoU=1.0, val_loss=4.0), a_run()
    run.message_hub.load_state_dict(before.message_hub.state_dict())
    run.message_hub.update_scalar("val/val_loss", 2.0)
    assert LogProcessor().get_log_after_epoch(run, 5, "val")[0] == {"val_loss": 2.0}


def test_names_with_their_mode() -> None:
    run = validated(mIoU=3.0)
    processor = LogProcessor(log_with_hierarchy=True)
    record, line = processor.get_log_after_epoch(run, 5, "val")
    assert list(record) == ["val/mIoU", "val/data_time", "val/time"]
    assert "val/mIoU: 3.0000  val/data_time: 0.1000" in line
    train(run.message_hub)
    record, line = processor.get_log_after_iter(run, 3, "train")
    assert "train/loss" in record
    assert "train/" not in line


def test_the_window_the_pattern_and_the_digits() -> None:
    run = a_run()
    train(run.message_hub)
    assert LogProcessor(window_size=2).get_log_after_iter(run, 3, "train")[0]["loss"] == 10.5
    assert LogProcessor(mean_pattern=".*acc.*").get_log_after_iter(run, 3, "train")[0]["loss"] == 11
    line = LogProcessor(num_digits=2).get_log_after_iter(run, 3, "train")[1]
    assert "lr: 8.33e-03  eta: 1:02:05  time: 0.65  data_time: 0.07" in line


def test_without_times_there_is_no_time_left() -> None:
    run = a_run()
    assert LogProcessor().get_log_after_iter(run, 3, "train")[1] == "Epoch(train)  [1][ 4/10]    "
    run.message_hub.update_scalar("train/loss", 1.0)
    assert LogProcessor().get_log_after_iter(run, 3, "train")[1] == "Epoch(train)  [1][ 4/10]    loss: 1.0000"


@pytest.mark.parametrize(
    ("cfg", "name", "value"),
    [
        ({"data_src": "loss", "method_name": "max", "window_size": "epoch", "log_name": "loss_max"}, "loss_max", 11.0),
        ({"data_src": "loss", "method_name": "mean", "window_size": "global"}, "loss", 5.5),
        ({"data_src": "loss", "method_name": "min", "window_size": 3}, "loss", 9.0),
        ({"data_src": "loss", "method_name": "current"}, "loss", 11.0),
        ({"data_src": "loss", "method_name": "mean"}, "loss", 5.5),
    ],
)
def test_further_records(cfg: dict[str, Any], name: str, value: float) -> None:
    run = a_run()
    train(run.message_hub)
    assert LogProcessor(custom_cfg=[cfg]).get_log_after_iter(run, 3, "train")[0][name] == value


def test_a_further_record_of_a_rate_stands_with_the_rates() -> None:
    run = a_run()
    train(run.message_hub)
    cfg = [{"data_src": "lr", "method_name": "mean", "window_size": 3, "log_name": "mean_lr"}]
    assert (
        " lr: 8.3333e-03 mean_lr: 9.1414e-03  eta"
        in LogProcessor(custom_cfg=cfg).get_log_after_iter(run, 3, "train")[1]
    )


def test_a_registered_statistic() -> None:
    def last_two(history: HistoryBuffer) -> float:
        return history.mean(2)

    HistoryBuffer.register_statistics(last_two)
    run = a_run()
    train(run.message_hub)
    cfg = [{"data_src": "loss", "method_name": "last_two", "log_name": "smooth"}]
    assert LogProcessor(custom_cfg=cfg).get_log_after_iter(run, 3, "train")[0]["smooth"] == 10.5


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"window_size": "a"}, TypeError, "window_size"),
        ({"custom_cfg": {"data_src": "loss"}}, TypeError, "list of dicts"),
        ({"custom_cfg": ["loss"]}, TypeError, r"custom_cfg\[0\]"),
        ({"custom_cfg": [{"method_name": "mean"}]}, ValueError, "data_src is missing"),
        ({"custom_cfg": [{"data_src": "a"}, {"data_src": "a"}]}, ValueError, "log_name"),
        ({"custom_cfg": [{"data_src": "a", "window_size": "bogus"}]}, TypeError, "'bogus'"),
        ({"custom_cfg": [{"data_src": "a", "window_size": "epoch"}], "by_epoch": False}, ValueError, "by_epoch"),
    ],
)
def test_mistakes_in_the_settings(given: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        LogProcessor(**given)


def test_only_validation_and_test_have_an_end() -> None:
    with pytest.raises(ValueError, match="'val' or 'test'"):
        LogProcessor().get_log_after_epoch(a_run(), 5, "train")


def test_a_loader_that_does_not_know_its_length() -> None:
    run = a_run(val_dataloader=iter(()))
    assert LogProcessor(by_epoch=False).get_log_after_iter(run, 1, "val")[1].startswith("Iter(val) [2/?]")


def test_memory_stands_after_the_times_where_there_is_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seg_runner.log.processor.peak_memory", lambda: 321)
    run = a_run()
    train(run.message_hub)
    record, line = LogProcessor().get_log_after_iter(run, 3, "train")
    assert "data_time: 0.0650  memory: 321  loss: 6.5000" in line
    assert list(record)[-2:] == ["iter", "memory"]

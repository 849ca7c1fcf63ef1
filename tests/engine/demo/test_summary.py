from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from seg_engine.demo.summary import print_summary


@pytest.fixture
def runner(tmp_path: Path) -> Any:
    """What a run leaves, without the run."""
    logs = tmp_path / "run" / "20261124"
    (logs / "vis_data").mkdir(parents=True)
    records: list[dict[str, Any]] = [{"loss": 1.0}, {"mIoU": 40.0}, {"mIoU": 30.0}]
    text = "".join(json.dumps(record) + "\n" for record in records)
    (logs / "vis_data" / "scalars.json").write_text(text, encoding="utf-8")
    (logs / "vis_data/events.out.tfevents.1.here").touch()
    for name in ("iter_5.pth", "best_mIoU_iter_5.pth"):
        (tmp_path / "run" / name).touch()
    hub = SimpleNamespace(get_info=lambda name, default: 55.5)
    return SimpleNamespace(work_dir=tmp_path / "run", log_dir=logs, timestamp="20261124", message_hub=hub)


def test_the_summary_names_numbers_files_and_commands(
    runner: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    print_summary(runner, {"config": tmp_path / "configs" / "a.py", "seconds": 12.3, "resume": "seg demo --resume"})
    text = capsys.readouterr().out
    assert "30.00 % (best 55.50 %)" in text, "percent, as in the log; the best of the sessions before counts"
    assert "12 seconds" in text
    assert "--short" not in text
    for words in ("run/20261124/20261124.log", "run/iter_5.pth", "seg demo --resume", "tensorboard --logdir run"):
        assert words in text
    assert "seg predict run/best_mIoU_iter_5.pth street_scenes/images/validation" in text
    assert "W&B" not in text, "what was not left is not named"


def test_a_run_without_validation_has_no_number(runner: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (runner.log_dir / "vis_data" / "scalars.json").unlink()
    print_summary(runner, {"config": Path("a.py"), "seconds": 1.0, "resume": "x"})
    assert "mIoU on" not in capsys.readouterr().out


def test_a_short_run_says_why_its_pictures_are_poor(runner: Any, capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(runner, {"config": Path("a.py"), "seconds": 1.0, "resume": "x", "short": True})
    assert "--short makes 40 steps only: the pictures are poor" in capsys.readouterr().out

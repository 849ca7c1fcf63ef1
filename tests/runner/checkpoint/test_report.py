from __future__ import annotations

import pytest
from seg_runner.checkpoint.report import ResumeError, ResumeReport, config_changes, fill_version_changes, versions


def test_configs_are_compared_by_key():
    old = "lr = 1\nmodel = dict(type='Net', depth=[1, 2])\ntrain_pipeline = [dict(type='Crop', size=4)]\ngone = 1"
    new = "lr = 2\nmodel = dict(type='Net', depth=[1, 3])\ntrain_pipeline = [dict(type='Crop', size=8)]\nfresh = dict(a=1)"  # noqa: E501
    assert config_changes(old, new) == [
        "lr: 1 -> 2",
        "model.depth: [1, 2] -> [1, 3]",
        "train_pipeline.0.size: 4 -> 8",
        "gone: 1 -> (absent)",
        "fresh.a: (absent) -> 1",
    ]
    assert config_changes(old, old) == []


def test_text_that_is_no_config_is_still_compared():
    assert config_changes("not python (", "not python (") == []
    assert len(config_changes("not python (", "lr = 1")) == 1


def test_strict_refuses_what_nobody_asked_for():
    ResumeReport(restored=["weights"], changed=["lr: 1 -> 2"]).check()
    for field in ("not_restored", "unexplained"):
        report = ResumeReport(**{field: ["something"]})
        with pytest.raises(ResumeError, match="something"):
            report.check()


def test_versions_are_compared():
    report = ResumeReport()
    fill_version_changes(report, {**versions(), "torch": "1.0"})
    assert len(report.unexplained) == 1
    assert "torch: 1.0 ->" in str(report)
    fill_version_changes(report, {})
    assert len(report.unexplained) == 1


def test_another_number_of_threads_is_told_where_they_compute(monkeypatch):
    """Sums of a CPU depend on it; on an accelerator nothing does."""
    from seg_runner.checkpoint import report as module

    monkeypatch.setattr(module, "accelerator", lambda: None)
    report = ResumeReport()
    fill_version_changes(report, {**versions(), "torch's threads": "73"})
    assert len(report.unexplained) == 1
    assert report.unexplained[0].startswith("torch's threads: 73 -> ")
    monkeypatch.setattr(module, "accelerator", lambda: "cuda")
    assert "torch's threads" not in versions()


def test_an_own_key_that_is_written_as_unset_is_no_change():
    assert config_changes("lr = 1", "lr = 1\nseg = dict(loss=None, device='cpu')") == ["seg.device: None -> 'cpu'"]

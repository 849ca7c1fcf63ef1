"""What the families need of MMEngine that has nothing to do with what is compared."""

from __future__ import annotations

import importlib

import pytest


@pytest.fixture(autouse=True)
def _mixed_precision_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let MMEngine's AmpOptimWrapper start without a GPU, and take up its own checkpoints with the newest torch."""
    wrapper = importlib.import_module("mmengine.optim.optimizer.amp_optimizer_wrapper")
    monkeypatch.setattr(wrapper, "is_cuda_available", lambda: True)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")

from __future__ import annotations

import pytest
import torch
from seg_runner.loop.out_of_memory import is_out_of_memory, memory_by_module, memory_report, note_out_of_memory
from torch import nn


def net() -> nn.Module:
    return nn.ModuleDict({"backbone": nn.ModuleDict({"stem": nn.Linear(1000, 100)}), "head": nn.Linear(100, 3)})


def test_memory_errors_are_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_memory_is_counted_by_module_with_gradients_and_moments():
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    weights = (1000 * 100 + 100) * 4
    assert memory_by_module(model)["backbone.stem"] == weights
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    found = memory_by_module(model, optimizer)
    assert list(found) == ["backbone.stem", "head"]
    assert found["backbone.stem"] == pytest.approx(4 * weights, abs=64)


def test_the_report_names_the_batch_and_what_to_change():
    batch = {"inputs": [torch.zeros(3, 512, 1024)] * 4, "data_samples": [object()]}
    text = memory_report(net(), batch)
    assert "4 of 3 x 512 x 1024" in text
    assert "(now 512 x 1024)" in text
    assert "accumulative_counts=2" in text
    assert "backbone.stem" in text
    assert "no tensors" in memory_report(net(), None)
    assert "2 of 2 x 3 x 4 x 4" in memory_report(net(), (torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)))


def test_only_memory_errors_gain_the_note():
    plain, full = RuntimeError("shape"), MemoryError()
    for error in (plain, full):
        note_out_of_memory(error, net(), [torch.zeros(1, 3, 8, 8)])
    assert not hasattr(plain, "__notes__")
    assert "out of memory" in full.__notes__[0]


class Greedy(nn.Module):
    """Wants more memory than there is, in training or in evaluation."""

    def __init__(self, training: bool):
        super().__init__()
        self.layer, self.when = nn.Conv2d(3, 3, 1), training

    def forward(self, image):
        return self.layer(image) + (torch.empty(2**58) if self.training == self.when else 0)


def test_a_step_that_runs_out_of_memory_says_so(make_runner):
    runner = make_runner(model=Greedy(True), val_dataloader=None, val_evaluator=None, skip_checks=True)
    with pytest.raises(RuntimeError) as caught:
        runner.train()
    assert "what to change" in "".join(caught.value.__notes__)


def test_a_validation_that_runs_out_of_memory_says_what_to_change_there(make_runner):
    runner = make_runner(model=Greedy(False), skip_checks=True)
    with pytest.raises(RuntimeError) as caught:
        runner.train()
    notes = "".join(caught.value.__notes__)
    assert "val_dataloader.batch_size=1" in notes
    assert "mode='slide'" in notes
    assert "accumulative_counts" not in notes

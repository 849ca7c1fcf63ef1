from __future__ import annotations

import ast
import logging
import re
from collections import OrderedDict

import pytest
import torch
from seg_runner import export_safetensors, load_weights
from seg_runner.checkpoint.weights import clean_state_dict, weights_of
from seg_runner.checkpoint.write import write_checkpoint
from seg_runner.model.wrapping import unwrap
from torch import nn


class Net(nn.Module):
    """Has a part that is called as wrappers call theirs."""

    def __init__(self, classes=3, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.modules_ = nn.ModuleList([nn.Linear(2, 2)])
        self.norm = nn.BatchNorm1d(2)
        self.head = nn.Linear(2, classes)


class ModelWrapper(nn.Module):
    """Of the shape of DDP, without a process group."""

    def __init__(self, module):
        super().__init__()
        self.module = module


def compiled(net):
    return torch.compile(net, backend="eager")


@pytest.fixture(scope="module", autouse=True)
def process_group():
    """One process that is a group of its own, for the real DDP."""
    distributed = torch.distributed
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


WRAPS = {
    "ddp": lambda net: nn.parallel.DistributedDataParallel(net),
    "plain": lambda net: net,
    "data parallel": nn.DataParallel,
    "ddp shape": ModelWrapper,
    "compiled": lambda net: compiled(net),
    "compiled inside ddp": lambda net: ModelWrapper(compiled(net)),
    "a part compiled": lambda net: setattr(net, "head", compiled(net.head)) or net,
}


@pytest.mark.parametrize("source", WRAPS)
@pytest.mark.parametrize("target", WRAPS)
@pytest.mark.parametrize("raw", [False, True])
def test_every_wrapper_loads_from_every_other(source, target, raw):
    given, taking = WRAPS[source](Net(seed=1)), WRAPS[target](Net(seed=2))
    state = given.state_dict() if raw else weights_of(given)
    if not raw:
        assert list(state) == list(Net().state_dict())
    assert load_weights(taking, state).whole
    for one, other in zip(weights_of(given).values(), weights_of(taking).values(), strict=True):
        assert torch.equal(one, other)


def test_a_model_with_a_part_called_module():
    net = nn.Sequential(OrderedDict(module=nn.Linear(1, 1), modules_x=nn.Linear(1, 1)))
    assert list(weights_of(net)) == ["module.weight", "module.bias", "modules_x.weight", "modules_x.bias"]
    assert load_weights(net, weights_of(net)).whole
    assert unwrap(net) is net


def test_what_does_not_fit_is_listed_by_name_and_shape(caplog):
    caplog.set_level(logging.WARNING, "seg_runner")
    state = Net(classes=5).state_dict()
    del state["norm.weight"], state["norm.num_batches_tracked"]
    state["old.weight"] = torch.ones(1)
    net = Net()
    before = net.head.weight.clone()
    report = load_weights(net, {"state_dict": state})
    assert report.mismatched == [("head.weight", (5, 2), (3, 2)), ("head.bias", (5,), (3,))]
    assert report.missing == ["norm.weight"]
    assert report.unexpected == ["old.weight"]
    assert torch.equal(net.head.weight, before)
    assert "head.weight: shape (5, 2) in the file, (3, 2) in the model" in caplog.text
    assert "old.weight: in the file, not in the model" in str(report)
    with pytest.raises(RuntimeError, match="do not fit this model"):
        load_weights(net, state, strict=True)


def test_names_can_be_revised():
    state = {f"backbone.{name}": value for name, value in Net(seed=3).state_dict().items()}
    assert load_weights(Net(), state, revise_keys=[(r"^backbone\.", "")]).whole


def test_weights_under_another_key_are_an_error_that_says_where_they_lie():
    content = {"model": Net(seed=1).state_dict(), "epoch": 3, "optimizer": {"state": {}}}
    net = Net()
    with pytest.raises(ValueError, match=r"file's keys: model, epoch, optimizer.*\n.*key='model'"):
        load_weights(net, content)
    assert load_weights(net, content, key="model").whole
    assert torch.equal(net.head.weight, Net(seed=1).head.weight)
    deep = {"student": {"old": torch.ones(1)}, "ema": {"module": Net(seed=2).state_dict()}}
    with pytest.raises(ValueError, match=r"key='ema\.module'"):
        load_weights(net, deep)
    assert load_weights(net, deep, key="ema.module").whole
    with pytest.raises(KeyError, match="no weights under 'teacher'; its keys: student, ema"):
        load_weights(net, deep, key="teacher")


@pytest.mark.parametrize("lead", ["backbone.", "a.b."])
def test_names_that_differ_by_a_prefix_are_an_error_that_gives_the_option(lead):
    longer = nn.ModuleDict({"a": nn.ModuleDict({"b": Net()})}) if lead == "a.b." else nn.ModuleDict({"backbone": Net()})
    for model, state in ((Net(), longer.state_dict()), (longer, Net().state_dict())):
        with pytest.raises(ValueError, match="differ by a prefix") as caught:
            load_weights(model, {"state_dict": state})
        change = ast.literal_eval(re.search(r"revise_keys=(\[.*\])", str(caught.value))[1])
        assert load_weights(model, {"state_dict": state}, revise_keys=change).whole


def test_a_file_that_has_nothing_in_common_with_the_model():
    with pytest.raises(ValueError, match=r"file's keys: x.*\n.*model's names: modules_\.0\.weight"):
        load_weights(Net(), {"x": torch.ones(1)})
    assert load_weights(nn.ReLU(), {"x": torch.ones(1)}).unexpected == ["x"]


def test_long_lists_are_cut_short():
    report = load_weights(Net(), {**Net().state_dict(), **{f"x{i}": torch.ones(1) for i in range(99)}})
    assert report.lines()[-1].startswith("... and ")


def test_metadata_survives_cleaning():
    state = clean_state_dict(compiled(nn.BatchNorm1d(2)).state_dict())
    assert state._metadata[""]["version"] == 2


def test_export_to_safetensors(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    write_checkpoint(tmp_path / "iter_1.pth", {"meta": {"iter": 1}, "state_dict": Net(seed=1).state_dict()})
    out = export_safetensors(tmp_path / "iter_1.pth", tmp_path / "weights.safetensors")
    found = safetensors.load_file(out)
    for name, value in Net(seed=1).state_dict().items():
        assert torch.equal(found[name], value)


def test_what_the_model_lacks_is_refused_and_what_the_file_has_beside_is_not() -> None:
    full = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3)).state_dict()
    assert load_weights(nn.Sequential(nn.Linear(2, 2)), full, complete=True).unexpected == ["1.weight", "1.bias"]
    with pytest.raises(RuntimeError, match=r"2.weight: not in the file"):
        load_weights(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3), nn.Linear(3, 1)), full, complete=True)
    with pytest.raises(RuntimeError, match=r"1.weight: shape \(3, 2\) in the file, \(4, 2\) in the model"):
        load_weights(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 4)), full, complete=True)


@pytest.mark.parametrize("key", [3, None, (1, 2), b"head.weight"])
def test_keys_that_are_no_texts_are_no_weights(key):
    with pytest.raises(ValueError, match=r"names of weights are texts.*no state_dict of a model"):
        load_weights(Net(), {"state_dict": {"head.bias": torch.zeros(3), key: torch.zeros(3)}})


class Averager(nn.Module):
    """Holds the model as `module` beside parts without weights, as MMSegmentation's test-time augmentation does."""

    def __init__(self, module):
        super().__init__()
        self.preprocessor = nn.Identity()
        self.module = module


def test_weights_reach_the_model_in_any_wrapper_whose_weights_are_all_its():
    saved = weights_of(Net(seed=1))
    for wrapped in (Averager(Net()), ModelWrapper(Averager(Net())), Averager(ModelWrapper(Averager(Net())))):
        report = load_weights(wrapped, saved, complete=True, strict=True)
        assert report.whole
        inner = wrapped
        while not isinstance(inner, Net):
            inner = inner.module
        assert all(torch.equal(inner.state_dict()[name], value) for name, value in saved.items())


def test_a_model_that_names_its_part_module_keeps_its_names():
    one, other = Averager(Net(seed=1)), Averager(Net())
    load_weights(other, one.state_dict(), strict=True)
    assert torch.equal(other.module.head.weight, one.module.head.weight)
    beside = Averager(Net())
    beside.head = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="nothing was loaded"):
        load_weights(beside, {"norm.weight": torch.ones(2)})

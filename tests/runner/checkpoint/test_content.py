from __future__ import annotations

from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from seg_runner import trees
from seg_runner.checkpoint import content
from seg_runner.checkpoint.content import Staging, own, payload_bytes, to_cpu, to_plain


class Settings(dict):
    """A subclass, as configs are."""


def test_everything_becomes_plain():
    value = Settings(
        score=np.float64(0.5), count=np.int64(3), flag=np.bool_(True), path=Path("a/b"), name=np.str_("x"),
        array=np.arange(3), words=np.array(["a", "b"]), inner=Settings(a=1), pair=(np.float32(1), [None]),
    )  # fmt: skip
    found = to_plain(value)
    assert type(found) is dict
    assert type(found["inner"]) is dict
    assert [type(found[key]) for key in ("score", "count", "flag", "path", "name")] == [float, int, bool, str, str]
    assert torch.equal(found["array"], torch.arange(3))
    assert found["words"] == ["a", "b"]
    assert found["pair"] == (1.0, [None])


def test_order_metadata_and_counters_stay():
    state = torch.nn.BatchNorm2d(2).state_dict()
    found = to_plain(state)
    assert isinstance(found, OrderedDict)
    assert found._metadata[""]["version"] == 2
    assert type(to_cpu(to_plain(Counter(a=2)))) is Counter


def test_parameters_become_tensors():
    found = to_plain({"w": torch.nn.Parameter(torch.ones(2))})["w"]
    assert type(found) is torch.Tensor
    assert not found.requires_grad


def test_tensors_of_other_classes_become_plain_and_sharded_ones_whole():
    class Marked(torch.Tensor):
        """As torchvision's images and boxes are."""

    class Sharded(torch.Tensor):
        def full_tensor(self):
            return torch.arange(6.0, requires_grad=True)

    found = to_plain({"marked": torch.ones(2).as_subclass(Marked), "part": torch.ones(3).as_subclass(Sharded)})
    assert [type(each) for each in found.values()] == [torch.Tensor, torch.Tensor]
    assert found["marked"].tolist() == [1, 1]
    assert found["part"].tolist() == [0, 1, 2, 3, 4, 5]
    assert not found["part"].requires_grad


def test_an_object_is_refused_with_its_place():
    with pytest.raises(TypeError, match=r"checkpoint\['hooks.Mine.best\[1\]'\] is a builtins.object"):
        to_plain({"hooks": {"Mine": {"best": [1, object()]}}})


def test_shared_memory_stays_shared_and_small_views_are_cut_out():
    weight, large = torch.ones(4, 4), torch.zeros(10_000)
    tree = to_cpu({"a": weight, "b": weight.t(), "c": large[3:7]})
    assert tree["a"].data_ptr() == tree["b"].data_ptr()
    assert tree["c"].untyped_storage().nbytes() == 16
    assert payload_bytes(tree) == 64 + 16


def test_a_view_of_half_its_memory_is_no_small_one():
    table = torch.arange(10.0)
    halves = {"first": table[:5], "again": table[:5].view(5, 1)}
    for tree in (to_cpu(halves), Staging().copy(halves)):
        assert tree["first"].data_ptr() == tree["again"].data_ptr()
        assert tree["first"].untyped_storage().nbytes() == 40
    assert to_cpu({"less": table[:4]})["less"].untyped_storage().nbytes() == 16
    assert to_cpu(torch.zeros(20, dtype=torch.uint8)[:9]).untyped_storage().nbytes() == 9


def test_tensors_without_memory_of_their_own_are_copied_by_value():
    sparse = torch.eye(3).to_sparse()
    assert payload_bytes({"sparse": sparse, "meta": torch.ones(9, device="meta"), "plain": torch.ones(2)}) == 8
    for tree in (to_cpu({"s": sparse}), Staging().copy({"s": sparse})):
        assert tree["s"].layout is torch.sparse_coo
        assert torch.equal(tree["s"].to_dense(), torch.eye(3))


def test_conjugated_and_negated_views_become_plain_numbers():
    numbers = torch.tensor([1 + 2j, 3 - 4j])
    views = {"conjugated": numbers.conj(), "negated": numbers.conj().imag}
    assert views["negated"].is_neg()
    for tree in (to_cpu(views), Staging().copy(views)):
        assert tree["conjugated"].tolist() == [1 - 2j, 3 + 4j]
        assert tree["negated"].tolist() == [-2, 4]
        assert not tree["conjugated"].is_conj()
        assert not tree["negated"].is_neg()


def test_own_copies():
    weight = torch.ones(2)
    assert own({"a": [weight]})["a"][0].data_ptr() != weight.data_ptr()


def test_a_staged_copy_does_not_change_with_the_model():
    weight, other = torch.ones(4, 4).to(memory_format=torch.contiguous_format), torch.zeros(3)
    staging = Staging()
    tree = {"a": weight, "t": weight.t(), "n": 3, "o": OrderedDict(x=other)}
    copy = staging.copy(tree)
    weight.fill_(7)
    assert torch.equal(copy["a"], torch.ones(4, 4))
    assert copy["t"].stride() == (1, 4)
    assert copy["t"].data_ptr() == copy["a"].data_ptr()
    address = copy["a"].data_ptr()
    again = staging.copy(tree)
    assert again["a"].data_ptr() == address
    assert torch.equal(again["a"], weight)
    assert staging.copy({"a": torch.zeros(50)})["a"].shape == (50,)


def test_views_that_come_first_are_staged_as_views():
    """A turned tensor covers its memory, and a part of one is contiguous: neither is what the memory holds."""
    weight, table = torch.arange(12.0).reshape(3, 4), torch.arange(8.0)
    turned, part = weight.t(), table[2:]
    copy = Staging().copy({"turned": turned, "weight": weight, "part": part, "table": table})
    for name, original in (("turned", turned), ("weight", weight), ("part", part), ("table", table)):
        assert torch.equal(copy[name], original), name
        assert copy[name].stride() == original.stride(), name
    assert copy["turned"].data_ptr() == copy["weight"].data_ptr() != weight.data_ptr()
    assert copy["part"].untyped_storage().data_ptr() == copy["table"].untyped_storage().data_ptr()
    assert copy["part"].storage_offset() == 2
    weight.zero_()
    assert copy["turned"][1, 0] == 1


def test_a_history_is_not_gone_through_number_by_number(monkeypatch):
    """It grows with the run, and a save walks through the state several times."""
    calls, real, gather = [], content.to_plain, trees._gather
    monkeypatch.setattr(content, "to_plain", lambda *a, **k: calls.append(1) or real(*a, **k))
    monkeypatch.setattr(trees, "_gather", lambda *a: calls.append(1) or gather(*a))
    costs = []
    for length in (10, 10_000):
        calls.clear()
        history = {"loss": [0.5] * length, "steps": list(range(length)), "weight": torch.ones(2)}
        found = to_cpu(content.to_plain(history))
        assert payload_bytes(found) == 8
        assert found["loss"] == history["loss"]
        assert found["loss"] is not history["loss"]
        costs.append(len(calls))
    assert costs[0] == costs[1]

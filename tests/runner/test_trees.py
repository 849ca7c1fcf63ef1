"""One walk over trees of tensors: which containers are copied as what, and what is a leaf."""

from __future__ import annotations

from collections import Counter, OrderedDict, namedtuple
from types import SimpleNamespace
from typing import Any

import torch
from seg_runner.trees import map_leaves, map_tensors, tensors_of

Pair = namedtuple("Pair", "a b")


def test_containers_keep_their_kind_and_other_leaves_are_shared() -> None:
    state = OrderedDict(w=torch.ones(1))
    state._metadata = {"": {"version": 2}}  # type: ignore[attr-defined]
    word = object()
    tree = {"state": state, "pair": Pair(torch.ones(2), word), "list": [(torch.ones(3),)], "size": torch.Size([1, 2])}
    found = map_tensors(tree, torch.neg)
    assert [type(part) for part in found.values()] == [OrderedDict, Pair, list, torch.Size]
    assert found["state"]._metadata == {"": {"version": 2}}
    assert found["pair"].b is word
    assert [float(tensor.sum()) for tensor in tensors_of(found)] == [-1, -2, -3]
    assert [float(tensor.sum()) for tensor in tensors_of(tree)] == [1, 2, 3]


def test_what_occurs_twice_is_copied_once_on_request() -> None:
    shared = [torch.ones(1)]
    found = map_tensors({"a": shared, "b": shared}, torch.clone, {})
    assert found["a"] is found["b"]
    assert found["a"] is not shared
    other = map_tensors({"a": shared, "b": shared}, torch.clone)
    assert other["a"] is not other["b"]


def test_leaves_are_all_else() -> None:
    seen: list[Any] = []
    map_leaves([Counter(a=1), "text", torch.Size([2]), None], seen.append)
    assert seen == [Counter(a=1), "text", torch.Size([2]), None]


def test_tensors_in_samples_are_found() -> None:
    sample = SimpleNamespace(to_dict=lambda: {"mask": torch.ones(4)})
    assert [tensor.numel() for tensor in tensors_of([torch.ones(2), sample])] == [2, 4]
    assert [tensor.numel() for tensor in tensors_of(torch.ones(5))] == [5]

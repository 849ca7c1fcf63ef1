"""The pickler that `torch.save` is given: what it writes is read as what torch's own writes."""

import io
import pickle
from collections import OrderedDict
from types import ModuleType

import pytest
import torch
from seg_runner import pickling
from torch.storage import TypedStorage

TABLE = torch.arange(12.0).reshape(3, 4)
TENSORS = {
    "plain": TABLE,
    "turned": TABLE.t(),
    "a part": TABLE[1:, 2],
    "a number": torch.tensor(3),
    "empty": torch.empty(0, 3),
    "half": torch.ones(2, dtype=torch.bfloat16),
    "short": torch.tensor([True, False]),
    "complex": torch.tensor([1 + 2j]),
    "conjugated": torch.tensor([1 + 2j]).conj(),
    "negated": torch.tensor([1 + 2j]).conj().imag,
    "eight bits": torch.ones(2).to(torch.float8_e4m3fn),
    "sparse": torch.eye(2).to_sparse(),
    "elsewhere": torch.empty(2, device="meta"),
    "with gradient": torch.ones(2, requires_grad=True),
}


def saved(payload: object, module: ModuleType = pickling) -> io.BytesIO:
    buffer = io.BytesIO()
    torch.save(payload, buffer, pickle_module=module)
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize("kind", TENSORS)
def test_a_tensor_of_any_kind_is_read_as_one_of_torchs(kind):
    payload = {"w": TENSORS[kind]}
    found, expected = (torch.load(saved(payload, module), weights_only=True)["w"] for module in (pickling, pickle))
    assert (found.dtype, found.shape, found.layout) == (expected.dtype, expected.shape, expected.layout)
    assert (found.device, found.requires_grad) == (expected.device, expected.requires_grad)
    if found.layout is torch.strided:
        assert found.stride() == expected.stride()
    if found.device.type == "cpu":
        wide = torch.complex64 if found.is_complex() else torch.float32
        assert torch.equal(found.to(wide).to_dense(), expected.to(wide).to_dense())


def test_shared_memory_and_tensors_that_occur_twice_stay_so():
    again = torch.ones(3)
    payload = OrderedDict(one=TABLE, other=TABLE.view(-1)[4:], same=[again, again])
    found = torch.load(saved(payload), weights_only=True)
    assert found["one"].untyped_storage().data_ptr() == found["other"].untyped_storage().data_ptr()
    assert found["same"][0] is found["same"][1]
    found["one"][1, 0] = 9
    assert found["other"][0] == 9


def test_a_hook_on_a_tensor_that_was_read_is_its_own():
    """Torch writes an empty dict of hooks for each tensor; none is written here, so none can be shared."""
    one, other = torch.load(saved([torch.ones(1), torch.ones(1)]), weights_only=True)
    seen = []
    for tensor in (one, other):
        tensor.requires_grad_()
    one.register_hook(seen.append)
    (one + other).sum().backward()
    assert len(seen) == 1


def test_torch_is_asked_about_storages_alone():
    """It asks of each value whether it is one: nineteen times a tensor."""
    asked = []

    class Like(pickling.Pickler):
        def persistent_id(self, value):
            asked.append(type(value))
            return "name"

    weights = {f"layer.{number}": torch.ones(2, 3) for number in range(50)}
    Like(io.BytesIO(), protocol=2).dump({"meta": {"iter": 1, "names": ["a", "b"]}, "state_dict": weights})
    assert asked == [TypedStorage] * 50

from __future__ import annotations

import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from seg_runner import CheckpointError, load_weights, read_checkpoint
from seg_runner.checkpoint.pickle_builders import Array, Dtype, History, Nothing, plain_values
from seg_runner.checkpoint.read_mmengine import UnknownNamesError, _kind, _load
from torch import nn

FILE = Path(__file__).parent / "mmengine_0_10_7.pth"


def read_bytes(data):
    """Unpickle bytes under the rules of files."""
    kind = _kind(len(data))
    content = _load(kind, io.BytesIO(data))
    if kind.unknown:
        raise UnknownNamesError(", ".join(kind.unknown))
    return plain_values(content)


def test_a_file_of_mmengine_is_read_without_mmengine():
    found = read_checkpoint(FILE)
    assert set(found) >= {"meta", "state_dict", "message_hub", "optimizer", "param_schedulers", "ema_state_dict"}
    assert found["meta"]["iter"] == 6
    assert found["meta"]["seed"] == 3
    assert "EMAHook" in found["meta"]["cfg"] or found["meta"]["cfg"] is not None
    scalars = found["message_hub"]["log_scalars"]
    values, counts = (scalars["train/loss"][key] for key in ("log_history", "count_history"))
    assert len(values) == len(counts) == 6
    assert all(type(value) is float for value in values)
    assert found["message_hub"]["runtime_info"]["best_score"] == 0.5
    assert type(found["message_hub"]["runtime_info"]["best_score"]) is float
    assert found["optimizer"]["state"][0]["exp_avg"].shape == (2, 1, 1, 1)


def test_its_weights_go_into_a_model():
    model = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 2, 1), norm=nn.BatchNorm2d(2)))
    report = load_weights(model, read_checkpoint(FILE))
    assert report.whole
    assert len(report.loaded) == 7


class Call:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


MARK = Path("/tmp/seg-runner-hostile")
HOSTILE = {
    "system": Call(os.system, f"touch {MARK}"),
    "eval": Call(eval, f"open('{MARK}', 'w')"),
    "open": Call(open, str(MARK), "w"),
    "torch.load": Call(torch.load, str(MARK)),
    "compile": Call(compile, "1", "x", "exec"),
    "tensor method": Call(torch.hub.load, "x", "y"),
    "object": Call(type, "X", (), {}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_run_nothing(tmp_path, name):
    MARK.unlink(missing_ok=True)
    torch.save({"meta": {}, "x": HOSTILE[name]}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "x.pth")
    assert not MARK.exists()


HAND_WRITTEN = [
    b"cbuiltins\neval\n(S'1'\ntR.",
    b"cos\nsystem\n(S'true'\ntR.",
    b"(S'true'\nios\nsystem\n.",
    b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    b"cmmengine.runner\nRunner\n)R.",
    b"ctorch\nload\n(S'x'\ntR.",
    b"ctorch._utils\n_import_dotted_name\n(S'os.system'\ntR.",
    b"cnumpy\ndtype\n(S'O8'\ntR.",
    b"\x82\x01.",
]


@pytest.mark.parametrize("data", HAND_WRITTEN)
def test_hand_written_pickles_are_refused(data):
    with pytest.raises(Exception, match=r".") as caught:
        read_bytes(data)
    assert not isinstance(caught.value, SystemExit)


def test_getattr_gives_nothing_that_could_be_called_to_harm():
    found = read_bytes(b"cbuiltins\ngetattr\n(ccollections\nOrderedDict\nS'fromkeys'\ntR.")
    assert found is None


def test_numpy_values_become_plain():
    data = {"f": np.float32(0.25), "i": np.int64(-3), "a": np.arange(6.0).reshape(2, 3), "s": np.array(["x", "yy"])}
    for protocol in (2, 4):
        found = read_bytes(pickle.dumps(data, protocol))
        assert found["f"] == 0.25
        assert type(found["f"]) is float
        assert found["i"] == -3
        assert torch.equal(found["a"], torch.arange(6.0).double().reshape(2, 3))
        assert found["s"] == ["x", "yy"]


def test_arrays_of_objects_are_refused():
    with pytest.raises(Exception, match="dtype"):
        read_bytes(pickle.dumps(np.array([object()], dtype=object), 2))


@pytest.mark.parametrize(
    "data",
    [
        b"cmmengine.logging\nHistoryBuffer\n(N}S'plain'\nS'x'\nstb.",
        b"ctorch._utils\n_rebuild_tensor_v2\n(N}S'__defaults__'\n(I1\nI2\ntstb.",
        b"cnumpy\ndtype\n(N}S'real'\nS'x'\nstb.",
        b"ctorch\nFloatStorage\n(N}S'dtype'\nS'x'\nstb.",
        b"cbuiltins\ngetattr\n(N}S'__init__'\nS'x'\nstb.",
    ],
)
def test_a_pickle_changes_nothing_of_what_it_names_and_gets_no_functions_out(data):
    kept = [History, Dtype, Array, Nothing, torch.FloatStorage]
    before = [dict(vars(kind)) for kind in kept]
    with pytest.raises(Exception, match=r"."):
        read_bytes(data)
    assert [dict(vars(kind)) for kind in kept] == before
    assert torch._utils._rebuild_tensor_v2.__defaults__ == (None,)
    test_its_weights_go_into_a_model()

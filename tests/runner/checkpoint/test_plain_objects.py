"""Files whose meta holds configs, dates, paths and namespaces: read as plain values; nothing in them is run."""

from __future__ import annotations

import argparse
import datetime
import io
import pathlib
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from seg_runner import CheckpointError, Runner, read_checkpoint
from seg_runner.checkpoint.pickle_builders import plain_values
from seg_runner.checkpoint.read_mmengine import _kind, _load
from torch.torch_version import TorchVersion

HOURS = datetime.timezone(datetime.timedelta(hours=2))
META = {
    "time": (datetime.datetime(2023, 1, 5, 10, 30), "2023-01-05T10:30:00"),
    "zoned": (datetime.datetime(2023, 1, 5, 10, 30, tzinfo=HOURS), "2023-01-05T10:30:00+02:00"),
    "zone": (HOURS, "UTC+02:00"),
    "day": (datetime.date(2023, 1, 5), "2023-01-05"),
    "clock": (datetime.time(10, 30), "10:30:00"),
    "took": (datetime.timedelta(1, 2, 500_000), 86402.5),
    "work_dir": (pathlib.PurePosixPath("/runs/a"), "/runs/a"),
    "windows": (pathlib.PureWindowsPath("C:\\runs\\a"), "C:\\runs\\a"),
    "args": (argparse.Namespace(lr=0.1, at=pathlib.PurePosixPath("b")), {"lr": 0.1, "at": "b"}),
    "space": (types.SimpleNamespace(a=[1]), {"a": [1]}),
    "torch": (TorchVersion("2.1.0+cpu"), "2.1.0+cpu"),
    "epoch": (np.int64(3), 3),
    "CLASSES": (("road", "sky"), ("road", "sky")),
    "PALETTE": (np.array([[1, 2, 3]]), torch.tensor([[1, 2, 3]])),
    "mmcv_version": ("1.7.1", "1.7.1"),
    "env_info": ("Python: 3.8\nMMCV: 1.7.1", "Python: 3.8\nMMCV: 1.7.1"),
}


@pytest.mark.parametrize("zipped", [True, False])
def test_data_of_other_classes_is_read_as_plain_values(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "published.pth"
    content = {"meta": {name: value for name, (value, _) in META.items()}, "state_dict": {"w": torch.ones(2)}}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(path)["meta"]
    assert torch.equal(found.pop("PALETTE"), META["PALETTE"][1])
    assert found == {name: plain for name, (_, plain) in META.items() if name != "PALETTE"}
    assert {type(value) for value in found.values()} <= {str, float, int, dict, tuple}


def pickled(text: str) -> Any:
    """What is read of a pickle whose operations are written by hand."""
    data = text.encode("latin1")
    kind = _kind(len(data))
    content = _load(kind, io.BytesIO(data))
    assert not kind.unknown, kind.unknown
    return plain_values(content)


ONE = "}X\x01\0\0\0aK\x01s"
MODULES = ["mmengine.config.config", "mmcv.utils.config"]


@pytest.mark.parametrize("module", MODULES)
def test_configs_become_dicts(module: str) -> None:
    assert pickled(f"\x80\x02c{module}\nConfigDict\n{ONE}\x85R.") == {"a": 1}
    assert pickled(f"\x80\x02c{module}\nConfig\n)\x81({ONE}NNtb.") == {"a": 1}
    assert pickled(f"\x80\x02c{module}\nConfig\n)\x81}}X\x09\0\0\0_cfg_dict{ONE}sb.") == {"a": 1}
    found = pickled(f"\x80\x02caddict.addict\nDict\n)\x81X\x01\0\0\0ac{module}\nConfigDict\n{ONE}\x85Rs.")
    assert found == {"a": {"a": 1}}
    assert type(found) is type(found["a"]) is dict


@pytest.mark.parametrize(
    "text",
    [
        "cmmengine.config.config\nConfigDict\n(K\x01K\x02tR.",
        "cmmengine.config.config\nConfigDict\n]\x85R.",
        "cmmengine.config.config\nConfigDict\n}(X\x05\0\0\0itemsK\x01ub.",  # attributes of the class
        "ctorch.torch_version\nTorchVersion\nJ\xff\xff\xff\x7f\x85\x81.",
        "cargparse\nNamespace\n)\x81K\x05b.",
        "cdatetime\ndatetime\nK\x05\x85R.",
        "cdatetime\ndatetime\nU\x03abc\x85R.",
        "cdatetime\ntimezone\nK\x05\x85R.",
        "cdatetime\ntimedelta\nX\x01\0\0\0a\x85R.",
        "cpathlib\nPosixPath\nK\x05\x85R.",
        "cpathlib\nPath\nX\x01\0\0\0a\x85R}X\x04\0\0\0_strX\x01\0\0\0bsb.",
    ],
)
def test_what_is_no_data_of_that_kind_is_refused(text: str) -> None:
    with pytest.raises(Exception, match=r"."):
        pickled(f"\x80\x02{text}")


def test_a_file_changes_nothing_that_the_next_one_meets() -> None:
    with pytest.raises(Exception, match=r"."):
        pickled(f"\x80\x02cmmengine.config.config\nConfigDict\nN{ONE}\x86b.")  # attributes of the class, by slots
    assert pickled(f"\x80\x02cmmengine.config.config\nConfigDict\n{ONE}\x85R.") == {"a": 1}


class Mine:
    """A class of a user's."""


def test_all_else_is_refused_with_the_option_and_what_it_means(tmp_path: Path, make_runner: Any) -> None:
    runner = make_runner()
    content = {"meta": {"mine": Mine()}, "state_dict": runner.model.state_dict()}
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"test_plain_objects.Mine.*run what the file says") as caught:
        read_checkpoint(tmp_path / "odd.pth")
    assert "load_options=dict(unsafe=True)" in str(caught.value)
    assert "--cfg-options load_options.unsafe=True" in str(caught.value)


@pytest.mark.parametrize("way", ["load_from", "resume"])
def test_the_option_reads_it(tmp_path: Path, make_runner: Any, way: str) -> None:
    first: Runner = make_runner(train_cfg={"max_iters": 2})
    first.train()
    content = torch.load(first.work_dir / "iter_2.pth", weights_only=True)
    torch.save({**content, "mine": Mine()}, tmp_path / "odd.pth")
    given = {way: str(tmp_path / "odd.pth"), "work_dir": tmp_path / "again", "train_cfg": {"max_iters": 3}}
    with pytest.raises(CheckpointError, match="unsafe=True"):
        make_runner(**given).train()
    runner = make_runner(**given, load_options={"unsafe": True})
    runner.train()
    assert runner.resumed is (way == "resume")

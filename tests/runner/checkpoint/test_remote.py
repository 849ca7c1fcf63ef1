"""Checkpoints at addresses: fetched from a real server, kept where torch keeps them, checked, and told in words."""

from __future__ import annotations

import gc
import hashlib
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from seg_runner.checkpoint.remote import fetch, told_where_to_put
from torch import nn

pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


class Counting(ThreadingHTTPServer):
    """A server that counts what it was asked for."""

    asked: list[str]


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.asked.append(self.path)
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counting]:
    """A server of a folder with checkpoints; torch's cache is a folder of the test."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    (tmp_path / "served").mkdir()
    made = Counting(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "served"))
    made.asked = []
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()
    gc.collect()  # torch leaves it to the collector to close what it downloaded from


def address(server: Counting, name: str) -> str:
    return f"http://127.0.0.1:{server.server_port}/{name}"


def network(weight: float) -> nn.Module:
    made = nn.Sequential(nn.Conv2d(3, 3, 1))
    nn.init.constant_(made[0].weight, weight)
    return made


@pytest.fixture
def published(tmp_path: Path, server: Counting) -> str:
    """The address of a file with its hash in its name."""
    path = tmp_path / "served" / "net.pth"
    torch.save({"meta": {"mmcv_version": "1.7.1"}, "state_dict": network(0.25).state_dict()}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    shutil.copy(path, path.with_name(f"net_8xb2-{digest[:8]}.pth"))
    shutil.copy(path, path.with_name("net_8xb2-deadbeef.pth"))
    return address(server, f"net_8xb2-{digest[:8]}.pth")


def test_load_from_takes_an_address_and_fetches_it_once(server: Counting, published: str, make_runner: Any) -> None:
    for name in ("a", "b"):
        runner = make_runner(model=network(0.0), load_from=published, train_cfg={"max_iters": 1}, experiment_name=name)
        runner.load_or_resume()
        assert set(next(runner.model.parameters()).flatten().tolist()) == {0.25}
    assert len(server.asked) == 1
    kept = Path(torch.hub.get_dir()) / "checkpoints" / published.rpartition("/")[2]
    assert kept.is_file()


def test_a_file_that_is_not_what_its_name_says_is_not_kept(server: Counting, published: str) -> None:
    with pytest.raises(FileNotFoundError, match="invalid hash"):
        fetch(address(server, "net_8xb2-deadbeef.pth"))
    assert list(Path(torch.hub.get_dir(), "checkpoints").iterdir()) == []


@pytest.mark.parametrize("what", ["no such file", "no server"])
def test_without_it_the_error_names_the_address_and_where_to_put_the_file(server: Counting, what: str) -> None:
    given = address(server, "none.pth?download=1")
    if what == "no server":
        server.shutdown()
        server.server_close()
    with pytest.raises(FileNotFoundError) as caught:
        fetch(given)
    target = Path(torch.hub.get_dir()) / "checkpoints" / "none.pth"
    assert f"Fetch {given} elsewhere and put it at {target}" in str(caught.value)
    assert "load_from=" in str(caught.value)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.touch()
    assert fetch(given) == target


def test_a_file_address_is_a_path(tmp_path: Path) -> None:
    assert fetch((tmp_path / "a b.pth").as_uri()) == tmp_path / "a b.pth"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("s33://bucket/a.pth", "no protocol is called 's33'. Did you mean 's3'"),
        ("mmcls://mobilenet_v2", "no protocol is called 'mmcls'"),
        ("open-mmlab://resnet50_v1c", "a name from a table of MMEngine"),
    ],
)
def test_other_schemes_are_told(given: str, words: str) -> None:
    with pytest.raises(FileNotFoundError, match=words):
        fetch(given)


class Backbone(nn.Module):
    """Fails to initialise itself, as a backbone of MMSegmentation does without network."""

    def __init__(self, given: str) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 1)
        self.init_cfg = [{"type": "Kaiming"}, {"type": "Pretrained", "checkpoint": given}]


def test_weights_that_a_model_takes_by_itself_are_named(server: Counting) -> None:
    given = address(server, "backbone-12345678.pth")
    net = nn.ModuleDict({"backbone": Backbone(given), "other": Backbone("open-mmlab://a")})
    with pytest.raises(OSError, match="no network") as caught, told_where_to_put(net):
        raise OSError("no network")
    notes = "\n".join(caught.value.__notes__)
    assert f"model.backbone.init_cfg.checkpoint = '{given}': fetch {given} elsewhere and put it at " in notes
    assert "model.other.init_cfg.checkpoint = 'open-mmlab://a': give a local file here" in notes

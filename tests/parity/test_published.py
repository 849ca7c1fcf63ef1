"""Files as MMSegmentation publishes them, made by the real libraries: what MMEngine takes from them, we take too."""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from seg_runner import Runner
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

if importlib.util.find_spec("mmengine") is None:
    pytest.skip("mmengine is not installed here", allow_module_level=True)

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.parametrize("engine", ["theirs", "ours"]),
]


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No torchvision, which has no build for this torch; a cache of the test's; MMEngine reads what files hold."""
    if "torchvision" not in sys.modules:
        monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")


def network(init_cfg: Any = None) -> Any:
    """A segmentor with a backbone, as MMEngine's base classes have them."""
    from mmengine.model import BaseModel, BaseModule

    class Backbone(BaseModule):
        def __init__(self, init_cfg: Any = None) -> None:
            super().__init__(init_cfg)
            self.stem = nn.Conv2d(1, 2, 1)
            self.norm = nn.BatchNorm2d(2)

    class Net(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = Backbone(init_cfg)
            self.head = nn.Conv2d(2, 1, 1)

        def forward(self, image: Any, mode: str = "loss") -> Any:
            return {"loss": self.head(self.backbone.norm(self.backbone.stem(image))).mean()}

    return Net()


def filled(value: float) -> dict[str, torch.Tensor]:
    return {name: torch.full_like(one, value) for name, one in network().state_dict().items()}


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A file with all that such files hold beside weights."""
    from mmengine.config import Config, ConfigDict
    from mmengine.logging import HistoryBuffer

    meta = {
        "cfg": Config({"model": {"type": "EncoderDecoder"}}),
        "dataset_meta": ConfigDict(classes=("road", "sky"), palette=[[1, 2, 3], [4, 5, 6]]),
        "CLASSES": ("road", "sky"),
        "PALETTE": np.array([[1, 2, 3], [4, 5, 6]]),
        "mmcv_version": "1.7.1",
        "mmseg_version": "0.30.0+abc",
        "env_info": "Python: 3.8\nPyTorch: 1.9",
        "time": datetime.datetime(2022, 1, 5, 10, 30),
        "args": argparse.Namespace(work_dir=Path("/home/somebody/work_dirs"), seed=np.int64(3)),
        "iter": np.int64(160000),
        "epoch": 0,
    }
    hub = {"log_scalars": {"train/loss": HistoryBuffer([1.0, 0.5], [1, 1])}, "runtime_info": {"best": np.float32(0.5)}}
    served = tmp_path / "served"
    served.mkdir()
    torch.save({"meta": meta, "state_dict": filled(0.25), "message_hub": hub}, served / "net-published.pth")
    others = {"module." + name: value for name, value in filled(0.5).items()}
    torch.save({"meta": meta, "state_dict": others}, served / "wrapped.pth")
    return served


@pytest.fixture
def address(published: Path) -> Iterator[str]:
    """Where a server has that folder."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=published)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def prepared(engine: str, work_dir: Path, model: Any, **more: Any) -> dict[str, list[float]]:
    """The weights after the step that changes none: a run from this file."""
    from mmengine.runner import Runner as Reference

    cfg: dict[str, Any] = {
        "model": model,
        "work_dir": str(work_dir),
        "train_dataloader": DataLoader(TensorDataset(torch.zeros(2, 1, 2, 2)), 1, collate_fn=first),
        "train_cfg": {"by_epoch": False, "max_iters": 1},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.0}},
        "default_hooks": {"checkpoint": {"type": "CheckpointHook", "save_last": False}},
        "randomness": {"seed": 1},
        "experiment_name": work_dir.name,
        **more,
    }
    if engine == "ours":
        runner: Any = Runner.from_cfg({**cfg, "randomness": {"seed": 1, "stream": "mmengine"}, "skip_checks": True})
    else:
        runner = Reference(**cfg)
    runner.train()
    parameters = runner.model.named_parameters()
    return {name: sorted(set(value.flatten().tolist())) for name, value in parameters}


def first(batch: Any) -> dict[str, Any]:
    """A batch as the model takes it."""
    return {"image": batch[0][0][None]}


@pytest.mark.parametrize("name", ["net-published.pth", "wrapped.pth"])
@pytest.mark.parametrize("how", ["path", "address"])
def test_load_from(engine: str, published: Path, address: str, tmp_path: Path, name: str, how: str) -> None:
    given = str(published / name) if how == "path" else f"{address}/{name}"
    found = prepared(engine, tmp_path / f"{engine}_{name[:3]}_{how}", network(), load_from=given)
    value = 0.25 if name.startswith("net") else 0.5
    assert all(values == [value] for values in found.values()), found
    assert (tmp_path / "cache/hub/checkpoints" / name).is_file() is (how == "address")


@pytest.mark.parametrize("how", ["path", "address"])
def test_the_init_cfg_of_a_backbone(engine: str, published: Path, address: str, tmp_path: Path, how: str) -> None:
    name = "net-published.pth"
    given = str(published / name) if how == "path" else f"{address}/{name}"
    model = network({"type": "Pretrained", "checkpoint": given, "prefix": "backbone."})
    found = prepared(engine, tmp_path / f"{engine}_init_{how}", model)
    assert found["backbone.stem.weight"] == found["backbone.norm.bias"] == [0.25]
    assert found["head.weight"] != [0.25]


def test_without_network_the_error_names_what_is_missing(engine: str, tmp_path: Path) -> None:
    model = network({"type": "Pretrained", "checkpoint": "http://127.0.0.1:9/resnet-12345678.pth"})
    with pytest.raises(OSError, match="refused") as caught:
        prepared(engine, tmp_path / f"{engine}_none", model)
    place = tmp_path / "cache/hub/checkpoints/resnet-12345678.pth"
    words = f"fetch http://127.0.0.1:9/resnet-12345678.pth elsewhere and put it at {place}"
    assert any(words in note for note in getattr(caught.value, "__notes__", [])) is (engine == "ours")

"""Files from elsewhere run nothing and read nothing: checkpoints, data-only configs, records of runs."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from seg_registry import Config, ConfigError, NotAllowedError
from seg_registry.registry.catalog import HOOKS, MODELS
from seg_runner.checkpoint.write import write_checkpoint

from seg_engine.cli import main
from seg_engine.cli.messages import guard_terminal
from seg_engine.data.pipeline import build
from seg_engine.launch import make_builder
from seg_engine.models.model_size import ModelBounds
from seg_engine.predict import load_model

OWN = """
import pathlib
pathlib.Path("RAN").touch()
import torch
from seg_registry.registry.catalog import HOOKS
from subprocess import Popen

@HOOKS.register_module(force=True)
class OwnHook:
    def before_run(self, runner):
        pathlib.Path("HOOKED").touch()

class Own(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 2, 1)

    def forward(self, inputs):
        return self.layer(inputs)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the command, with a module that leaves a trace when it is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    (tmp_path / "own_parts.py").write_text(OWN)
    cv2.imwrite(str(tmp_path / "img.png"), np.zeros((8, 8, 3), np.uint8))
    yield tmp_path
    sys.modules.pop("own_parts", None)
    for registry in (HOOKS, MODELS):
        for name in [name for name, item in registry._items.items() if item.__module__ == "own_parts"]:
            del registry._items[name]


def checkpoint(cfg: str, **weights: Any) -> str:
    write_checkpoint(Path("a.pth"), {"meta": {"cfg": cfg, "iter": 1}, "state_dict": weights})
    return "a.pth"


def own_checkpoint() -> str:
    weights = {"layer.weight": torch.zeros(2, 3, 1, 1), "layer.bias": torch.tensor([0.0, 1.0])}
    return checkpoint("custom_imports = ['own_parts']\nmodel = dict(type='own_parts.Own')\n", **weights)


def test_predict_leaves_the_imports_of_a_checkpoint_out_and_says_how_to_allow_them(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["predict", own_checkpoint(), "img.png"]) == 1
    assert "own_parts not imported" in caplog.text
    assert "--allow own_parts" in caplog.text
    assert len([line for line in caplog.messages if "own_parts" in line]) == 1
    assert "'own_parts.Own' is not allowed" in capfd.readouterr().err
    assert not Path("RAN").exists()


@pytest.mark.parametrize("words", [["--allow", "own_parts"], ["--trust-config"]])
def test_predict_uses_what_the_command_line_allows(words: list[str]) -> None:
    assert main(["predict", own_checkpoint(), "img.png", *words]) == 0
    assert Path("RAN").exists()


def test_load_model_imports_when_its_caller_says_so() -> None:
    path = own_checkpoint()
    with pytest.raises(NotAllowedError):
        load_model(path)
    with pytest.raises(NotAllowedError):
        load_model(path, allow=["another"])
    assert not Path("RAN").exists()
    for words in ({"allow_imports": True}, {"allow": ["own_parts"]}, {"trust": True}):
        assert load_model(path, **words).predict(np.zeros((4, 4, 3), np.uint8)).labels.max() == 1


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize(
    "line",
    [
        "_base_ = '/etc/passwd'",
        "_base_ = './secret.py'",
        "_base_ = ['secret.json']",
        "_base_ = 'torch::secret.py'",
        "with read_base():\n    from .secret import *",
        "_base_ = 'secret.py'\nx = _base_.model",
    ],
)
def test_the_config_in_a_checkpoint_reads_no_file(line: str, trust: bool) -> None:
    Path("secret.py").write_text("model = dict(type='own_parts.Own')\n")
    Path("secret.json").write_text('{"model": {"type": "own_parts.Own"}}')
    with pytest.raises(ConfigError, match=r"reads no other file|not installed|none of"):
        load_model(checkpoint(line + "\n"), trust=trust)


def weighed(file: str | None, **changes: Any) -> str:
    """The config of a model whose loss takes its class weights from a file."""
    loss = {"type": "CrossEntropyLoss", "class_weight": file}
    head = {"type": "TinyFCNHead", "in_channels": 4, "channels": 4, "num_classes": 2, "loss_decode": loss}
    backbone = {"type": "TinyConvNeXt", "depths": [1], "channels": [4]}
    return described(model={"type": "Segmentor", "backbone": backbone, "decode_head": head}, **changes)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("name", ["w.json", "w.npy", "w.txt"])
def test_predicting_reads_no_class_weights(name: str, whole: bool) -> None:
    """It needs none: a pipe would be waited for, and what lies here is not the matter of a checkpoint's sender."""
    plain = Config.fromstring(weighed(None), ".py", alone=True)
    weights = make_builder(plain).build("model", plain.model).state_dict()
    image = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    expected = load_model(checkpoint(weighed(None), **weights)).predict(image)
    os.mkfifo(name)
    given = str(Path(name).absolute()) if whole else name
    found = load_model(checkpoint(weighed(given), **weights)).predict(image)
    assert torch.equal(found.sample.seg_logits.data, expected.sample.seg_logits.data)


def test_a_model_that_was_built_to_predict_says_so_when_it_is_trained() -> None:
    Path("w.json").write_text("[1, 2]")
    cfg = Config.fromstring("model = dict(type='CrossEntropyLoss', class_weight='w.json')", ".py", alone=True)
    made = make_builder(cfg, files="leave").build("model", cfg.model)
    assert made.class_weight is None
    with pytest.raises(FileNotFoundError, match="left out, as the model was built to predict"):
        made(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long))


def test_rerun_reads_no_class_weights(capfd: pytest.CaptureFixture[str]) -> None:
    os.mkfifo("w.json")
    record(weighed("w.json"))
    assert main(["rerun", "run"]) == 1
    told = capfd.readouterr().err
    assert "class_weight='w.json': a config from elsewhere reads no file" in told
    assert "--trust-config" in told
    assert main(["rerun", "run", "--trust-config"]) == 1
    assert "a file is expected, and this is a folder, a pipe or a device" in capfd.readouterr().err


def test_the_config_in_a_checkpoint_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_SECRET", "hidden-word")
    with pytest.raises(Exception) as caught:
        load_model(checkpoint("model = dict(type='{{$OWN_SECRET:none}}')\n"))
    assert "hidden-word" not in str(caught.value)


def training(**keys: Any) -> dict[str, Any]:
    return {
        "model": {"type": "NoSuchModel"},
        "custom_imports": {"imports": ["own_parts"]},
        "work_dir": "out",
        **keys,
    }


@pytest.mark.parametrize("suffix", ["json", "yaml", "yml", "toml"])
def test_a_config_of_nothing_but_data_imports_nothing(suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    texts = {
        "json": json.dumps(training()),
        "yaml": "custom_imports: [own_parts]\nmodel: {type: NoSuchModel}\n",
        "toml": "custom_imports = ['own_parts']\n[model]\ntype = 'NoSuchModel'\n",
    }
    Path(f"c.{suffix}").write_text(texts.get(suffix, texts["yaml"]))
    for verb in (["train", f"c.{suffix}"], ["test", f"c.{suffix}", own_checkpoint()]):
        assert main([*verb, "--work-dir", "out"]) == 1
        assert not Path("RAN").exists()
    assert "--allow own_parts" in caplog.text
    assert main(["train", f"c.{suffix}", "--work-dir", "out", "--allow", "own_parts"]) == 1
    assert Path("RAN").exists()


def test_a_python_config_of_ones_own_imports_what_lies_beside_it() -> None:
    Path("c.py").write_text("custom_imports = ['own_parts']\nmodel = dict(type='NoSuchModel')\n")
    assert main(["train", "c.py", "--work-dir", "out"]) == 1
    assert Path("RAN").exists()


def record(config: str, name: str = "config.py") -> None:
    folder = Path("run/20250101_000000")
    folder.mkdir(parents=True)
    (folder / name).write_text(config)
    (folder / "run.json").write_text(json.dumps({"config": name, "seed": 1}))


def test_rerun_leaves_imports_out(caplog: pytest.LogCaptureFixture) -> None:
    record("custom_imports = ['own_parts']\nmodel = dict(type='own_parts.Own')\n")
    assert main(["rerun", "run"]) == 1
    assert "--allow own_parts" in caplog.text
    assert not Path("RAN").exists()


@pytest.mark.parametrize("base", ["_base_ = '../../secret.py'\n", "_base_ = '/etc/passwd'\n"])
def test_rerun_reads_no_other_file(base: str, capfd: pytest.CaptureFixture[str]) -> None:
    Path("secret.py").write_text("model = dict(type='NoSuchModel')\n")
    record(base)
    assert main(["rerun", "run"]) == 1
    assert "reads no other file" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["../../secret.py", "/etc/passwd", "../config.py"])
def test_the_record_of_a_run_names_a_config_beside_it(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    folder = Path("run/1")
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"config": name, "seed": 1}))
    assert main(["rerun", "run"]) == 1
    assert "must be the name of a file beside it" in capfd.readouterr().err


OUTSIDE = """
model = dict(type='NoSuchModel')
default_hooks = dict(checkpoint=dict(type='CheckpointHook', out_dir='{}'))
"""


@pytest.mark.parametrize("place", ["/tmp/elsewhere", "elsewhere", "../elsewhere", "~/elsewhere"])
def test_a_run_of_somebody_else_writes_below_its_folder(place: str, capfd: pytest.CaptureFixture[str]) -> None:
    record(OUTSIDE.format(place))
    key = "default_hooks.checkpoint.out_dir"
    assert main(["rerun", "run"]) == 1
    told = capfd.readouterr().err
    assert key in told
    assert "outside of the work directory" in told
    assert "config.py:3" in told
    assert not Path("run_rerun").exists()
    for words in (["--cfg-options", f"{key}=/tmp/elsewhere"], ["--cfg-options", f"{key}=_delete_"]):
        assert main(["rerun", "run", *words]) == 1
        assert "NoSuchModel" in capfd.readouterr().err


def test_data_from_elsewhere_name_no_place_and_a_config_of_ones_own_may(capfd: pytest.CaptureFixture[str]) -> None:
    hooks = {"checkpoint": {"type": "CheckpointHook", "out_dir": "/tmp/elsewhere"}}
    Path("c.json").write_text(json.dumps({"model": {"type": "NoSuchModel"}, "default_hooks": hooks}))
    Path("c.py").write_text(OUTSIDE.format("/tmp/elsewhere"))
    for config, told in (("c.json", "outside of the work directory"), ("c.py", "NoSuchModel")):
        assert main(["train", config, "--work-dir", "out"]) == 1
        assert told in capfd.readouterr().err


@pytest.mark.parametrize(
    ("keys", "config", "words"),
    [
        ({"git": {"changed": 5}}, "", "'changed' of 'git' is no list of files"),
        ({"git": {"changed": {"a": 1}}}, "", "'changed' of 'git' is no list of files"),
        ({"versions": {"": "1", "../x": "2", "a\x1b[31m": "3"}}, "", "the config has no 'model'"),
        ({}, "randomness = 3\n", "randomness must be a dict, not 3"),
        ({}, "randomness = 'seed'\n", "randomness must be a dict, not 'seed'"),
    ],
)
def test_an_odd_record_of_a_run_is_told_in_words(
    keys: dict[str, Any], config: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    record(config)
    path = Path("run/20250101_000000/run.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))
    assert main(["rerun", "run"]) == 1
    told = capfd.readouterr()
    assert words in told.err
    assert "\x1b" not in told.out + told.err


def test_what_a_hostile_checkpoint_tried() -> None:
    """A class of torch whose constructor starts a process, opened by custom_imports of its package."""
    place = "torch.distributed.elastic.multiprocessing.subprocess_handler"
    arguments = "args=['RAN'], env={}, stdout=None, stderr=None, local_rank_id=0, numa_options=None"
    for imports in (place, "torch"):
        text = f"custom_imports = ['{imports}']\n"
        text += f"model = dict(type='{place}.SubprocessHandler', entrypoint='touch', {arguments})\n"
        path = checkpoint(text)
        Path("c.py").write_text(text)
        with pytest.raises(NotAllowedError):
            load_model(path, allow_imports=True)
        for verb in (["predict", path, "img.png"], ["train", "c.py", "--work-dir", "out"]):
            assert main(verb) == 1
    assert not Path("RAN").exists()


@pytest.mark.parametrize("program", ["./evil", [None, "./evil"]])
def test_no_config_names_the_program_that_a_compiler_starts(program: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """torch's compiler starts what `cpp.cxx` says, so a config of nothing but data ran a command."""
    Path("evil").write_text("#!/bin/sh\ntouch RAN\n")
    Path("evil").chmod(0o755)
    model = {"type": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 2, "kernel_size": 1}
    compiled = {"options": {"cpp.cxx": program, "epilogue_fusion": True}}
    cfg = {"model": model, "work_dir": "out", "compile": compiled}
    Path("c.json").write_text(json.dumps(cfg))
    Path("c.py").write_text("".join(f"{key} = {value!r}\n" for key, value in cfg.items()))
    record(Path("c.py").read_text())
    for verb, place in (["train", "c.json"], "c.json:1"), (["train", "c.py"], "c.py:3"), (["rerun", "run"], ":3"):
        assert main(verb) == 1
        told = capfd.readouterr().err
        assert "compile.options['cpp.cxx'] (" in told
        assert place in told
    assert not Path("RAN").exists()


def described(**changes: Any) -> str:
    model = {"type": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 2, "kernel_size": 1}
    return "".join(f"{key} = {value!r}\n" for key, value in {"model": model, **changes}.items())


@pytest.mark.parametrize(
    ("cfg", "about", "words"),
    [
        (3, None, "meta.cfg is a int"),
        (["x"], None, "meta.cfg is a list"),
        (described(), 3, "meta.dataset_meta is a int"),
        (described(), {"classes": 3}, "meta.dataset_meta.classes is a int"),
        (described(), {"classes": ["a", 3]}, "no name"),
        (described(model=3), None, "describes no model: model=3"),
        (described(model=None), None, "describes no model"),
        (described(test_pipeline=3), None, "test_pipeline must be a list of transforms"),
        (described(test_pipeline="abc"), None, "test_pipeline must be a list of transforms"),
        (described(test_pipeline=[None]), None, "test_pipeline: a dict with the name"),
        (described(test_dataloader={"dataset": {"pipeline": [{"type": 3}]}}), None, "test_dataloader.dataset.pipeline"),
        (described(val_dataloader={"dataset": {"pipeline": [{}]}}), None, "val_dataloader.dataset.pipeline"),
    ],
)
def test_what_is_odd_in_a_checkpoint_is_told_in_words(cfg: Any, about: Any, words: str) -> None:
    weights = {"weight": torch.zeros(2, 3, 1, 1), "bias": torch.tensor([0.0, 1.0])}
    meta = {"cfg": cfg, "iter": 1, **({} if about is None else {"dataset_meta": about})}
    write_checkpoint(Path("a.pth"), {"meta": meta, "state_dict": weights})
    with pytest.raises(ValueError, match=words):
        load_model("a.pth")


@pytest.mark.parametrize("odd", [3, "x", [1], {"dataset": 3}, {"dataset": [1]}])
def test_what_no_prediction_needs_may_be_odd(odd: Any) -> None:
    weights = {"weight": torch.zeros(2, 3, 1, 1), "bias": torch.tensor([0.0, 1.0])}
    path = checkpoint(described(test_dataloader=odd), **weights)
    assert load_model(path).predict(np.zeros((4, 4, 3), np.uint8)).labels.max() == 1


def layer(kind: str, **options: Any) -> dict[str, Any]:
    return {"type": f"torch.nn.{kind}", **options}


def segmentor(**backbone: Any) -> dict[str, Any]:
    head = {"type": "TinyFCNHead", "in_channels": 128, "channels": 4, "num_classes": 2}
    return {"type": "Segmentor", "backbone": backbone, "decode_head": head}


@pytest.mark.parametrize(
    "model",
    [
        segmentor(type="TinyConvNeXt", depths=[10**5, 1, 1, 1]),
        segmentor(type="TinyViT", num_layers=10**9),
        layer("Transformer", d_model=8192, num_encoder_layers=1000),
        layer("Transformer", d_model=8, nhead=2, num_encoder_layers=10**9),
        layer("Conv2d", in_channels=200_000, out_channels=200_000, kernel_size=1),
        layer("Embedding", num_embeddings=10**10, embedding_dim=10),
        layer("LSTM", input_size=1, hidden_size=1, num_layers=10**9),
    ],
)
def test_a_checkpoint_describes_no_model_larger_than_its_weights(
    model: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """A file of two kilobytes; these models are of up to hundreds of gigabytes, or take hours to build."""
    path = checkpoint(described(model=model), weight=torch.zeros(2, 3, 1, 1))
    assert main(["predict", path, "img.png"]) == 1
    assert "describes a model larger than the weights in the file" in capfd.readouterr().err


class Drops(torch.nn.Module):
    """A constructor that asks for the values of a tensor, which none has on the meta device."""

    def __init__(self) -> None:
        super().__init__()
        rates = [rate.item() for rate in torch.linspace(0, 0.5, 3)]
        self.layers = torch.nn.Sequential(*(torch.nn.Dropout(rate) for rate in rates), torch.nn.Linear(4, 4))
        self.scale = torch.nn.Parameter(torch.randn(4).cumsum(0).repeat(2))
        self.register_buffer("kept", torch.arange(9).nonzero(), persistent=False)
        assert rates[-1] == 0.5


@pytest.mark.parametrize(
    "make",
    [
        Drops,
        lambda: torch.nn.Transformer(16, 2, 2, 2, 32, batch_first=True),
        lambda: torch.nn.LSTM(3, 5, 2),
        lambda: build("model", segmentor(type="TinyConvNeXt")),
        lambda: build("model", segmentor(type="TinyViT")),
    ],
)
def test_models_within_their_bounds_are_built_as_ever(make: Callable[[], torch.nn.Module]) -> None:
    torch.manual_seed(3)
    expected, random = make(), torch.get_rng_state()
    torch.manual_seed(3)
    with ModelBounds(1000, 10):
        found = make()
    assert torch.equal(torch.get_rng_state(), random)
    pairs = zip(expected.state_dict().items(), found.state_dict().items(), strict=True)
    assert all(name == other and torch.equal(one, two) for (name, one), (other, two) in pairs)


ODD = "own\x1b]0;taken\x07\nparts"


def test_no_name_out_of_a_checkpoint_is_carried_out_by_the_terminal(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    weights = {"weight": torch.zeros(2, 3, 1, 1), "bias": torch.tensor([0.0, 1.0])}
    path = checkpoint(described(custom_imports=[ODD, "own_parts"], default_scope=ODD), **weights)
    assert main(["predict", path, "img.png"]) == 0
    assert not {"\x1b", "\x07"} & set("".join(capfd.readouterr()) + caplog.text)
    assert f"--allow {ODD!r} --allow own_parts" in caplog.text


def test_no_line_of_a_log_is_carried_out_by_the_terminal() -> None:
    guard_terminal()
    assert logging.lastResort is not None
    assert logging.lastResort.format(logging.makeLogRecord({"msg": "a\x1b[31m"})) == "a\\x1b[31m"

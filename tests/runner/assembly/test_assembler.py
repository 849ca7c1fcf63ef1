"""From configs to parts, through a builder that a test made up: what is looked up, and what is left as it was."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from seg_runner import Evaluator, IoUMetric, LogProcessor
from seg_runner.assembly.assembler import Assembler, is_named


class Part:
    """Remembers what it was built with."""

    def __init__(self, **given: Any) -> None:
        self.given = given


class Wrapper(Part):
    def update_params(self, loss: Any) -> None: ...


class Constructor(Part):
    def __call__(self, model: Any) -> Any:
        return Wrapper(model=model, **self.given)


class Schedule(Part):
    @classmethod
    def build_iter_from_epoch(cls, *, epoch_length: int, **given: Any) -> Schedule:
        return cls(converted=epoch_length, **given)


class Builder:
    """The smallest builder: a table of names."""

    names: dict[str, Any] = {
        "OptimWrapper": Wrapper,
        "OptimWrapperDict": Wrapper,
        "DefaultOptimWrapperConstructor": Constructor,
        "SGD": torch.optim.SGD,
        "PolyLR": Schedule,
        "Net": Part,
        "SomeHook": Part,
        "SomeVisualizer": Part,
        "LocalVisBackend": Part,
        "IoUMetric": IoUMetric,
    }

    def get(self, kind: str, name: str) -> Any:
        return self.names[name]

    def build(self, kind: str, cfg: Mapping[str, Any], **defaults: Any) -> Any:
        own = {**defaults, **cfg}
        name = own.pop("type")
        return (self.names[name] if isinstance(name, str) else name)(**own)


@pytest.fixture
def assembler() -> Assembler:
    return Assembler(Builder())


def test_objects_pass_through_untouched(assembler: Assembler) -> None:
    thing = object()
    assert assembler.part("model", thing, "model") is thing
    assert assembler.model(thing) is thing
    assert assembler.optim_wrapper(thing, None) is thing
    assert assembler.hook(thing, "hook") == (thing, None)
    assert assembler.visualizer(thing, "name", Path()) is thing
    assert assembler.dataloader(thing, "train_dataloader", None) is thing


def test_the_preprocessor_goes_into_a_model_that_has_none_of_its_own(assembler: Assembler) -> None:
    cfg = {"type": "Net", "backbone": {"type": "Left alone"}}
    model = assembler.model(cfg, data_preprocessor={"mean": 0})
    assert model.given == {"backbone": {"type": "Left alone"}, "data_preprocessor": {"mean": 0}}
    assert "data_preprocessor" not in cfg
    own = assembler.model({**cfg, "data_preprocessor": None}, data_preprocessor={"mean": 0})
    assert own.given["data_preprocessor"] is None


def test_a_wrapper_is_made_by_its_constructor_with_classes_for_names(assembler: Assembler) -> None:
    cfg = {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}, "paramwise_cfg": {"a": 1}, "clip_grad": 2}
    made = assembler.optim_wrapper(cfg, "the model").given
    assert made["model"] == "the model"
    assert made["paramwise_cfg"] == {"a": 1}
    optimizer = {"type": torch.optim.SGD, "lr": 0.1}
    assert made["optim_wrapper_cfg"] == {"type": Wrapper, "optimizer": optimizer, "clip_grad": 2}
    assert cfg["optimizer"] == {"type": "SGD", "lr": 0.1}


def test_steps_that_must_round_like_the_reference_are_not_fused(assembler: Assembler) -> None:
    assembler.exact = True
    made = assembler.optim_wrapper({"optimizer": {"type": "SGD", "lr": 0.1}}, None).given
    assert made["optim_wrapper_cfg"]["optimizer"]["fused"] is False
    chosen = assembler.optim_wrapper({"optimizer": {"type": "SGD", "lr": 0.1, "foreach": True}}, None).given
    assert "fused" not in chosen["optim_wrapper_cfg"]["optimizer"]


def test_several_ready_wrappers_become_one(assembler: Assembler) -> None:
    one, two = Wrapper(), Wrapper()
    assert assembler.optim_wrapper({"one": one, "two": two}, None).given == {"one": one, "two": two}
    with pytest.raises(
        ValueError, match=r"neither 'optimizer' nor 'constructor', but 'type', 'optimzer'. Did you mean 'optimizer'"
    ):
        assembler.optim_wrapper({"type": "OptimWrapper", "optimzer": {"type": "SGD"}}, None)


def test_schedules_get_their_optimizer_and_their_end(assembler: Assembler) -> None:
    cfg = [
        {"type": "PolyLR", "by_epoch": False},
        {"type": "PolyLR"},
        {"type": "PolyLR", "end": 3, "convert_to_iter_based": True},
        "ready",
    ]
    made = assembler.param_schedulers(cfg, "wrapper", {True: 7, False: 700}, 100)
    assert made[0].given == {"optimizer": "wrapper", "by_epoch": False, "end": 700}
    assert made[1].given["end"] == 7
    assert made[2].given == {"optimizer": "wrapper", "converted": 100, "end": 3}
    assert made[3] == "ready"
    assert assembler.param_schedulers(None, None, {}, None) == []
    assert len(assembler.param_schedulers(cfg[0], "wrapper", {True: 7, False: 700}, 100)) == 1


def test_schedules_by_the_optimizers_name(assembler: Assembler) -> None:
    wrapper = {"one": "first", "two": "second"}
    made = assembler.param_schedulers({"two": [{"type": "PolyLR", "end": 1}]}, wrapper, {True: 1, False: 1}, None)
    assert made["two"][0].given["optimizer"] == "second"
    with pytest.raises(ValueError, match=r"there is no optimizer 'three' \(there are: one, two\)"):
        assembler.param_schedulers({"three": []}, wrapper, {}, None)


def test_a_list_of_schedules_is_for_each_of_several_optimizers(assembler: Assembler) -> None:
    wrapper = {"one": "first", "two": "second"}
    for cfg in ([{"type": "PolyLR", "end": 1}], {"type": "PolyLR", "end": 1}):
        made = assembler.param_schedulers(cfg, wrapper, {True: 1, False: 1}, None)
        assert {name: [each.given["optimizer"] for each in listed] for name, listed in made.items()} == {
            "one": ["first"],
            "two": ["second"],
        }
    assert assembler.param_schedulers(["ready"], wrapper, {True: 1, False: 1}, None) == ["ready"]


@pytest.mark.parametrize(
    ("cfg", "error", "says"),
    [
        ([{"power": 1}], TypeError, "entry without 'type'"),
        ([{"type": "PolyLR", "by_epoch": False, "convert_to_iter_based": True}], ValueError, "needs by_epoch=True"),
    ],
)
def test_wrong_schedules(assembler: Assembler, cfg: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        assembler.param_schedulers(cfg, None, {True: 1, False: 1}, 10)


def test_a_hooks_priority_is_taken_out_of_its_config(assembler: Assembler) -> None:
    hook, priority = assembler.hook({"type": "SomeHook", "priority": "LOW", "a": 1}, "hook")
    assert (hook.given, priority) == ({"a": 1}, "LOW")


def test_backends_get_a_folder_unless_they_have_one(assembler: Assembler, tmp_path: Path) -> None:
    cfg = {"type": "SomeVisualizer", "vis_backends": [{"type": "LocalVisBackend"}, {"type": Part, "save_dir": "mine"}]}
    made = assembler.visualizer(cfg, "run", tmp_path).given
    assert [backend.given["save_dir"] for backend in made["vis_backends"]] == [str(tmp_path / "vis_data"), "mine"]
    assert made["name"] == "run"


def test_a_backends_name_is_for_the_visualizer(assembler: Assembler, tmp_path: Path) -> None:
    cfg = {"type": "SomeVisualizer", "vis_backends": {"type": "LocalVisBackend", "name": "second"}}
    (backend,) = assembler.visualizer(cfg, "run", tmp_path).given["vis_backends"]
    assert backend.name == "second"
    assert "name" not in backend.given
    assert cfg["vis_backends"] == {"type": "LocalVisBackend", "name": "second"}


class OfMMEngine(Part):
    """Derives from one of MMEngine's."""

    __module__ = "mmengine.somewhere"


class Average:
    __module__ = "my_project.averages"


@pytest.fixture
def with_mmengine(monkeypatch: pytest.MonkeyPatch) -> Assembler:
    """An assembler beside an MMEngine that knows an optimizer, a wrapper, and a constructor of the user's."""
    more = {"Theirs": OfMMEngine, "Mine": type("Mine", (Constructor,), {}), "Own": Average, "mmengine.EMA": OfMMEngine}
    monkeypatch.setattr(Builder, "names", {**Builder.names, **more})
    module = ModuleType("mmengine.registry")
    tables = {"OPTIMIZERS": {"SGD": 0}, "OPTIM_WRAPPERS": {"OptimWrapper": 0}, "OPTIM_WRAPPER_CONSTRUCTORS": more}
    for name, table in tables.items():
        monkeypatch.setattr(module, name, SimpleNamespace(module_dict=table, children={}), raising=False)
    monkeypatch.setitem(sys.modules, "mmengine.registry", module)
    return Assembler(Builder())


def test_a_visualizer_of_mmengine_makes_its_backends_itself(with_mmengine: Assembler, tmp_path: Path) -> None:
    cfg = {"type": "Theirs", "vis_backends": [{"type": "LocalVisBackend"}]}
    made = with_mmengine.visualizer(cfg, "run", tmp_path)
    assert type(made) is OfMMEngine
    assert made.given == {"vis_backends": cfg["vis_backends"], "name": "run", "save_dir": str(tmp_path)}


def test_a_constructor_written_for_mmengine_gets_the_names_that_mmengine_knows(with_mmengine: Assembler) -> None:
    cfg: dict[str, Any] = {"constructor": "Mine", "type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}}
    given = with_mmengine.optim_wrapper(cfg, None).given["optim_wrapper_cfg"]
    assert given == {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}}
    cfg["optimizer"]["type"] = "PolyLR"  # a name that only ours knows
    assert with_mmengine.optim_wrapper(cfg, None).given["optim_wrapper_cfg"]["optimizer"]["type"] is Schedule
    ours = with_mmengine.optim_wrapper({"optimizer": {"type": "SGD"}}, None).given["optim_wrapper_cfg"]
    assert (ours["type"], ours["optimizer"]["type"]) == (Wrapper, torch.optim.SGD)


@pytest.mark.parametrize(
    ("hook", "given", "expected"),
    [
        ("SomeHook", "Own", Average),
        ("SomeHook", "mmengine.EMA", "EMA"),
        ("SomeHook", "Unknown", "Unknown"),
        ("Theirs", "Own", "Own"),
    ],
)
def test_an_average_that_somebody_registered(with_mmengine: Assembler, hook: str, given: str, expected: Any) -> None:
    made, _ = with_mmengine.hook({"type": hook, "ema_type": given}, "custom_hooks.0")
    assert made.given["ema_type"] == expected


def test_evaluators(assembler: Assembler) -> None:
    metric = {"type": "IoUMetric", "num_classes": 2}
    for cfg in (metric, [metric], {"metrics": [metric]}, IoUMetric(num_classes=2), Evaluator(IoUMetric(num_classes=2))):
        made = assembler.evaluator(cfg, "val_evaluator")
        assert [type(one) for one in made.metrics] == [IoUMetric]
    named = assembler.evaluator({"a": metric, "b": [metric]}, "val_evaluator")
    assert set(named) == {"a", "b"}


def test_log_processors(assembler: Assembler) -> None:
    assert assembler.log_processor(None, by_epoch=False).by_epoch is False
    assert assembler.log_processor({"window_size": 3}).window_size == 3
    assert assembler.log_processor({"type": "LogProcessor", "window_size": 3}).window_size == 3
    ready = LogProcessor()
    assert assembler.log_processor(ready) is ready


def test_a_class_as_type_needs_no_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seg_runner.assembly.assembler.find_builder", lambda cfg: None)
    assert Assembler(None).part("model", {"type": Part, "a": 1}, "model", b=2).given == {"a": 1, "b": 2}
    with pytest.raises(TypeError, match='give the object itself, or pip install "seg-registry @ git'):
        Assembler(None).part("model", {"type": "Part"}, "model")
    with pytest.raises(TypeError, match="a dict without 'type'"):
        Assembler(None).part("model", {"a": 1}, "model")


def test_the_config_says_where_a_key_stands() -> None:
    class Config(dict[str, Any]):
        def origin(self, key: str) -> str:
            return f"train.py:12 {key}"

    with pytest.raises(TypeError, match=r"model \(train.py:12 model\) is a dict without 'type'"):
        Assembler(Builder(), Config()).part("model", {}, "model")


@pytest.mark.parametrize(
    ("cfg", "named"),
    [
        ({"a": [1], "b": [2]}, True),
        ({"a": {"dataset": 1}}, True),
        ({"dataset": [1]}, False),
        ({"batch_size": 2, "a": [1]}, False),
        ({}, False),
        ([1], False),
    ],
)
def test_named_loaders_are_told_from_the_config_of_one(cfg: Any, named: bool) -> None:
    assert is_named(cfg) is named

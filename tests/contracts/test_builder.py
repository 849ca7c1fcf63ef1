"""What the runner expects of a builder, tried on the real one."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest
from seg_registry import NotAllowedError
from seg_runner.protocols import Builder

KINDS = {
    "hook": "CheckpointHook",
    "optim_wrapper": "OptimWrapper",
    "optim_wrapper_constructor": "LearningRateDecayOptimizerConstructor",
    "param_scheduler": "PolyLR",
    "loop": "IterBasedTrainLoop",
    "visualizer": "SegLocalVisualizer",
    "vis_backend": "LocalVisBackend",
    "model": "SegDataPreProcessor",
    "dataset": "BaseSegDataset",
    "data_sampler": "InfiniteSampler",
    "transform": "LoadAnnotations",
    "metric": "IoUMetric",
    "evaluator": "Evaluator",
    "log_processor": "LogProcessor",
    "function": "pseudo_collate",
}


def make(cfg: object = None) -> Builder:
    """The builder that a runner finds for itself."""
    (point,) = entry_points(group="seg_engine.build")
    built = point.load()(cfg)
    assert isinstance(built, Builder)
    return built


@pytest.mark.parametrize(("kind", "name"), KINDS.items())
def test_every_kind_is_found_by_the_name_that_configs_use(kind: str, name: str) -> None:
    assert make().get(kind, name).__name__ == name


def test_torch_optimizers_have_their_own_names() -> None:
    assert make().get("optimizer", "AdamW").__module__.startswith("torch.optim")


def test_defaults_fill_missing_keys_only() -> None:
    hook = make().build("hook", {"type": "LoggerHook", "interval": 7}, interval=3, ignore_last=False)
    assert (hook.interval, hook.ignore_last) == (7, False)


def test_a_class_may_stand_for_its_name() -> None:
    class Part:
        def __init__(self, size: int) -> None:
            self.size = size

    assert make().build("model", {"type": Part, "size": 2}).size == 2


def test_the_config_given_is_not_changed() -> None:
    cfg = {"type": "LoggerHook", "interval": 7, "_delete_": True}
    make().build("hook", cfg)
    assert cfg == {"type": "LoggerHook", "interval": 7, "_delete_": True}


def test_a_miss_names_what_is_near() -> None:
    with pytest.raises(KeyError, match="CheckpointHook"):
        make().get("hook", "ChekpointHook")


def test_an_exception_of_a_constructor_keeps_its_type_and_gains_one_note() -> None:
    class Brittle:
        def __init__(self, size: int) -> None:
            raise ZeroDivisionError(size)

    with pytest.raises(ZeroDivisionError) as caught:
        make().build("model", {"type": Brittle, "size": 2})
    assert len(caught.value.__notes__) == 1
    assert "size" in caught.value.__notes__[0]


@pytest.mark.parametrize("name", ["os.getpid", "subprocess:Popen", "torch.utils.collect_env.subprocess.Popen"])
def test_a_config_cannot_call_what_it_likes(name: str) -> None:
    with pytest.raises(NotAllowedError):
        make().build("model", {"type": name})


def test_a_missing_scope_is_no_error() -> None:
    assert make({"default_scope": "mmseg"}).get("hook", "EMAHook").__name__ == "EMAHook"

"""Code as people write it for MMEngine, run by MMEngine's Runner and by ours: what both leave behind, to compare.

A project is one file of `tests/parity/projects`. It imports from mmengine (or mmseg), registers its classes, and says:

- `CHANGES`: config keys over those of `COMMON`, merged as a config merges over its `_base_`;
- `run(runner)`: what is done with the runner; without it, `runner.train()`;
- `facts(runner) -> dict`: what is compared besides losses, rates, metrics, weights, logged rows and names of files;
- `REFUSED`: words of our error, where we cannot run it: they say what to change;
- `DIFFERS`: the entry of `docs/differences.md`, where both run and a difference is meant; `DIFFERS_IN`: where it may
  be, such as `(".files",)`; all else must be equal.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pprint import pformat
from types import ModuleType
from typing import Any

import mmengine.registry
import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope, Registry
from mmengine.visualization import Visualizer

PROJECTS = Path(__file__).resolve().parent.parent / "parity" / "projects"

COMMON = """
model = dict(type='TinyModel')
train_dataloader = dict(
    batch_size=2, num_workers=0, dataset=dict(type='TinyDataset'), sampler=dict(type='InfiniteSampler', shuffle=True))
val_dataloader = dict(
    batch_size=2, num_workers=0, dataset=dict(type='TinyDataset'), sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
val_evaluator = dict(type='TinyAccuracy')
test_evaluator = val_evaluator
train_cfg = dict(type='IterBasedTrainLoop', max_iters=6, val_interval=6)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=0.001))
param_scheduler = [dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=6, by_epoch=False)]
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=2, log_metric_by_epoch=False),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=6))
log_processor = dict(by_epoch=False)
randomness = dict(seed=7)
"""

NOT_COMPARED = ("time", "data_time", "eta", "memory")
"""What the clock and the machine decide."""
OURS_ALONE = {
    "rows": ("mode", "epoch", "iter", "optim_step"),
    "files": ("START/origins.json", "START/project.py", "START/run.json", "START/uncommitted.diff"),
}
"""What ours writes besides what MMEngine writes: keys of a row, and files."""


class TinyDataset(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Eight images, with augmentation from torch's and numpy's global generators."""

    metainfo = {"classes": ("a", "b", "c"), "palette": [[0, 0, 0], [9, 9, 9], [99, 99, 99]]}

    def __init__(self, length: int = 8) -> None:
        generator = torch.Generator().manual_seed(5)
        self.images = torch.randn(length, 3, 6, 6, generator=generator)
        self.labels = torch.randint(0, 3, (length,), generator=generator)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = self.images[index] + 0.1 * torch.randn(3, 6, 6) + float(np.random.rand())
        return {"inputs": image, "data_samples": self.labels[index]}


class TinyModel(BaseModel):
    """A convolution, a norm with buffers, dropout."""

    def __init__(self, data_preprocessor: Any = None, init_cfg: Any = None) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.conv = torch.nn.Conv2d(3, 5, 3)
        self.norm = torch.nn.BatchNorm2d(5)
        self.drop = torch.nn.Dropout(0.2)
        self.head = torch.nn.Linear(5, 3)

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        if isinstance(inputs, list):
            inputs, data_samples = torch.stack(inputs), torch.stack(data_samples)
        out = self.head(self.drop(self.norm(self.conv(inputs)).relu()).mean((2, 3)))
        if mode == "tensor":
            return out
        if mode == "loss":
            loss = torch.nn.functional.cross_entropy(out, data_samples)
            return {"loss_ce": loss, "acc": out.argmax(1).eq(data_samples).float().mean()}
        return list(zip(out.argmax(1).tolist(), data_samples.tolist(), strict=True))


class TinyAccuracy(BaseMetric):
    """Share of right answers, in percent."""

    default_prefix = "tiny"

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results += [float(guess == truth) for guess, truth in data_samples]

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        return {"acc": 100.0 * float(np.mean(results))}


class Recorder(Hook):
    """Writes down losses, rates and metrics as they come; the last hook of each point."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.losses: list[dict[str, float]] = []
        self.rates: list[dict[str, list[float]]] = []
        self.metrics: list[dict[str, Any]] = []

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.losses.append({name: float(value) for name, value in (outputs or {}).items()})
        self.rates.append(
            {name: sorted(set(map(float, values))) for name, values in runner.optim_wrapper.get_lr().items()}
        )

    def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
        self.metrics.append(dict(metrics or {}))

    def after_test_epoch(self, runner: Any, metrics: Any = None) -> None:
        self.metrics.append(dict(metrics or {}))


def project_files() -> list[Path]:
    """Every project, by its place in the folder; nobody registers one."""
    return sorted(path for path in PROJECTS.rglob("*.py") if not path.name.startswith("_"))


def run_project(path: Path, engine: str, folder: Path, **more: object) -> tuple[ModuleType, dict[str, Any]]:
    """Run a project by `mmengine` or by `ours`; returns its module, and what it left. `more` goes over its changes."""
    with own_registries():
        module = _loaded(path)
        config = _config_file(engine, folder, {**getattr(module, "CHANGES", {}), **more})
        recorder = Recorder()
        runner = _runner(engine, config)
        runner.register_hook(recorder)
        getattr(module, "run", lambda one: one.train())(runner)
        return module, left_by(runner, recorder, module, folder / "work")


def left_by(runner: Any, recorder: Recorder, module: ModuleType, work_dir: Path) -> dict[str, Any]:
    """What is compared."""
    facts: Callable[[Any], dict[str, Any]] = getattr(module, "facts", lambda _: {})
    model = getattr(runner.model, "module", runner.model)
    return {
        "losses": recorder.losses,
        "rates": recorder.rates,
        "metrics": recorder.metrics,
        "weights": {name: value.clone() for name, value in model.state_dict().items()},
        "scalars": {
            name: [float(value) for value in history.data[0]]
            for name, history in runner.message_hub.log_scalars.items()
            if name.rpartition("/")[2] not in NOT_COMPARED
        },
        "rows": _rows(work_dir),
        "files": _files(work_dir),
        "facts": facts(runner),
    }


def project_differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """Where two runs of a project differ; what only ours writes, on purpose, is no difference."""
    rows = [dict(row) for row in here["rows"]]
    for row, other in zip(rows, there["rows"], strict=False):
        for key in set(OURS_ALONE["rows"]) - set(other):
            row.pop(key, None)
    files = [name for name in here["files"] if name not in OURS_ALONE["files"] or name in there["files"]]
    return differences(there, {**here, "rows": rows, "files": files})


def differences(there: Any, here: Any, where: str = "") -> list[str]:
    """Where two values differ, each place in one line."""
    if isinstance(there, dict) and isinstance(here, dict):
        found = [f"{where}.{key}: only MMEngine has it: {there[key]!r}" for key in there if key not in here]
        found += [f"{where}.{key}: only ours has it: {here[key]!r}" for key in here if key not in there]
        return found + [
            line for key in there if key in here for line in differences(there[key], here[key], f"{where}.{key}")
        ]
    if isinstance(there, list | tuple) and isinstance(here, list | tuple) and len(there) == len(here):
        return [
            line
            for index, (one, two) in enumerate(zip(there, here, strict=True))
            for line in differences(one, two, f"{where}[{index}]")
        ]
    if isinstance(there, torch.Tensor) and isinstance(here, torch.Tensor):
        same = there.shape == here.shape and torch.equal(there, here)
        there, here = list(there.shape), list(here.shape)  # values of weights say little
    elif isinstance(there, np.ndarray) or isinstance(here, np.ndarray):
        same = bool(np.array_equal(there, here))
    else:
        same = there == here or (there != there and here != here)  # NaN is NaN
    return [] if same else [f"{where}: MMEngine {there!r}, ours {here!r}"]


@contextmanager
def own_registries() -> Iterator[None]:
    """Put back, at the end, what a project has registered, and the instances that its run has left."""
    registries = list(_registries())
    kept = [dict(registry.module_dict) for registry in registries]
    children = [dict(registry.children) for registry in registries]
    managed = (MessageHub, MMLogger, Visualizer, DefaultScope)
    instances = [dict(kind._instance_dict) for kind in managed]
    modules = set(sys.modules)
    for registry, kind in (("MODELS", TinyModel), ("DATASETS", TinyDataset), ("METRICS", TinyAccuracy)):
        getattr(mmengine.registry, registry).register_module(module=kind, force=True)
    try:
        yield
    finally:
        for registry, held, below in zip(registries, kept, children, strict=True):
            for name in [name for name, kind in registry.module_dict.items() if _is_users(kind)]:
                del registry.module_dict[name]
            registry.module_dict.update(held)
            registry.children.clear()
            registry.children.update(below)
        for kind, held in zip(managed, instances, strict=True):
            for name in kind._instance_dict.keys() - held.keys() if kind is MMLogger else ():
                for handler in kind._instance_dict[name].handlers:
                    handler.close()
            kind._instance_dict.clear()
            kind._instance_dict.update(held)
        for name in set(sys.modules) - modules:
            if name.startswith("user_project_"):
                del sys.modules[name]


def _is_users(kind: object) -> bool:
    """Whether a project or this module has it; what libraries register while they are imported is theirs for good."""
    return str(getattr(kind, "__module__", "")).startswith(("user_project_", __name__))


def _registries() -> Iterator[Registry]:
    roots = {id(one): one for one in vars(mmengine.registry).values() if isinstance(one, Registry)}
    waiting = list(roots.values())
    while waiting:
        registry = waiting.pop()
        yield registry
        waiting += registry.children.values()


def _loaded(path: Path) -> ModuleType:
    """Import a project anew, as a user's script imports it before the run."""
    name = "user_project_" + "_".join(path.relative_to(PROJECTS).with_suffix("").parts)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _config_file(engine: str, folder: Path, own: dict[str, Any]) -> Path:
    """Write the project's config over the common one; returns its path."""
    folder.mkdir()
    (folder / "common.py").write_text(COMMON, encoding="utf-8")
    stream = {"randomness": {"stream": "mmengine"}} if engine == "ours" else {}
    changes = {"_base_": "common.py", "work_dir": str(folder / "work"), **stream, **own}
    if engine == "ours" and "randomness" in changes:
        changes["randomness"] = {**changes["randomness"], "stream": "mmengine"}
    text = "\n".join(f"{key} = {pformat(value, sort_dicts=False)}" for key, value in changes.items())
    path = folder / "project.py"
    path.write_text(text + "\n", encoding="utf-8")
    return path


def _runner(engine: str, config: Path) -> Any:
    if engine == "ours":
        import seg_registry
        import seg_runner

        return seg_runner.Runner.from_cfg(seg_registry.Config.fromfile(config))
    from mmengine.config import Config
    from mmengine.runner import Runner

    cfg = Config.fromfile(config)
    return mmengine.registry.RUNNERS.build(cfg) if "runner_type" in cfg else Runner.from_cfg(cfg)


def _rows(work_dir: Path) -> list[dict[str, Any]]:
    """The rows of the file of scalars, without what the clock decides."""
    rows = [
        json.loads(line)
        for path in sorted(work_dir.glob("*/vis_data/scalars.json"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return [{key: value for key, value in row.items() if key.rpartition("/")[2] not in NOT_COMPARED} for row in rows]


def _files(work_dir: Path) -> list[str]:
    """Names of the files of a run below its work directory, with one word for the time of its start."""
    names = [str(path.relative_to(work_dir)) for path in work_dir.rglob("*") if path.is_file()]
    return sorted({re.sub(r"\d{8}_\d{6}(_\d+)?", "START", name) for name in names})

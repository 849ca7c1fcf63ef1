"""What code that asks MMEngine for its global instances gets: under MMEngine's runner, and here."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

for package in ("mmengine", "mmcv", "mmseg", "seg_registry", "seg_hooks", "seg_optim", "seg_vis"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed here", allow_module_level=True)

from benchmarks._mmsegmentation import import_mmseg  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
STEPS = 4
CLASSES = ("road", "sky", "tree")


class Grids(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Images whose pixels are labels, more or less."""

    metainfo = {"classes": CLASSES, "palette": [[0, 0, 0], [9, 9, 9], [99, 99, 99]]}

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, Any]:
        from mmengine.structures import PixelData
        from mmseg.structures import SegDataSample

        generator = torch.Generator().manual_seed(index)
        sample = SegDataSample(metainfo={"img_path": f"{index}.png"})
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 3, (1, 4, 4), generator=generator))
        return {"inputs": torch.rand((3, 4, 4), generator=generator), "data_samples": sample}


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    """A model and a hook as people write them."""
    import_mmseg()
    from mmengine.hooks import Hook
    from mmengine.logging import MessageHub, MMLogger, print_log
    from mmengine.model import BaseModel
    from mmengine.registry import DefaultScope
    from mmengine.structures import PixelData
    from mmengine.visualization import Visualizer

    class Net(BaseModel):
        """Computes by progress: the weight of the second loss grows with what the hub says."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 3, 1)
            hub, scope = MessageHub.get_current_instance(), DefaultScope.get_current_instance()
            self.seen = {
                "seed": hub.get_info("seed"),
                "iter": hub.get_info("iter"),
                "scope": scope.scope_name,
                "one name": hub.instance_name == MMLogger.get_current_instance().instance_name == scope.instance_name,
            }
            Visualizer.get_current_instance().add_scalar("drawn", 3.0, 7)
            MMLogger.get_current_instance().info("the head was made")

        def forward(self, inputs: Any, data_samples: Any, mode: str) -> Any:
            logits = self.conv(torch.stack(list(inputs)))
            if mode == "predict":
                for sample, one in zip(data_samples, logits, strict=True):
                    sample.pred_sem_seg = PixelData(data=one.argmax(0, keepdim=True))
                return data_samples
            hub = MessageHub.get_current_instance()
            share = hub.get_info("iter", 0) / hub.get_info("max_iters", 1)
            before = hub.get_scalar("train/loss").current() if "train/loss" in hub.log_scalars else 1.0
            target = torch.stack([sample.gt_sem_seg.data[0] for sample in data_samples])
            entropy = torch.nn.functional.cross_entropy(logits, target)
            hub.update_scalar("train/share", share)
            return {"loss_entropy": entropy, "loss_progress": share * before * logits.square().mean()}

    class Asks(Hook):
        """Looks at everything after each step."""

        def __init__(self) -> None:
            self.seen: list[dict[str, Any]] = []

        def before_train(self, runner: Any) -> None:
            MessageHub.get_current_instance().update_info("of the user", {"a": [1, 2]})
            print_log("a line by name", runner.experiment_name)
            print_log("a warning", "current", 30)
            print_log("a mistake", MMLogger.get_current_instance(), 40)
            print_log("only said", None)

        def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
            hub = MessageHub.get_current_instance()
            loss = hub.get_scalar("train/loss")
            values, counts = loss.data
            self.seen.append(
                {
                    "outputs": {name: float(value) for name, value in outputs.items()},
                    "mine": hub is runner.message_hub,
                    "log": MMLogger.get_current_instance() is runner.logger,
                    "by name": MessageHub.get_instance(runner.experiment_name) is hub,
                    "known": MessageHub.check_instance_created(runner.experiment_name),
                    "draws": Visualizer.get_current_instance() is runner.visualizer,
                    "draws by name": Visualizer.get_instance("visualizer") is runner.visualizer,
                    "infos": {key: hub.get_info(key) for key in ("epoch", "iter", "max_epochs", "max_iters", "seed")},
                    "own info": hub.get_info("of the user"),
                    "none": (hub.get_info("none"), hub.get_info("none", 3), hub.pop_info("none", 4)),
                    "current": float(loss.current()),
                    "mean": float(loss.mean(2)),
                    "data": (values.tolist(), counts.tolist(), str(values.dtype), str(counts.dtype)),
                    "scalars": sorted(name for name in hub.log_scalars if "lr" in name or "loss" in name),
                    "notes": sorted(set(hub.runtime_info) & {"cfg", "seed", "experiment_name", "loop_stage", "eta"}),
                }
            )

    return {"model": Net, "hook": Asks}


def config(work_dir: Path, parts: dict[str, Any]) -> dict[str, Any]:
    loader = {"dataset": {"type": Grids}, "batch_size": 2, "num_workers": 0}
    return {
        "default_scope": "mmseg",
        "work_dir": str(work_dir),
        "model": {"type": parts["model"]},
        "train_dataloader": {**loader, "sampler": {"type": "InfiniteSampler", "shuffle": True}},
        "val_dataloader": {**loader, "sampler": {"type": "DefaultSampler", "shuffle": False}},
        "val_evaluator": {"type": "IoUMetric"},
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": STEPS, "val_interval": STEPS},
        "val_cfg": {"type": "ValLoop"},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}},
        "default_hooks": {"logger": {"type": "LoggerHook", "interval": 1, "log_metric_by_epoch": False}},
        "custom_hooks": [parts["hook"]()],
        "visualizer": {
            "type": "SegLocalVisualizer",
            "name": "visualizer",
            "vis_backends": [{"type": "LocalVisBackend"}],
        },
        "log_processor": {"by_epoch": False},
        "randomness": {"seed": 5},
        "experiment_name": "asks",
    }


def report(runner: Any, hook: Any, said: str) -> dict[str, Any]:
    """What the parts saw, and what the files hold of it."""
    net = getattr(runner.model, "module", runner.model)
    folder = Path(runner.work_dir)
    log = next(folder.glob("2*/2*.log")).read_text()
    rows = [json.loads(line) for line in next(folder.glob("2*/vis_data/scalars.json")).read_text().splitlines()]
    lines = [line.partition(" - mmengine - ")[2] for line in log.splitlines()]
    table = re.search(r"\+-+\+.*\+-+\+", log, re.DOTALL)
    made = "the head was made"
    return {
        "asked in __init__": net.seen,
        "asked by hook": hook.seen,
        "weights": [value.tolist() for value in net.state_dict().values()],
        "lines": [re.sub(r" - /.* - ", " - ", line) for line in lines if re.search(r"a (line|warn|mist)|head", line)],
        "said": [said.count(words) for words in (made, "a line by name", "only said", "|  road |")],
        "table": table and table[0],
        "shares": [row["share"] for row in rows if "share" in row],
        "in lines": [float(found) for found in re.findall(r"Iter\(train\).* share: ([\d.]+)", log)],
        "drawn": [row for row in rows if "drawn" in row],
    }


@pytest.fixture(scope="module")
def both(parts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The reports of the two engines, and what was current before and after ours."""
    import contextlib
    import io

    import mmengine.runner
    from seg_runner import Runner

    found: dict[str, Any] = {}
    for name, kind in (("theirs", mmengine.runner.Runner), ("ours", Runner)):
        cfg = config(tmp_path_factory.mktemp(name), parts)
        if kind is Runner:
            cfg["randomness"]["stream"] = "mmengine"
            found["before"] = current()
        with contextlib.redirect_stdout(io.StringIO()) as said:
            runner = Runner.from_cfg(cfg) if kind is Runner else kind(**cfg)
            runner.train()
        hook = next(hook for hook in runner.hooks if type(hook).__name__ == "Asks")
        found[name] = report(runner, hook, said.getvalue())
    found["after"] = current()
    return found


def current() -> dict[str, Any]:
    """Every instance that MMEngine knows, in order, and whether anything listens to imports."""
    import sys

    from mmengine.logging import MessageHub, MMLogger
    from mmengine.registry import DefaultScope
    from mmengine.visualization import Visualizer
    from mmseg.visualization import SegLocalVisualizer

    kinds = (MessageHub, MMLogger, Visualizer, SegLocalVisualizer, DefaultScope)
    listening = [one for one in sys.meta_path if type(one).__module__.startswith("seg_runner")]
    return {kind.__name__: list(kind._instance_dict.items()) for kind in kinds} | {"listening": listening}


@pytest.mark.parametrize(
    "what",
    ["asked in __init__", "asked by hook", "weights", "lines", "said", "table", "shares", "in lines", "drawn"],
)
def test_code_that_asks_gets_the_same_on_both_engines(both: dict[str, Any], what: str) -> None:
    assert both["theirs"][what], "the reference shows something"
    assert both["ours"][what] == both["theirs"][what]


def test_nothing_of_the_run_stays(both: dict[str, Any]) -> None:
    assert both["before"]["MessageHub"], "MMEngine's own run has left its instances"
    assert both["after"] == both["before"]
    assert both["after"]["listening"] == []

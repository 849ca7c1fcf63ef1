"""The README's blocks run, those for Lightning and Hugging Face where these are installed."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.ranks import on_ranks

README = "packages/seg-hooks/README.md"
Blocks = Callable[[str], list[str]]


def names() -> dict[str, Any]:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 1))
    loader = [torch.randn(8, 4) for _ in range(30)]
    return {
        "net": net,
        "optimizer": torch.optim.AdamW(net.parameters(), 1e-3),
        "loader": loader,
        "batch": loader[0],
        "evaluate": lambda net: {"mIoU": float(net(loader[0]).detach().mean())},
    }


def test_the_quick_start_and_a_second_run_of_it(
    python_blocks: Blocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = python_blocks(README)[0]
    exec(code, {})  # as it is pasted
    found = sorted(path.name for path in Path("out").glob("iter_*.pth"))
    assert found == [f"iter_{count}.pth" for count in (1000, 200, 400, 600, 800)]
    assert len(list(Path("out").glob("best_mIoU_iter_*.pth"))) == 1
    again: dict[str, Any] = {}
    exec(code, again)
    assert again["state"].iter == 1000


def test_the_other_blocks(python_blocks: Blocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for block in python_blocks(README)[1:]:
        exec(block, names())


def run_block(block: str, folder: Path) -> dict[str, Any]:
    os.chdir(folder)
    scope: dict[str, Any] = {}
    exec(block, scope)
    return {name: value.clone() for name, value in scope["net"].state_dict().items()}


def test_the_block_for_several_processes(root: Path, tmp_path: Path) -> None:
    text = (root / README).read_text()
    (block,) = (one for one in re.findall(r"^```py\n(.*?)^```", text, re.MULTILINE | re.DOTALL) if "torchrun" in one)
    first, second = on_ranks(2, tmp_path / "ranks", run_block, block, tmp_path)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    names = [path.name for path in sorted(tmp_path.glob("out/*.pth"))]
    assert names[-2:] == ["iter_20.pth", "iter_40.pth"]
    assert len(list(tmp_path.glob("out/*/*_rank1.log"))) == 1


def other_blocks(root: Path) -> list[str]:
    found = re.findall(r"^```py\n(.*?)^```", (root / README).read_text(), flags=re.MULTILINE | re.DOTALL)
    return [block for block in found if "class SegHooks" in block]


def test_the_block_for_wandb(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    from helpers.wandb_files import records

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    wandb.teardown()  # what an earlier test in this process has set up keeps that one's folder
    monkeypatch.chdir(tmp_path)
    text = (root / README).read_text()
    (block,) = (block for block in re.findall(r"^```py\n(.*?)^```", text, re.MULTILINE | re.DOTALL) if "wandb" in block)
    from seg_hooks import TrainState

    scope = {**names(), "wandb": wandb, "TrainState": TrainState, "hooks": []}
    exec(block, scope)
    scope["writer"].finish()
    assert {record.run.run_id for record in records(tmp_path) if record.HasField("run")} == {"roads-7"}


def check(work_dir: Path, state: Any) -> None:
    assert state.iter == 6
    saved = torch.load(work_dir / "iter_6.pth", weights_only=True)
    assert int(saved["ema_state_dict"]["steps"]) == 6
    assert list(work_dir.glob("best_score_iter_*.pth"))
    assert not any(hook._swapped for hook in state.hooks if hasattr(hook, "_swapped"))


def hooks_of(scope: dict[str, Any]) -> list[Any]:
    saving = scope["CheckpointHook"](2, by_epoch=False, save_best="score", rule="greater")
    return [scope["EMAHook"](momentum=0.1), scope["LoggerHook"](2), saving]


@pytest.fixture(scope="module")
def torchvision_that_imports() -> None:
    """Both libraries import torchvision where it is installed; its build for CUDA lacks operators beside torch's
    build for CPUs, and does not import without them.
    """
    library = torch.library.Library("torchvision", "FRAGMENT")
    try:
        import torchvision
    except ImportError:
        pass
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401


def lightning_module(lightning: Any) -> Any:
    """The class of a small module that trains and validates."""

    class Module(lightning.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any, index: int) -> Any:
            return self.net(batch).square().mean()

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("score", -self.net(batch).square().mean())

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    return Module


def lightning_trainer(lightning: Any, root: Path, folder: Path, **options: Any) -> tuple[Any, Any]:
    """The README's callback, and a trainer of six steps that has it."""
    scope: dict[str, Any] = {}
    exec(other_blocks(root)[0], scope)
    callback = scope["SegHooks"](folder / "out", hooks_of(scope))
    options |= {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    return callback, lightning.Trainer(max_steps=6, callbacks=[callback], default_root_dir=folder, **options)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("torchvision_that_imports")
def test_the_callback_for_lightning(root: Path, tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning")
    callback, trainer = lightning_trainer(lightning, root, tmp_path)
    loader = torch.utils.data.DataLoader(torch.randn(12, 4), batch_size=4)
    module = lightning_module(lightning)
    trainer.validate(module(), loader)  # outside of training nothing is asked of the hooks
    trainer.fit(module(), loader, loader)
    check(tmp_path / "out", callback.state)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("torchvision_that_imports")
def test_steps_are_counted_in_lightning_and_an_exception_gives_the_weights_back(root: Path, tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning")
    base = lightning_module(lightning)

    class Failing(base):  # type: ignore[misc,valid-type]
        def validation_step(self, batch: Any, index: int) -> None:
            raise OSError("no data")

    options = {"accumulate_grad_batches": 2, "num_sanity_val_steps": 0, "val_check_interval": 4}
    callback, trainer = lightning_trainer(lightning, root, tmp_path, **options)
    loader = torch.utils.data.DataLoader(torch.randn(48, 4), batch_size=4)
    with pytest.raises(OSError, match="no data"):
        trainer.fit(Failing(), loader, loader)
    assert callback.state.iter == trainer.global_step == 2
    assert not any(hook._swapped for hook in callback.state.hooks if hasattr(hook, "_swapped"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("torchvision_that_imports")
@pytest.mark.parametrize("evaluation", [{"eval_strategy": "steps", "eval_steps": 3}, {"eval_strategy": "epoch"}])
def test_the_callback_for_hugging_face(root: Path, tmp_path: Path, evaluation: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    scope: dict[str, Any] = {}
    exec(other_blocks(root)[1], scope)

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Linear(4, 1)

        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            logits = self.net(x)
            return {"loss": (logits - labels).square().mean(), "logits": logits}

    data = [{"x": torch.randn(4), "labels": torch.zeros(1)} for _ in range(12)]
    options = {**evaluation, "save_strategy": "no", "report_to": [], "use_cpu": True}
    arguments = transformers.TrainingArguments(
        str(tmp_path / "hf"), max_steps=6, per_device_train_batch_size=4, disable_tqdm=True, **options
    )
    callback = scope["SegHooks"](tmp_path / "out", hooks_of(scope))
    trainer = transformers.Trainer(
        Model(),
        arguments,
        train_dataset=data,
        eval_dataset=data,
        compute_metrics=lambda prediction: {"score": -float(abs(prediction.predictions).mean())},
        callbacks=[callback],
    )
    trainer.evaluate()  # outside of training nothing is asked of the hooks
    trainer.train()
    trainer.evaluate()
    check(tmp_path / "out", callback.state)

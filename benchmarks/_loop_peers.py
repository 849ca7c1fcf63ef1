"""The loops of `loop.py` in the hands of peers: their own trainers, or loops by hand with their objects.

Each is given the turns, and what the step does besides. Fabric's and accelerate's loops log nothing; the others have a
schedule, times and a record every 50 iterations, as ours.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["LOOPS", "SLOW", "TAKE_PART"]


def _parts(options: Any) -> tuple[Any, Any, Any]:
    """The net, its optimizer and the loader, as those of all other loops."""
    from __main__ import loader, optimizer_of

    net = options.make()
    return net, optimizer_of(net), loader()


def mend_torchvision() -> None:
    """Let it be imported, as these peers do where it is installed: no build of it fits the newest torch."""
    from seg_engine.mmseg import prepare

    prepare()


def _poly(total: int) -> Callable[[int], float]:
    return lambda step: (1 - step / total) ** 0.9


def _endless(batches: Any) -> Any:
    while True:
        yield from batches


def fabric(turn: Any, options: Any) -> None:
    """A loop by hand with the objects of Lightning Fabric."""
    mend_torchvision()
    from lightning.fabric import Fabric

    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed" if options.amp else "32-true")
    net, optimizer, loader = _parts(options)
    criterion = net.criterion
    model, optimizer = fabric.setup(net, optimizer)
    batches, rate = _endless(fabric.setup_dataloaders(loader)), _poly(turn.total)
    first = optimizer.param_groups[0]["lr"]
    for step in range(turn.total):
        turn.before_train_iter(None, step)
        images, labels = next(batches)
        fabric.backward(criterion(model(images), labels))
        optimizer.step()
        optimizer.zero_grad()
        for group in optimizer.param_groups:
            group["lr"] = first * rate(step)


def accelerate(turn: Any, options: Any) -> None:
    """A loop by hand with accelerate's objects."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)  # of the contest before
    accelerator = Accelerator(cpu=True, mixed_precision="bf16" if options.amp else "no")
    net, optimizer, loader = _parts(options)
    criterion = net.criterion
    model, optimizer, batches = accelerator.prepare(net, optimizer, loader)
    batches, rate = _endless(batches), _poly(turn.total)
    first = optimizer.param_groups[0]["lr"]
    for step in range(turn.total):
        turn.before_train_iter(None, step)
        images, labels = next(batches)
        accelerator.backward(criterion(model(images), labels))
        optimizer.step()
        optimizer.zero_grad()
        for group in optimizer.param_groups:
            group["lr"] = first * rate(step)


def ignite(turn: Any, options: Any) -> None:
    """Ignite's supervised trainer with a running average, times, a schedule and a record every 50 iterations."""
    from ignite.engine import Events, create_supervised_trainer
    from ignite.handlers import EMAHandler, LRScheduler, Timer
    from ignite.metrics import RunningAverage

    net, optimizer, loader = _parts(options)
    mode = "amp" if options.amp else None
    trainer = create_supervised_trainer(net, optimizer, net.criterion, "cpu", amp_mode=mode)
    RunningAverage(output_transform=lambda loss: loss).attach(trainer, "loss")
    timer = Timer(average=True)
    timer.attach(trainer, resume=Events.ITERATION_STARTED, step=Events.ITERATION_COMPLETED)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _poly(turn.total))
    trainer.add_event_handler(Events.ITERATION_COMPLETED, LRScheduler(schedule))
    if options.ema:
        EMAHandler(net, momentum=0.0002).attach(trainer, event=Events.ITERATION_COMPLETED)
    lines = []

    @trainer.on(Events.ITERATION_STARTED)
    def _() -> None:
        turn.before_train_iter(None, trainer.state.iteration - 1)

    @trainer.on(Events.ITERATION_COMPLETED(every=turn.every))
    def _() -> None:
        lines.append(f"{trainer.state.iteration} {trainer.state.metrics['loss']} {timer.value()}")

    trainer.run(loader, max_epochs=-(-turn.total // len(loader)))


def lightning(turn: Any, options: Any) -> None:
    """Lightning's Trainer with its CSV log."""
    mend_torchvision()
    from lightning import Callback, LightningModule, Trainer
    from lightning.pytorch.loggers import CSVLogger

    net, optimizer, loader = _parts(options)

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = net.criterion(net(batch[0]), batch[1])
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _poly(turn.total))
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    class Pace(Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            turn.before_train_iter(None, trainer.global_step)

    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            max_steps=turn.total,
            accelerator="cpu",
            devices=1,
            precision="bf16-mixed" if options.amp else "32-true",
            logger=CSVLogger(folder),
            log_every_n_steps=turn.every,
            callbacks=[Pace()],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(Module(), loader)


def transformers(turn: Any, options: Any) -> None:
    """The Trainer of Transformers."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from __main__ import Data

    net, optimizer, _ = _parts(options)

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, images: Any, labels: Any) -> Any:
            return {"loss": net.criterion(net(images), labels)}

    class Pace(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            turn.before_train_iter(None, state.global_step)

    def collate(items: list[Any]) -> dict[str, Any]:
        return {"images": torch.stack([item[0] for item in items]), "labels": torch.stack([item[1] for item in items])}

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _poly(turn.total))
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            max_steps=turn.total,
            per_device_train_batch_size=2,
            logging_steps=turn.every,
            max_grad_norm=0.0,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            remove_unused_columns=False,
            bf16=options.amp,
        )
        Trainer(
            Model(),
            arguments,
            train_dataset=Data(),
            data_collator=collate,
            optimizers=(optimizer, schedule),
            callbacks=[Pace()],
        ).train()


def mmengine(turn: Any, options: Any) -> None:
    """MMEngine's Runner with the same parts. It asks for torchvision, of which no build fits the newest torch."""
    sys.modules.setdefault("torchvision", None)  # type: ignore[arg-type]
    from mmengine.hooks import EMAHook, Hook
    from mmengine.model import BaseModel
    from mmengine.optim import OptimWrapper
    from mmengine.runner import Runner

    net, optimizer, loader = _parts(options)

    class Model(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, images: Any, labels: Any, mode: str = "tensor") -> Any:
            return {"loss": self.net.criterion(self.net(images), labels)}

    class Pace(Hook):
        priority = turn.priority

        def before_train_iter(self, *args: Any, **kwargs: Any) -> None:
            turn.before_train_iter(*args, **kwargs)

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(sys.stdout):
        Runner(
            model=Model(),
            work_dir=folder,
            train_dataloader=loader,
            optim_wrapper=OptimWrapper(optimizer),
            param_scheduler={"type": "PolyLR", "power": 0.9, "begin": 0, "end": turn.total, "by_epoch": False},
            train_cfg={"by_epoch": False, "max_iters": turn.total},
            default_hooks={
                "logger": {"type": "LoggerHook", "interval": turn.every},
                "checkpoint": {"type": "CheckpointHook", "interval": 10**9, "by_epoch": False, "save_last": False},
            },
            custom_hooks=[Pace(), *([EMAHook()] if options.ema else [])],
            experiment_name=f"{time.monotonic_ns()}",
            log_level="ERROR",
        ).train()


LOOPS: dict[str, tuple[Callable[..., None], str, str]] = {
    "Fabric": (fabric, "lightning", "parity"),
    "ignite": (ignite, "ignite", "peers"),
    "accelerate": (accelerate, "accelerate", "parity"),
    "MMEngine": (mmengine, "mmengine", "parity"),
    "Transformers": (transformers, "transformers", "parity"),
    "Lightning": (lightning, "lightning", "parity"),
}
"""The loop, the module that it needs and the environment that has it."""

SLOW = ("MMEngine", "Transformers", "Lightning")

TAKE_PART = {
    (False, False): tuple(LOOPS),
    (True, False): ("ignite", "MMEngine"),
    (False, True): ("Fabric", "ignite", "accelerate", "Transformers", "Lightning"),
}
"""By EMA and AMP: MMEngine's AMP asks for an accelerator, and not every peer has an average."""

"""What must work on an accelerator, each run on the pretend one: `python cases.py FOLDER` prints a line of JSON a case.

Run by `test_pretend_accelerator.py` in a process of its own, since the device is there for a whole process.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sim_device
import torch
from seg_hooks import (
    CheckpointHook,
    EarlyStoppingHook,
    EMAHook,
    EmptyCacheHook,
    IterTimerHook,
    LoggerHook,
    NanGuardHook,
    ParamSchedulerHook,
    ProgressBarHook,
    RuntimeInfoHook,
    SyncBuffersHook,
    ThroughputHook,
    TrainState,
)
from seg_optim import AmpOptimWrapper, OptimWrapper, PolyLR
from seg_runner import IoUMetric, LogitsModel, Runner, SegTTAModel, read_checkpoint
from seg_runner.data.prefetch import Prefetch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def loader(length: int = 12, workers: int = 0) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 3, (length, 8, 8), generator=generator)
    images = labels[:, None].float().expand(-1, 3, -1, -1) + torch.randn(length, 3, 8, 8, generator=generator) / 4
    return DataLoader(TensorDataset(images, labels), batch_size=4, num_workers=workers)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3), nn.Conv2d(8, 3, 1)
    )


def hooks() -> list[Any]:
    """All that may stand in a config, those that need other services left out."""
    return [
        RuntimeInfoHook(),
        IterTimerHook(),
        ParamSchedulerHook(),
        LoggerHook(interval=4),
        EMAHook(begin_iter=2),
        NanGuardHook(),
        ThroughputHook(interval=4),
        EmptyCacheHook(after_epoch=True),
        SyncBuffersHook(),
        ProgressBarHook(),
        EarlyStoppingHook(monitor="mIoU", patience=9),
        CheckpointHook(interval=4, by_epoch=False, save_best="mIoU"),
    ]


def make(folder: Path, wrapper: type[OptimWrapper] = OptimWrapper, **changes: Any) -> Runner:
    model = net()
    options = changes.pop("wrapper_options", {"accumulative_counts": 2, "clip_grad": {"max_norm": 1.0}})
    wrapped = wrapper(optimizer=torch.optim.AdamW(model.parameters(), 0.01), **options)
    parts: dict[str, Any] = {
        "loss": nn.CrossEntropyLoss(),
        "train_dataloader": loader(),
        "optim_wrapper": wrapped,
        "param_scheduler": PolyLR(wrapped, power=0.9, begin=0, end=8, by_epoch=False),
        "val_dataloader": loader(8),
        "val_evaluator": IoUMetric(num_classes=3),
        "train_cfg": {"max_iters": 8, "val_interval": 4},
        "randomness": {"seed": 1},
        "hooks": hooks(),
        "work_dir": folder,
        "log_level": "ERROR",
    }
    return Runner(model, **{**parts, **changes})


def weights(path: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(path, weights_only=True, map_location="cpu")["state_dict"])


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def case_training_with_every_hook_picks_the_device_that_torch_reports(folder: Path) -> None:
    runner = make(folder)
    runner.train()
    assert runner.device == sim_device.DEVICE
    assert all(parameter.device == sim_device.DEVICE for parameter in runner.model.parameters())
    assert runner.iter == 8
    assert (folder / "iter_8.pth").is_file()
    assert list(folder.glob("best_mIoU*.pth"))


def case_the_same_numbers_as_on_the_cpu(folder: Path) -> None:
    make(folder / "sim").train()
    runner = make(folder / "cpu", device="cpu")
    runner.train()
    assert same(weights(folder / "sim/iter_8.pth"), weights(folder / "cpu/iter_8.pth"))


class Waits:
    """How often the host had waited before each step."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    def before_train_iter(self, runner: Any) -> None:
        self.counts.append(len(sim_device.WAITS))


def case_no_wait_between_log_points_and_one_transfer_at_each(folder: Path) -> None:
    waits = Waits()
    quiet = [RuntimeInfoHook(), IterTimerHook(), ParamSchedulerHook(), LoggerHook(interval=10), EMAHook(), waits]
    train_cfg = {"max_iters": 30, "val_interval": 1000}
    make(folder, hooks=quiet, train_cfg=train_cfg, wrapper_options={"clip_grad": {"max_norm": 1.0}}).train()
    steps = [after - before for before, after in zip(waits.counts, waits.counts[1:], strict=False)]
    assert [index + 1 for index, number in enumerate(steps) if number] == [10, 20], (steps, sim_device.WAITS)
    assert steps[9] == steps[19] == 1, (steps, sim_device.WAITS[:20])


def case_a_resumed_run_ends_as_the_whole_one(folder: Path) -> None:
    make(folder / "whole").train()
    make(folder / "cut", train_cfg={"max_iters": 4, "val_interval": 4}).train()
    runner = make(folder / "cut", resume=True)
    runner.train()
    assert same(weights(folder / "whole/iter_8.pth"), weights(folder / "cut/iter_8.pth"))
    state = read_checkpoint(folder / "cut/iter_8.pth")
    moments = [value for each in state["optimizer"]["state"].values() for value in each.values()]
    assert all(value.device.type == "cpu" for value in moments if isinstance(value, torch.Tensor))


def case_saving_beside_training_writes_the_same_file(folder: Path) -> None:
    make(folder / "now").train()
    make(folder / "beside", checkpoint={"async_save": True}).train()
    assert same(weights(folder / "now/iter_8.pth"), weights(folder / "beside/iter_8.pth"))


def case_captured_steps_end_as_ordinary_ones(folder: Path) -> None:
    def run(name: str, compiled: Any) -> Runner:
        options = {"clip_grad": {"max_norm": 1.0}}
        train_cfg = {"max_iters": 12, "val_interval": 4}
        more = {"wrapper_options": options, "train_cfg": train_cfg, "param_scheduler": []}
        runner = make(folder / name, compile=compiled, **more)
        for group in runner.optim_wrapper.optimizer.param_groups:
            # as a graph makes it, and a rate that float32 holds exactly: so both compute alike
            group.update(capturable=True, lr=2**-7)
        runner.train()
        return runner

    run("plain", False)
    runner = run("graph", {"mode": "graph", "stand_in": True})
    assert runner.model.train_step.captured == 1
    assert same(weights(folder / "plain/iter_12.pth"), weights(folder / "graph/iter_12.pth"))


def case_mixed_precision_bf16(folder: Path) -> None:
    seen: list[torch.dtype] = []
    runner = make(folder, AmpOptimWrapper, wrapper_options={"dtype": "bfloat16", "accumulative_counts": 2})
    list(runner.model.modules())[-1].register_forward_hook(lambda module, given, out: seen.append(out.dtype))
    runner.train()
    assert torch.bfloat16 in seen


def case_mixed_precision_fp16_scales_the_loss(folder: Path) -> None:
    options = {"dtype": "float16", "loss_scale": 128.0, "clip_grad": {"max_norm": 1.0}}
    runner = make(folder, AmpOptimWrapper, wrapper_options=options)
    runner.train()
    assert runner.optim_wrapper.skipped_steps == 0
    assert "loss_scaler" in read_checkpoint(folder / "iter_8.pth")["optimizer"]


def case_mixed_precision_follows_a_model_that_is_moved_later(folder: Path) -> None:
    for given, kinds in ((None, ("bfloat16", "float16")), ("float16", ("float16", "float16"))):
        model = net()
        wrapper = AmpOptimWrapper(dtype=given, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), loss_scale=64.0)
        torch.set_autocast_dtype("sim", torch.float16)
        for place, kind in zip(("cpu", "sim"), kinds, strict=True):
            model.to(place)
            with wrapper.optim_context(model):
                out = model(torch.ones(2, 3, 4, 4, device=place))
            assert (wrapper.device_type, str(out.dtype)) == (place, f"torch.{kind}")
            assert (wrapper.scaler is not None) is (kind == "float16")
            before = model[0].weight.detach().clone()
            wrapper.update_params(out.float().square().mean())
            assert not torch.equal(before, model[0].weight)
        assert wrapper.scaler is not None
        assert wrapper.scaler.get_scale() == 64.0
        assert "loss_scaler" in wrapper.state_dict()


def case_a_scale_is_taken_over_by_a_model_that_was_moved(folder: Path) -> None:
    model = net()
    wrapper = AmpOptimWrapper(dtype=None, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    torch.set_autocast_dtype("sim", torch.float16)
    state = wrapper.state_dict()
    assert wrapper.scaler is None
    model.to("sim")
    scaler = {"scale": 8.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 9, "_growth_tracker": 3}
    wrapper.load_state_dict({**state, "loss_scaler": scaler})
    assert wrapper.scaler is not None
    assert wrapper.state_dict()["loss_scaler"] == scaler
    model.to("cpu")
    assert "loss_scaler" not in wrapper.state_dict()


def case_batches_are_read_ahead_on_a_stream_of_their_own(folder: Path) -> None:
    sim_device.STREAMED.clear()
    runner = make(folder, train_dataloader=loader(workers=1))
    runner.train()
    assert isinstance(runner.train_loop.batches, Prefetch), type(runner.train_loop.batches)
    assert {"made", "copied on", "waited for", "kept for"} <= set(sim_device.STREAMED)


def case_sliding_windows_whole_images_and_their_versions(folder: Path) -> None:
    images = [torch.rand(3, 12, 20), torch.rand(3, 12, 20)]
    found = []
    for test_cfg in ({"mode": "whole"}, {"mode": "slide", "crop_size": (8, 8), "stride": (4, 4)}):
        for device in ("cpu", "sim"):
            model = LogitsModel(net(), loss=nn.CrossEntropyLoss(), test_cfg=test_cfg).to(device).eval()
            found.append([one.pred_sem_seg.data.cpu() for one in model.test_step({"inputs": images})])
    assert all(torch.equal(a, b) for a, b in zip(found[0], found[1], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(found[2], found[3], strict=True))
    tta = SegTTAModel(LogitsModel(net(), loss=nn.CrossEntropyLoss()), flip=True).to("sim").eval()
    assert tta.test_step({"inputs": images})[0].pred_sem_seg.data.device == sim_device.DEVICE


def case_evaluation_alone(folder: Path) -> None:
    make(folder).train()
    test = {"test_dataloader": loader(8), "test_evaluator": IoUMetric(num_classes=3)}
    runner = make(folder, load_from=folder / "iter_8.pth", **test)
    assert 0 <= runner.test()["mIoU"] <= 100


def case_a_loss_that_is_not_finite_is_found(folder: Path) -> None:
    class Broken(nn.CrossEntropyLoss):
        steps = 0

        def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            self.steps += 1
            return super().forward(logits, labels) * (float("nan") if self.steps == 3 else 1.0)

    with pytest.raises(Exception, match=r"(?i)nan|finite"):
        make(folder, loss=Broken(), hooks=[NanGuardHook(action="stop")]).train()


def case_mixing_devices_is_an_error(folder: Path) -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = net()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.inner(images) * torch.ones(3, 1, 1)  # a constant that was never moved

    model = Forgetful()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    parts = {"train_dataloader": loader(), "optim_wrapper": optimizer, "train_cfg": {"max_iters": 2}}
    with pytest.raises(RuntimeError, match="beside sim"):
        Runner(model, loss=nn.CrossEntropyLoss(), work_dir=folder, log_level="ERROR", **parts).train()


def case_a_loop_of_ones_own(folder: Path) -> None:
    def run(work_dir: Path, stop: int) -> None:
        model = net().to("sim")
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        state = TrainState(model=model, optimizer=optimizer, work_dir=work_dir, max_iters=stop, hooks=[
            EMAHook(), LoggerHook(interval=2), CheckpointHook(interval=3, by_epoch=False)])  # fmt: skip
        state.resume()
        with state:
            for images, labels in state.batches(loader()):
                loss = nn.functional.cross_entropy(model(images.to("sim")), labels.to("sim"))
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                state.after_step(loss=loss)

    torch.manual_seed(5)
    run(folder / "whole", 6)
    torch.manual_seed(5)
    run(folder / "cut", 3)
    torch.manual_seed(77)
    run(folder / "cut", 6)
    assert same(weights(folder / "whole/iter_6.pth"), weights(folder / "cut/iter_6.pth"))


def case_the_command_line(folder: Path) -> None:
    import cv2

    from seg_engine.cli import main
    from seg_engine.predict import load_model

    for name, values in (("images", (30, 220)), ("labels", (0, 1))):
        (folder / name).mkdir()
        pixels = np.zeros((16, 16, 3) if name == "images" else (16, 16), np.uint8) + values[0]
        pixels[:, 8:] = values[1]
        for index in range(4):
            cv2.imwrite(str(folder / name / f"{index}.png"), pixels)
    (folder / "c.py").write_text(CONFIG.format(root=str(folder)), encoding="utf-8")
    assert main(["train", str(folder / "c.py"), "--work-dir", str(folder / "run")]) == 0
    checkpoint = str(folder / "run/iter_4.pth")
    assert main(["test", str(folder / "c.py"), checkpoint, "--work-dir", str(folder / "test")]) == 0
    assert main(["predict", checkpoint, str(folder / "images"), "--out", str(folder / "out")]) == 0
    assert load_model(checkpoint).predict(folder / "images/0.png").labels.shape == (16, 16)


CONFIG = """
data = dict(type='BaseSegDataset', data_root={root!r}, img_suffix='.png', metainfo=dict(classes=('dark', 'bright')),
  data_prefix=dict(img_path='images', seg_map_path='labels'),
  pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')])
model = dict(type='Segmentor', network=dict(type='torch.nn.Conv2d', in_channels=3, out_channels=2, kernel_size=1),
  data_preprocessor=dict(type='SegDataPreProcessor', mean=[125.0] * 3, std=[95.0] * 3, size=(16, 16)))
train_dataloader = dict(batch_size=2, num_workers=0, dataset=data, sampler=dict(type='InfiniteSampler', shuffle=True))
val_dataloader = dict(batch_size=1, num_workers=0, dataset=data, sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric')
test_evaluator = val_evaluator
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=4, val_interval=2)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=4))
log_level = 'ERROR'
"""
CASES = {name.removeprefix("case_"): case for name, case in list(globals().items()) if name.startswith("case_")}


def main(root: Path) -> None:
    """Run every case; one line of JSON each."""
    torch.set_num_threads(1)
    logging.disable(logging.NOTSET)
    for name, case in CASES.items():
        folder = root / name
        folder.mkdir()
        sim_device.WAITS.clear()
        try:
            case(folder)
            error = ""
        except BaseException:
            error = traceback.format_exc()
        print("\n" + json.dumps({"case": name, "error": error}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

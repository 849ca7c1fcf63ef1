"""The quick groups that `./run guard` watches: the bare limit and ours, in turns of 50 ms, by public names only.

The same code of the benchmarks runs with the packages of two commits, so it must not know what only one of them has.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _contest import Contest, main

Work = Callable[[], object]
STEPS = 50
TREE = "SEG_GUARD_TREE"
"""The environment variable that names the folder from which our packages must be imported."""


def net() -> Any:
    import torch

    torch.manual_seed(0)
    torch.backends.mkldnn.enabled = False  # on images this small its kernels waver by more than is measured
    first, last = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(8, 4, 3, padding=1)
    return torch.nn.Sequential(first, torch.nn.ReLU(), last)


def loader() -> Any:
    import torch

    data = [(torch.randn(3, 8, 8), torch.randint(0, 4, (8, 8))) for _ in range(640)]
    return torch.utils.data.DataLoader(data, batch_size=2, shuffle=True)


def loop_bare(turn: Any) -> None:
    import torch

    model, criterion, batches = net(), torch.nn.CrossEntropyLoss(), loader()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = 0
    while True:
        for images, labels in batches:
            if step % STEPS == 0:
                turn(STEPS)
            criterion(model(images), labels).backward()
            optimizer.step()
            optimizer.zero_grad()
            step += 1


class Ends:
    """A hook that ends a turn."""

    priority = "HIGHEST"

    def __init__(self, turn: Any) -> None:
        self.turn = turn

    def before_train_iter(self, runner: Any, batch_idx: int) -> None:
        """Every so many steps."""
        if batch_idx % STEPS == 0:
            self.turn(STEPS)


def loop_ours(turn: Any) -> None:
    import torch
    from seg_hooks import CheckpointHook, IterTimerHook, LoggerHook, ParamSchedulerHook, RuntimeInfoHook
    from seg_optim import OptimWrapper, PolyLR
    from seg_runner import Runner

    model, length = net(), STEPS * (turn.count + 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    hooks = [RuntimeInfoHook(), IterTimerHook(), LoggerHook(interval=STEPS), ParamSchedulerHook()]
    hooks += [CheckpointHook(interval=10**9, by_epoch=False, save_last=False), Ends(turn)]
    with tempfile.TemporaryDirectory() as folder:
        Runner(
            model=model,
            loss=torch.nn.CrossEntropyLoss(),
            train_dataloader=loader(),
            optim_wrapper=OptimWrapper(optimizer),
            param_scheduler=PolyLR(optimizer, power=0.9, begin=0, end=length, by_epoch=False),
            train_cfg={"max_iters": length},
            hooks=hooks,
            work_dir=folder,
            randomness={"seed": 0},
        ).train()


def small_tensors() -> Any:
    import torch

    return torch.nn.ParameterList(torch.randn(256) for _ in range(500))


def ema_bare() -> Work:
    import torch

    sources = [parameter.detach() for parameter in small_tensors()]
    average = [source.clone() for source in sources]
    return lambda: torch._foreach_lerp_(average, sources, 0.0002)


def ema_ours() -> Work:
    import torch
    from seg_hooks import ExponentialMovingAverage

    model = small_tensors()
    average = ExponentialMovingAverage(model, momentum=0.0002)

    def update() -> None:
        with torch.no_grad():
            average.update_parameters(model)

    return update


def blocks() -> Any:
    from torch import nn

    return nn.ModuleList(nn.ModuleDict({"norm": nn.LayerNorm(8), "fc": nn.Linear(8, 8)}) for _ in range(100))


def optim_bare() -> Work:
    import torch

    model = blocks()

    def build() -> object:
        groups: dict[float, list[Any]] = {}
        for name, parameter in model.named_parameters():
            groups.setdefault(0.0 if "norm" in name else 0.01, []).append(parameter)
        listed = [{"params": parameters, "weight_decay": decay} for decay, parameters in groups.items()]
        return torch.optim.AdamW(listed, lr=6e-5)

    return build


def optim_ours() -> Work:
    from seg_optim import build_optim_wrapper

    model = blocks()
    cfg = {
        "type": "OptimWrapper",
        "optimizer": {"type": "AdamW", "lr": 6e-5, "weight_decay": 0.01},
        "paramwise_cfg": {"custom_keys": {"norm": {"decay_mult": 0.0}}},
    }
    return lambda: build_optim_wrapper(model, cfg)


def scene(height: int, width: int, classes: int) -> tuple[Any, Any]:
    import cv2
    import numpy as np

    random = np.random.default_rng(0)
    coarse = random.integers(0, classes, (height // 64, width // 64), np.uint8)
    labels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)
    return cv2.GaussianBlur(random.integers(0, 256, (256, 3), np.uint8)[labels], (9, 9), 0), labels


def written() -> Path:
    import cv2

    folder = Path(tempfile.mkdtemp(prefix="seg-guard-"))
    image, labels = scene(512, 704, 19)
    for name, picture in (("images/0.jpg", image), ("labels/0.png", labels)):
        (folder / name).parent.mkdir()
        cv2.imwrite(str(folder / name), picture)
    return folder


def data_bare() -> Work:
    import cv2
    import numpy as np
    import torch

    folder = written()
    image_path, label_path = str(folder / "images/0.jpg"), str(folder / "labels/0.png")

    def sample() -> object:
        image, labels = cv2.imread(image_path), cv2.imread(label_path, cv2.IMREAD_UNCHANGED)
        image = cv2.resize(image, (1056, 768), interpolation=cv2.INTER_LINEAR)
        labels = cv2.resize(labels, (1056, 768), interpolation=cv2.INTER_NEAREST)
        image, labels = cv2.flip(image[100:612, 200:712], 1), cv2.flip(labels[100:612, 200:712], 1)
        packed = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        return packed, torch.from_numpy(labels.astype(np.int64))[None]

    return sample


def data_ours() -> Work:
    from seg_registry import Config

    from seg_engine.launch import make_builder

    transforms = [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations"},
        {"type": "RandomResize", "scale": (1056, 768), "ratio_range": (1.0, 1.0), "keep_ratio": True},
        {"type": "RandomCrop", "crop_size": (512, 512)},
        {"type": "RandomFlip", "prob": 1.0},
        {"type": "PackSegInputs"},
    ]
    folder = written()
    cfg = Config(
        {
            "dataset": {
                "type": "BaseSegDataset",
                "data_root": str(folder),
                "img_suffix": ".jpg",
                "seg_map_suffix": ".png",
                "data_prefix": {"img_path": "images", "seg_map_path": "labels"},
                "metainfo": {"classes": [str(number) for number in range(19)]},
                "pipeline": transforms,
            }
        }
    )
    dataset = make_builder(cfg).build("dataset", cfg.dataset)
    return lambda: dataset[0]


def counted() -> tuple[Any, Any]:
    import torch

    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randint(0, 19, (512, 1024), generator=generator) for _ in range(2))  # type: ignore[return-value]


def validation_bare() -> Work:
    import numpy as np

    guess, true = counted()

    def count() -> object:
        pairs = np.empty((guess.numel(), 2), np.uint8)
        pairs[:, 0], pairs[:, 1] = guess.numpy().ravel(), true.numpy().ravel()
        return np.bincount(pairs.view(np.uint16).ravel(), minlength=65536)

    return count


def validation_ours() -> Work:
    from seg_runner import IoUMetric

    guess, true = counted()
    metric = IoUMetric(num_classes=19)
    sample = {"pred_sem_seg": {"data": guess[None]}, "gt_sem_seg": {"data": true[None]}}
    return lambda: metric.process(None, [sample])


def pictures_bare() -> Work:
    import cv2
    import numpy as np

    image, labels = scene(512, 1024, 19)
    table = np.random.default_rng(1).integers(0, 256, (256, 1, 3), np.uint8)

    def paint() -> object:
        painted = cv2.applyColorMap(labels, table)
        return cv2.addWeighted(image, 0.5, painted, 0.5, 0, dst=painted)

    return paint


def pictures_ours() -> Work:
    from seg_vis import overlay

    image, labels = scene(512, 1024, 19)
    return lambda: overlay(image, labels, palette="cityscapes", alpha=0.5, with_labels=False)


def chain() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="seg-guard-"))
    (folder / "model.py").write_text("model = dict(type='A', parts=[dict(type='B', n=i) for i in range(40)])\n")
    (folder / "run.py").write_text("train_cfg = dict(max_iters=10)\noptim = dict(type='SGD', lr=0.1)\n")
    (folder / "train.py").write_text("_base_ = ['model.py', 'run.py']\noptim = dict(lr=0.2)\n")
    return folder


def config_bare() -> Work:
    folder = chain()

    def merge(into: dict[str, Any], own: dict[str, Any]) -> None:
        for key, value in own.items():
            if isinstance(value, dict) and isinstance(into.get(key), dict):
                merge(into[key], value)
            else:
                into[key] = value

    def load(name: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        exec(compile((folder / name).read_text(encoding="utf-8"), name, "exec"), {}, values)
        merged: dict[str, Any] = {}
        for base in values.pop("_base_", []):
            merge(merged, load(base))
        merge(merged, values)
        return merged

    return lambda: load("train.py")


def config_ours() -> Work:
    from seg_registry import Config

    file = str(chain() / "train.py")
    return lambda: Config.fromfile(file)


def state() -> dict[str, Any]:
    import torch

    weights = {f"layer{number}.weight": torch.randn(1000) for number in range(100)}
    return {"meta": {"iter": 1, "epoch": 0}, "state_dict": weights}


def checkpoint_bare() -> Work:
    import torch

    content, file = state(), Path(tempfile.mkdtemp(prefix="seg-guard-")) / "a.pth"
    return lambda: torch.save(content, file)


def checkpoint_ours() -> Work:
    from seg_runner.checkpoint.saver import CheckpointSaver

    content, file = state(), Path(tempfile.mkdtemp(prefix="seg-guard-")) / "a.pth"
    saver = CheckpointSaver()
    return lambda: saver.save(file, content)


MOST = 80
"""So many rounds at most."""
NAMES = ("loop", "ema", "optim", "data", "validation", "pictures", "config", "checkpoint")
CONTESTS = [
    Contest(name, {each: globals()[f"{name}_{each}"] for each in ("bare", "ours")}, rounds=MOST) for name in NAMES
]


def check_tree() -> None:
    """Our packages are those of the folder that the environment names, not the ones that are installed."""
    if tree := os.environ.get(TREE):
        import seg_registry

        assert Path(tree).resolve() in Path(seg_registry.__file__).resolve().parents, seg_registry.__file__


if __name__ == "__main__":
    check_tree()
    main(CONTESTS)

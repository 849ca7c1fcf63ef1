"""Starts and ends of whole processes: `seg train` and `seg predict` beside the shortest scripts that do the same.

Run with `./run bench start_up` (`--peers`: MMSegmentation's way, too). Each figure is of a fresh process: until the
second iteration begins, until a run of four has ended, from Ctrl-C (a real SIGINT) to the end of the process, and
predicting pictures. The data are eight small pictures; the networks, batches and files are the same for all.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from _contest import Contest, Contestant, Goal, main

NET = """
import os, signal, time
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))
        self.calls = {True: 0, False: 0}
    def forward(self, images):
        self.calls[self.training] += 1
        if f"{'train' if self.training else 'val'} {self.calls[self.training]}" == os.environ["MARK"]:
            with open("mark", "w") as file:
                file.write(f"{time.monotonic()} {time.process_time()}")
            if "STOP" in os.environ:
                os.kill(os.getpid(), signal.SIGINT)
        return self.layers(images)
"""
PIPELINE = "[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]"
COMMON = f"""
loader = dict(batch_size=2, num_workers=0, dataset=dict(type='BaseSegDataset', data_root='data', img_suffix='.png',
    seg_map_suffix='.png', data_prefix=dict(img_path='images', seg_map_path='labels'),
    metainfo=dict(classes=['a', 'b', 'c', 'd'], palette=[[9, 9, 9], [99, 9, 9], [9, 99, 9], [9, 9, 99]]),
    pipeline={PIPELINE}))
train_dataloader = dict(loader, sampler=dict(type='InfiniteSampler', shuffle=True))
val_dataloader = dict(loader, sampler=dict(type='DefaultSampler', shuffle=False))
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.001))
preprocessor = dict(type='SegDataPreProcessor', mean=[0.0] * 3, std=[255.0] * 3, bgr_to_rgb=True, size=(64, 64),
    seg_pad_val=255)
val_cfg = dict(type='ValLoop')
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=4, by_epoch=False))
work_dir = 'out'
"""
OURS = """
custom_imports = dict(imports=['bench_net'])
model = dict(type='Segmentor', network=dict(type='bench_net.Net'), data_preprocessor=preprocessor)
"""
THEIRS = """
default_scope = 'mmseg'
model = dict(type='EncoderDecoder', data_preprocessor=preprocessor, backbone=dict(type='BenchNet'), test_cfg=dict(
    mode='whole'), decode_head=dict(type='FCNHead', num_convs=0, concat_input=False, in_channels=4, channels=4,
    num_classes=4, norm_cfg=dict(type='BN'), loss_decode=dict(type='CrossEntropyLoss')))
"""
TRAIN_THEIRS = """
import sys
from _mmsegmentation import import_mmseg
import_mmseg()
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.registry import MODELS
from bench_net import Net
class BenchNet(Net):
    def forward(self, images):
        return [super().forward(images)]
MODELS.register_module(module=BenchNet)
Runner.from_cfg(Config.fromfile('config.py')).train()
"""
TRAIN_BARE = """
import sys
import cv2, torch
from torch.utils.data import DataLoader, Dataset
from bench_net import Net
class Data(Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, index):
        image = cv2.cvtColor(cv2.imread(f'data/images/{index}.png'), cv2.COLOR_BGR2RGB)
        label = cv2.imread(f'data/labels/{index}.png', cv2.IMREAD_UNCHANGED)
        return torch.from_numpy(image).permute(2, 0, 1).float() / 255, torch.from_numpy(label).long()
net, steps, every = Net(), int(sys.argv[1]), int(sys.argv[2])
optimizer, loss = torch.optim.AdamW(net.parameters(), lr=0.001), torch.nn.CrossEntropyLoss(ignore_index=255)
done = 0
while done < steps:
    for images, labels in DataLoader(Data(), 2, shuffle=True):
        value = loss(net(images), labels)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        done += 1
        if done % every == 0:
            net.eval()
            with torch.no_grad():
                right = sum(int((net(one).max(1).indices == labels).sum()) for one, labels in DataLoader(Data(), 2))
            net.train()
            print(done, float(value), right)
        if done == steps:
            break
torch.save({'state_dict': net.state_dict(), 'optimizer': optimizer.state_dict()}, 'last.pth')
"""
PREDICT_BARE = """
import os, sys
import cv2, numpy as np, torch
from bench_net import Net
net = Net().eval()
net.load_state_dict(torch.load('last.pth')['state_dict'])
colours = np.array([[9, 9, 9], [9, 9, 99], [9, 99, 9], [99, 9, 9]], np.uint8)
for kind in ('labels', 'overlays', 'colours'):
    os.makedirs(f'predicted/{kind}', exist_ok=True)
with torch.no_grad():
    for name in sorted(os.listdir('data/images'))[: int(sys.argv[1])]:
        image = cv2.imread(f'data/images/{name}')
        pixels = torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).permute(2, 0, 1)[None].float() / 255
        labels = net(pixels)[0].max(0).indices.numpy().astype(np.uint8)
        cv2.imwrite(f'predicted/labels/{name}', labels)
        cv2.imwrite(f'predicted/colours/{name}', colours[labels])
        cv2.imwrite(f'predicted/overlays/{name}', cv2.addWeighted(image, 0.5, colours[labels], 0.5, 0))
"""
ENDLESS = 1_000_000


def write_data(folder: Path) -> None:
    """Eight pictures of 64 x 64 pixels, and their labels."""
    import cv2
    import numpy as np

    random = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (folder / "data" / kind).mkdir(parents=True)
    for index in range(8):
        cv2.imwrite(str(folder / f"data/images/{index}.png"), random.integers(0, 256, (64, 64, 3), np.uint8))
        cv2.imwrite(str(folder / f"data/labels/{index}.png"), random.integers(0, 4, (64, 64), np.uint8))


def folder_of(who: str, steps: int, every: int) -> tuple[Path, list[str]]:
    """A folder with all that a contestant needs, and the command that trains there."""
    folder = Path(tempfile.mkdtemp())
    write_data(folder)
    (folder / "bench_net.py").write_text(NET, encoding="utf-8")
    loops = f"train_cfg = dict(type='IterBasedTrainLoop', max_iters={steps}, val_interval={every})\n"
    own = {"ours": OURS, "theirs": THEIRS}.get(who, "")
    (folder / "config.py").write_text(COMMON + own + loops, encoding="utf-8")
    if who == "ours":
        return folder, [sys.executable, "-m", "seg_engine", "train", "config.py", "--overwrite"]
    script = TRAIN_BARE if who == "bare" else TRAIN_THEIRS
    return folder, [sys.executable, "-W", "ignore", "-c", script, str(steps), str(every)]


def spent(command: list[str], folder: Path, mark: str = "none", stop: bool = False) -> dict[str, float]:
    """Seconds of a fresh process: by the clock and of CPU, until the network was called so often and until its end."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"MARK": mark, "PYTHONPATH": os.pathsep.join([str(folder), str(Path(__file__).parent)])}
    environment |= {"STOP": "1"} if stop else {}
    began, before = time.monotonic(), os.times()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    ended, after = time.monotonic(), os.times()
    if bool(done.returncode) != stop:
        raise RuntimeError(f"exit code {done.returncode}\n{done.stdout[-500:]}\n{done.stderr[-1500:]}")
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    found = {"wall": ended - began, "cpu": cpu}
    if mark != "none":
        clock, used = map(float, (folder / "mark").read_text(encoding="ascii").split())
        found |= {"wall to mark": clock - began, "cpu to mark": used, "wall from mark": ended - clock}
    return found


def training(who: str, which: str, mark: str = "none", stop: bool = False) -> Callable[[], float]:
    """Train; a figure of `spent`. A run that is stopped would be endless."""
    folder, command = folder_of(who, ENDLESS if stop else 4, 2)
    return lambda: spent(command, folder, mark, stop)[which]


def predicting(who: str, count: int) -> Callable[[], float]:
    """Predict so many pictures with what a short training left."""
    folder, command = folder_of(who, 4, 2)
    spent(command, folder)
    if who == "bare":
        command = [sys.executable, "-c", PREDICT_BARE, str(count)]
    else:
        pictures = [f"data/images/{index}.png" for index in range(count)]
        command = [sys.executable, "-m", "seg_engine", "predict", "out/iter_4.pth", *pictures, "--allow", "bench_net"]
    return lambda: spent(command, folder)["cpu"]


def contest(title: str, make: Callable[..., Callable[[], float]], peer: bool = True, **how: object) -> Contest:
    """Bare, ours, theirs; at most 0.3 s above bare."""
    who: Mapping[str, str] = {"bare": "bare", "ours": "ours", **({"MMSegmentation": "theirs"} if peer else {})}

    def set_up(one: str) -> Callable[[], Callable[[], float]]:
        return lambda: make(one, **how)  # without a parameter: one would ask for a loop with turns

    contestants = {
        name: Contestant(set_up(one), *(("mmseg", "parity") if one == "theirs" else ())) for name, one in who.items()
    }
    goals = [Goal("ours", above=0.3)]
    return Contest(title, contestants, "own", "s", rounds=3, least=0.0, apart=True, goals=goals)


CONTESTS = [
    contest("until the second iteration begins, CPU", training, which="cpu to mark", mark="train 2"),
    contest("until the second iteration begins, by the clock", training, which="wall to mark", mark="train 2"),
    contest("a run of four iterations and two validations, CPU", training, which="cpu"),
    contest("from Ctrl-C in a step to the prompt", training, which="wall from mark", mark="train 3", stop=True),
    contest("from Ctrl-C in a validation to the prompt", training, which="wall from mark", mark="val 2", stop=True),
    contest("predicting one picture, CPU", predicting, peer=False, count=1),
    contest("predicting eight pictures, CPU", predicting, peer=False, count=8),
]

if __name__ == "__main__":
    main(CONTESTS)

"""A whole process with a tiny job of 200 iterations: CPU seconds and peak memory, beside the bare loop and MMEngine.

Run with `./run bench process`. Each job is a fresh process; processes take turns; medians.
"""

from __future__ import annotations

import statistics
import sys
import tempfile

from _measure import in_process, print_table

ROUNDS = 5

COMMON = """
import sys, tempfile, torch
torch.set_num_threads(1)
from torch import nn
from torch.utils.data import DataLoader
torch.manual_seed(0)
data = [(torch.randn(3, 8, 8), torch.randint(0, 4, (8, 8))) for _ in range(64)]
loader = DataLoader(data, batch_size=2, shuffle=True)
net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
loss = nn.CrossEntropyLoss()
folder = sys.argv[1]
"""
JOBS = {
    "bare": """
step = 0
while step < 200:
    for images, labels in loader:
        loss(net(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        if step == 200:
            break
torch.save({"state_dict": net.state_dict(), "optimizer": optimizer.state_dict()}, folder + "/last.pth")
""",
    "ours, objects": """
from seg_runner import Runner
Runner(model=net, loss=loss, train_dataloader=loader, optim_wrapper=optimizer, train_cfg={"max_iters": 200},
       work_dir=folder).train()
""",
    "ours, five hooks": """
from seg_runner import Runner
from seg_hooks import CheckpointHook, IterTimerHook, LoggerHook, ParamSchedulerHook, RuntimeInfoHook
from seg_optim import OptimWrapper, PolyLR
Runner(model=net, loss=loss, train_dataloader=loader, optim_wrapper=OptimWrapper(optimizer),
       train_cfg={"max_iters": 200}, param_scheduler=PolyLR(optimizer, begin=0, end=200, by_epoch=False),
       hooks=[RuntimeInfoHook(), IterTimerHook(), LoggerHook(interval=50), ParamSchedulerHook(),
              CheckpointHook(interval=200, by_epoch=False)], work_dir=folder).train()
""",
    "mmengine": """
sys.modules["torchvision"] = None
from mmengine.model import BaseModel
from mmengine.runner import Runner
class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.net = net
    def forward(self, images, labels, mode="tensor"):
        return {"loss": loss(self.net(images), labels)}
Runner(model=Model(), work_dir=folder, train_dataloader=loader, optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}},
       param_scheduler={"type": "PolyLR", "begin": 0, "end": 200, "by_epoch": False},
       train_cfg={"by_epoch": False, "max_iters": 200}, default_hooks={"logger": {"type": "LoggerHook", "interval": 50},
       "checkpoint": {"type": "CheckpointHook", "interval": 200, "by_epoch": False}}).train()
""",
}
PEAK = "import resource; open(folder + '/peak', 'w').write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))"


def run(job: str) -> tuple[float, float] | None:
    """CPU seconds and peak megabytes of one process; None where the engine is not installed."""
    with tempfile.TemporaryDirectory() as folder:
        code = COMMON + JOBS[job] + PEAK
        done, spent = in_process([sys.executable, "-W", "ignore", "-c", code, folder])
        if done.returncode:
            if "ModuleNotFoundError" in done.stderr:
                return None
            raise RuntimeError(done.stderr)
        with open(f"{folder}/peak", encoding="utf-8") as file:
            peak = int(file.read()) / 1024
    return spent, peak


def main() -> None:
    """Print the table."""
    found: dict[str, list[tuple[float, float]]] = {}
    for number in range(ROUNDS + 1):
        for job in JOBS:
            if number and job not in found:
                continue
            measured = run(job)
            if measured is None:
                print(f"{job} is not installed here: left out")
            else:
                found.setdefault(job, []).append(measured)
    medians = {
        job: [statistics.median(column) for column in zip(*rows[1:], strict=True)] for job, rows in found.items()
    }
    bare = medians["bare"]
    rows = [
        [job, f"{seconds:.2f}", f"{seconds - bare[0]:+.2f}", f"{peak:.0f}", f"{peak - bare[1]:+.0f}"]
        for job, (seconds, peak) in medians.items()
    ]
    print_table("a process of 200 iterations", ["engine", "CPU s", "above bare", "peak MB", "above bare"], rows)


if __name__ == "__main__":
    main()

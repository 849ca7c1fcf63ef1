"""What one EMA update costs: one multi-tensor lerp, ours, torch's AveragedModel and MMEngine's where installed.

python benchmarks/ema.py [--rounds N]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from _measure import block, paired, print_table, ratios
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

MOMENTUM = 0.0002
LISTS = {
    "391 tensors, 122 M": (391, 122_000_000),
    "965 tensors, 82 M": (965, 82_000_000),
    "2000 tensors, 4.2 M": (2000, 4_200_000),
}


def make_net(tensors: int, numbers: int) -> nn.ParameterList:
    """As many tensors of as many numbers, a third of them small, as norms and biases are."""
    small = tensors // 3
    each = (numbers - small * 256) // (tensors - small)
    return nn.ParameterList(torch.randn(256 if index < small else each) for index in range(tensors))


def contenders(net: nn.ParameterList) -> dict[str, Callable[[], object]]:
    """The bare limit and what is installed, each with an average of its own."""
    from seg_hooks import EMAHook, ExponentialMovingAverage

    sources = [parameter.detach() for parameter in net]
    bare = [source.clone() for source in sources]
    ours = ExponentialMovingAverage(net, momentum=MOMENTUM)
    hook = EMAHook(momentum=MOMENTUM)
    hook.src_model, hook.ema_model = net, ours

    class Where:
        iter = epoch = 0

    torchs = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(1 - MOMENTUM))
    found: dict[str, Callable[[], object]] = {
        "one lerp": lambda: torch._foreach_lerp_(bare, sources, MOMENTUM),
        "seg-hooks": lambda: hook.after_train_iter(Where, batch_idx=0),
        "torch AveragedModel": lambda: torchs.update_parameters(net),
    }
    try:
        from mmengine.model import ExponentialMovingAverage as Theirs
    except ImportError:
        print("mmengine is not installed: left out")
    else:
        theirs = Theirs(net, momentum=MOMENTUM)
        found["mmengine"] = lambda: theirs.update_parameters(net)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    for title, (tensors, numbers) in LISTS.items():
        with torch.no_grad():
            sides = {name: block(run) for name, run in contenders(make_net(tensors, numbers)).items()}
            times = paired(sides, rounds)
        ratio = ratios(times, "one lerp")
        rows = [[name, f"{1e3 * statistics.median(own):.2f}", f"{ratio[name]:.3f}"] for name, own in times.items()]
        print_table(title, ["", "ms", "x one lerp"], rows)


if __name__ == "__main__":
    main()

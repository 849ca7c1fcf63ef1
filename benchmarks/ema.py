"""What one EMA update costs: one multi-tensor lerp, ours with its hook, torch's AveragedModel and MMEngine's.

Run with `./run bench ema --peers`. The lists of tensors are those of real models, and one of many small tensors, where
what counts is the work per tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from _contest import Contest, Contestant, Goal, main

MOMENTUM = 0.0002
LISTS = {
    "391 tensors, 122 M": (391, 122_000_000),
    "965 tensors, 82 M": (965, 82_000_000),
    "2000 tensors, 4.2 M": (2000, 4_200_000),
}
Work = Callable[[], object]


def make_net(tensors: int, numbers: int) -> Any:
    """As many tensors of as many numbers, a third of them small, as norms and biases are."""
    import torch

    small = tensors // 3
    each = (numbers - small * 256) // (tensors - small)
    return torch.nn.ParameterList(torch.randn(256 if index < small else each) for index in range(tensors))


def bare(net: Any) -> Work:
    import torch

    sources = [parameter.detach() for parameter in net]
    averages = [source.clone() for source in sources]
    return lambda: torch._foreach_lerp_(averages, sources, MOMENTUM)


def ours(net: Any) -> Work:
    from seg_hooks import EMAHook, ExponentialMovingAverage

    hook = EMAHook(momentum=MOMENTUM)
    hook.src_model, hook.ema_model = net, ExponentialMovingAverage(net, momentum=MOMENTUM)

    class Where:
        iter = epoch = 0

    return lambda: hook.after_train_iter(Where, batch_idx=0)  # type: ignore[arg-type]


def torchs(net: Any) -> Work:
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(1 - MOMENTUM))
    return lambda: average.update_parameters(net)


def mmengine(net: Any) -> Work:
    from mmengine.model import ExponentialMovingAverage

    average = ExponentialMovingAverage(net, momentum=MOMENTUM)
    return lambda: average.update_parameters(net)


def set_up(make: Callable[[Any], Work], size: tuple[int, int]) -> Work:
    """The work of a contestant on a net of its own; gradients are off, as where averages are updated."""
    import torch

    work = make(make_net(*size))

    def update() -> None:
        with torch.no_grad():
            work()

    return update


def contest(title: str, size: tuple[int, int]) -> Contest:
    """Of one list of tensors."""
    made = {"one lerp": bare, "seg-hooks": ours, "torch AveragedModel": torchs}
    contestants: dict[str, Any] = {name: partial(set_up, make, size) for name, make in made.items()}
    contestants["MMEngine"] = Contestant(partial(set_up, mmengine, size), "mmengine", "parity")
    return Contest(title, contestants, seconds=15, goals=[Goal("seg-hooks", ratio=1.03)])


CONTESTS = [contest(title, size) for title, size in LISTS.items()]

if __name__ == "__main__":
    main(CONTESTS)

"""What a training script does round the config: `build_runner`, changes of the config, freezing, loading."""

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, Registry

TRICKS = Registry("trick", scope="user_tricks")


@TRICKS.register_module()
class LabelSmoothing:
    """A part from a registry of the project's own."""

    def __init__(self, epsilon=0.1):
        self.epsilon = epsilon

    def __call__(self, value):
        return value * (1 - self.epsilon)


@HOOKS.register_module()
class UsesTricks(Hook):
    """Builds parts with the project's registry."""

    def __init__(self, tricks):
        self.tricks = [TRICKS.build(trick) for trick in tricks]
        self.values = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        value = float(outputs["loss"])
        for trick in self.tricks:
            value = trick(value)
        self.values.append(value)


CHANGES = dict(
    custom_hooks=[dict(type="UsesTricks", tricks=[dict(type="LabelSmoothing", epsilon=0.2)])],
    optim_wrapper=dict(accumulative_counts=2, clip_grad=dict(max_norm=1.0, norm_type=2)),
)


def run(runner):
    """Trains with a frozen layer, saves, loads again, tests."""
    for parameter in runner.model.conv.parameters():
        parameter.requires_grad = False
    runner.train()
    path = f"{runner.work_dir}/iter_6.pth"
    runner.load_checkpoint(path, "cpu", False)
    with torch.no_grad():
        runner.model.head.bias.add_(0.25)
    runner.test()


def facts(runner):
    return {"values": next(hook.values for hook in runner.hooks if type(hook).__name__ == "UsesTricks")}

"""A training script that adds hooks to the runner that it has built, by dict, by object and by name of a priority."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class Writes(Hook):
    """Appends its word to a list of all hooks of this kind."""

    words = []

    def __init__(self, word):
        self.word = word

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx == 0:
            Writes.words.append(self.word)


def run(runner):
    """What the script does after `Runner.from_cfg`."""
    runner.register_hook(Writes("object"), priority="LOWEST")
    runner.register_hook(dict(type="Writes", word="dict", priority="VERY_LOW"))
    runner.register_hook(Writes("number"), priority=5)
    runner.register_custom_hooks([dict(type="Writes", word="custom")])
    runner.train()


def facts(runner):
    return {
        "words": Writes.words,
        "listed": [line for line in runner.get_hooks_info().splitlines() if "Writes" in line],
    }

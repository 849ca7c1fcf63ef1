"""A subclass of MMEngine's Runner, chosen by `runner_type`, with an argument and steps of its own."""

from mmengine.registry import RUNNERS
from mmengine.runner import Runner


@RUNNERS.register_module()
class CheckedRunner(Runner):
    """Says what it builds, and changes rates after the wrapper is built."""

    def __init__(self, *args, **kwargs):
        self.built = []
        super().__init__(*args, **kwargs)
        self.note = "made"

    def build_optim_wrapper(self, optim_wrapper):
        wrapper = super().build_optim_wrapper(optim_wrapper)
        self.built.append("optim_wrapper")
        for group in wrapper.param_groups:
            group["weight_decay"] = 0.0
        return wrapper

    def build_train_loop(self, loop):
        self.built.append("train_loop")
        return super().build_train_loop(loop)

    def train(self):
        self.logger.info("training begins")
        model = super().train()
        self.note = "trained"
        return model


CHANGES = dict(runner_type="CheckedRunner")


def facts(runner):
    return {"built": runner.built, "note": runner.note, "type": type(runner).__name__}

"""A subclass of MMEngine's Runner that listens to every point by overriding `call_hook`."""

from mmengine.registry import RUNNERS
from mmengine.runner import Runner


@RUNNERS.register_module()
class ListeningRunner(Runner):
    """Counts the points that a run passes."""

    passed = 0

    def call_hook(self, fn_name, **kwargs):
        self.passed += 1
        super().call_hook(fn_name, **kwargs)


CHANGES = dict(runner_type="ListeningRunner")
REFUSED = "overrides call_hook of MMEngine's Runner, which is not called here: write a hook"

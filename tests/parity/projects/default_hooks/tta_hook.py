"""Test-time augmentation by MMEngine's PrepareTTAHook and a model that merges, both of the project's own."""

from mmengine.hooks import PrepareTTAHook
from mmengine.model import BaseTTAModel
from mmengine.registry import HOOKS, MODELS


@MODELS.register_module()
class VoteTTA(BaseTTAModel):
    """Takes the most frequent answer."""

    def merge_preds(self, data_samples_list):
        merged = []
        for samples in data_samples_list:
            guesses = [guess for guess, _ in samples]
            merged.append((max(sorted(set(guesses)), key=guesses.count), samples[0][1]))
        return merged


@HOOKS.register_module()
class TTAFromConfig(PrepareTTAHook):
    """Puts the model inside before a test."""

    def before_test(self, runner):
        super().before_test(runner)
        runner.logger.info(f"tested by {type(runner.model).__name__}")


@MODELS.register_module()
class MirrorsInputs(BaseTTAModel):
    """Sees each batch as it is and mirrored, and votes."""

    def test_step(self, data):
        plain = self.module.test_step(data)
        mirrored = self.module.test_step({**data, "inputs": [image.flip(2) for image in data["inputs"]]})
        return self.merge_preds(list(zip(plain, mirrored, strict=True)))

    merge_preds = VoteTTA.merge_preds


CHANGES = dict(custom_hooks=[dict(type="TTAFromConfig", tta_cfg=dict(type="MirrorsInputs"))])


def run(runner):
    runner.train()
    runner.test()


def facts(runner):
    return {"model": type(runner.model).__name__}

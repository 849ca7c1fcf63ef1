"""Switches the augmentation of the data set off for the last epoch, as YOLOX's hook does."""

import torch
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS


@DATASETS.register_module()
class Switchable(torch.utils.data.Dataset):
    """A data set with a switch that hooks may turn."""

    metainfo = dict(classes=("a", "b", "c"))

    def __init__(self, length=8):
        generator = torch.Generator().manual_seed(3)
        self.images = torch.randn(length, 3, 6, 6, generator=generator)
        self.strength = 1.0

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        noise = self.strength * torch.randn(3, 6, 6)
        return dict(inputs=self.images[index] + noise, data_samples=torch.tensor(index % 3))


@HOOKS.register_module()
class SwitchOff(Hook):
    """Turns the switch before the last epochs."""

    def __init__(self, last_epochs=1):
        self.last_epochs = last_epochs
        self.at = None

    def before_train_epoch(self, runner):
        loader = runner.train_dataloader
        if runner.epoch + 1 == runner.max_epochs - self.last_epochs + 1:
            runner.logger.info("No noise now!")
            loader.dataset.strength = 0.0
            self.at = runner.epoch
            if hasattr(loader, "persistent_workers") and loader.persistent_workers is True:
                loader._DataLoader__initialized = False
                loader._iterator = None


CHANGES = dict(
    train_dataloader=dict(
        dataset=dict(_delete_=True, type="Switchable"), sampler=dict(type="DefaultSampler", shuffle=True)
    ),
    train_cfg=dict(_delete_=True, by_epoch=True, max_epochs=2, val_interval=2),
    param_scheduler=[dict(type="MultiStepLR", milestones=[1], by_epoch=True)],
    default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1)),
    log_processor=dict(by_epoch=True),
    custom_hooks=[dict(type="SwitchOff")],
)


def facts(runner):
    return {"at": next(hook.at for hook in runner.hooks if type(hook).__name__ == "SwitchOff")}

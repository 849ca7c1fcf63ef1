"""A script that trains a second run from the checkpoint of the first, with fresh optimizer state."""

import copy

import torch
from mmengine.registry import DATASETS


@DATASETS.register_module()
class Plain(torch.utils.data.Dataset):
    """Images without augmentation."""

    metainfo = dict(classes=("a", "b", "c"))

    def __init__(self):
        self.images = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(1))

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dict(inputs=self.images[index], data_samples=torch.tensor(index % 3))


CHANGES = dict(
    train_dataloader=dict(dataset=dict(_delete_=True, type="Plain")),
    val_dataloader=dict(dataset=dict(_delete_=True, type="Plain")),
    test_dataloader=dict(dataset=dict(_delete_=True, type="Plain")),
    default_hooks=dict(checkpoint=dict(interval=3)),
)


def run(runner):
    """Trains twice; the second run begins in the middle of the first."""
    runner.train()
    cfg = copy.deepcopy(runner.cfg)
    cfg.work_dir = f"{runner.work_dir}_second"
    cfg.experiment_name = f"second_{runner.timestamp}"
    second = type(runner).from_cfg(cfg)
    second.resume(f"{runner.work_dir}/iter_3.pth", resume_optimizer=False, resume_param_scheduler=False)
    runner.at = (second.iter, second._has_loaded)
    second.train()
    runner.second = second


def facts(runner):
    """Returns what the second run came to."""
    return {
        "at": runner.at,
        "losses": [float(value) for value in runner.second.message_hub.get_scalar("train/loss").data[0][-3:]],
        "rates": runner.second.optim_wrapper.get_lr(),
        "weights": dict(runner.second.model.state_dict()),
    }

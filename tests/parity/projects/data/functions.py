"""How samples become a batch and how workers begin: two functions in MMEngine's FUNCTIONS."""

import random

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import FUNCTIONS


@FUNCTIONS.register_module()
def mixup_collate(samples, alpha=0.4):
    """Mix each image with its neighbour."""
    batch = pseudo_collate(samples)
    images = torch.stack(batch["inputs"])
    share = float(np.random.beta(alpha, alpha))
    mixed = share * images + (1 - share) * images.flip(0)
    return dict(inputs=list(mixed), data_samples=batch["data_samples"])


@FUNCTIONS.register_module(name="seed_workers")
def seed_by_worker(worker_id, offset=0):
    np.random.seed(worker_id + offset)
    random.seed(worker_id + offset)
    torch.manual_seed(worker_id + offset)


CHANGES = dict(
    train_dataloader=dict(
        num_workers=2,
        persistent_workers=True,
        collate_fn=dict(type="mixup_collate", alpha=0.8),
        worker_init_fn=dict(type="seed_workers", offset=100),
    ),
    val_dataloader=dict(collate_fn=dict(type="pseudo_collate")),
)

"""Leaves the hook out that tells the sampler of epochs: each epoch then has the same order."""

CHANGES = dict(
    train_dataloader=dict(sampler=dict(type="DefaultSampler", shuffle=True)),
    train_cfg=dict(_delete_=True, by_epoch=True, max_epochs=2, val_interval=2),
    param_scheduler=[dict(type="MultiStepLR", milestones=[1], by_epoch=True)],
    default_hooks=dict(sampler_seed=None, checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=1)),
    log_processor=dict(by_epoch=True),
)


def facts(runner):
    """Returns the names of what runs, in order."""
    return {"hooks": [type(hook).__name__ for hook in runner.hooks]}

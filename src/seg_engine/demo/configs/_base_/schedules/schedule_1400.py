# Plain SGD, a linear warm-up, then the polynomial decay; configs on top may replace the optimizer.
optimizer = dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=0.0005)
optim_wrapper = dict(type="OptimWrapper", optimizer=optimizer, clip_grad=None)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=100),
    dict(type="PolyLR", eta_min=0.0, power=0.9, begin=100, end=1400, by_epoch=False),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=1400, val_interval=350)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=350, max_keep_ckpts=2, save_best="mIoU"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    progress=dict(type="ProgressBarHook"),
    visualization=dict(type="SegVisualizationHook", draw=True, interval=10),
)

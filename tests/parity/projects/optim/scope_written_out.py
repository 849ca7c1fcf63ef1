"""A config whose parts all name their package."""

CHANGES = dict(
    model=dict(type="mmengine.TinyModel"),
    train_dataloader=dict(
        dataset=dict(type="mmengine.TinyDataset"), sampler=dict(type="mmengine.InfiniteSampler", shuffle=True)
    ),
    val_evaluator=dict(type="mmengine.TinyAccuracy"),
    optim_wrapper=dict(
        _delete_=True,
        type="mmengine.OptimWrapper",
        constructor="mmengine.DefaultOptimWrapperConstructor",
        optimizer=dict(type="mmengine.SGD", lr=0.02, momentum=0.9, weight_decay=0.0005),
        paramwise_cfg=dict(norm_decay_mult=0.0, custom_keys={"head": dict(lr_mult=10.0)}),
        clip_grad=dict(max_norm=1.0),
    ),
    param_scheduler=[
        dict(type="mmengine.LinearLR", start_factor=0.1, begin=0, end=2, by_epoch=False),
        dict(type="mmengine.PolyLR", power=0.9, eta_min=1e-4, begin=2, end=6, by_epoch=False),
        dict(type="mmengine.CosineAnnealingMomentum", T_max=6, eta_min=0.5, by_epoch=False),
    ],
    visualizer=dict(
        type="mmengine.Visualizer", name="written_out", vis_backends=[dict(type="mmengine.LocalVisBackend")]
    ),
)

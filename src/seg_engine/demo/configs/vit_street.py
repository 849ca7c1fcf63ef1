# A vision transformer: no weight decay on position embedding, class token and norms.
_base_ = [
    "_base_/models/tiny_vit.py",
    "_base_/datasets/street_scenes.py",
    "_base_/default_runtime.py",
    "_base_/schedules/schedule_1400.py",
]
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=0.002, betas=(0.9, 0.999), weight_decay=0.01),
    clip_grad=dict(max_norm=5.0, norm_type=2),
    accumulative_counts=2,  # batch normalisation sees each batch alone, as the log will say
    paramwise_cfg=dict(
        custom_keys={"pos_embed": dict(decay_mult=0.0), "cls_token": dict(decay_mult=0.0), "norm": dict(decay_mult=0.0)}
    ),
)
custom_hooks = [dict(type="EMAHook", momentum=0.01, begin_iter=200, priority="NORMAL")]

# The demo's main config: AdamW whose learning rate falls off layer by layer, clipping, accumulation, averaged weights.
_base_ = [
    "_base_/models/tiny_convnext.py",
    "_base_/datasets/street_scenes.py",
    "_base_/default_runtime.py",
    "_base_/schedules/schedule_1400.py",
]
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=0.006, betas=(0.9, 0.999), weight_decay=0.05),
    clip_grad=dict(max_norm=5.0, norm_type=2),
    accumulative_counts=2,  # batch normalisation sees each batch alone, as the log will say
    paramwise_cfg={"decay_rate": 0.97, "decay_type": "stage_wise", "num_layers": "auto"},
    constructor="LearningRateDecayOptimizerConstructor",
)
custom_hooks = [dict(type="EMAHook", momentum=0.01, begin_iter=200, priority="NORMAL")]
seg = dict(channels_last=True)  # these convolutions take a third less time on a CPU with pixels in this order

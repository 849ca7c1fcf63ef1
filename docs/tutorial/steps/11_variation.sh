cat > averaged.py <<'END'
_base_ = "fields.py"
optim_wrapper = dict(
    constructor="LearningRateDecayOptimizerConstructor",
    paramwise_cfg=dict(decay_rate=0.9, decay_type="stage_wise", num_layers="auto"),
)
custom_hooks = [dict(type="EMAHook", momentum=0.05, begin_iter=20)]
END
seg train averaged.py --work-dir averaged

"""A constructor that shares nothing but its arguments with the default one, and looks at the names in the config."""

from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class HeadFirstConstructor:
    def __init__(self, optim_wrapper_cfg, paramwise_cfg=None):
        self.optim_wrapper_cfg = optim_wrapper_cfg.copy()
        self.optimizer_cfg = self.optim_wrapper_cfg.pop("optimizer").copy()
        self.head_mult = (paramwise_cfg or {}).get("head_mult", 1.0)

    def __call__(self, model):
        if hasattr(model, "module"):
            model = model.module
        lr = self.optimizer_cfg["lr"]
        if self.optimizer_cfg["type"] == "AdamW":
            lr = lr / 2
        head = [p for name, p in model.named_parameters() if name.startswith("head")]
        rest = [p for name, p in model.named_parameters() if not name.startswith("head")]
        self.optimizer_cfg["params"] = [dict(params=head, lr=lr * self.head_mult), dict(params=rest)]
        wrapper = OPTIM_WRAPPERS.get(self.optim_wrapper_cfg.pop("type", "OptimWrapper"))
        return wrapper(optimizer=OPTIMIZERS.build(self.optimizer_cfg), **self.optim_wrapper_cfg)


CHANGES = dict(
    optim_wrapper=dict(
        _delete_=True,
        type="OptimWrapper",
        constructor="HeadFirstConstructor",
        paramwise_cfg=dict(head_mult=10.0),
        optimizer=dict(type="AdamW", lr=0.001),
        clip_grad=dict(max_norm=1.0),
    ),
)


def facts(runner):
    return dict(sizes=[len(group["params"]) for group in runner.optim_wrapper.optimizer.param_groups])

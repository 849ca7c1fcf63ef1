"""Mixed precision where there is no GPU: the forward pass under autocast, by the wrapper's own context."""

from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class CpuAmpOptimWrapper(OptimWrapper):
    def __init__(self, dtype="bfloat16", **kwargs):
        super().__init__(**kwargs)
        self.dtype = getattr(torch, dtype)

    @contextmanager
    def optim_context(self, model):
        with super().optim_context(model), torch.autocast("cpu", dtype=self.dtype):
            yield


CHANGES = dict(
    optim_wrapper=dict(
        _delete_=True,
        type="CpuAmpOptimWrapper",
        dtype="bfloat16",
        optimizer=dict(type="AdamW", lr=0.001, weight_decay=0.01),
    ),
)

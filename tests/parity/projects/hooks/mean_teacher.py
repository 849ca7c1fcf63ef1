"""Semi-supervised training keeps a teacher beside the model, as MMDetection's MeanTeacherHook does."""

import copy

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS, MODELS
from mmengine.registry import MODELS as ALL_MODELS


@MODELS.register_module()
class StudentAndTeacher(torch.nn.Module):
    """Two models; the student is trained, the teacher follows."""

    def __init__(self, student, data_preprocessor=None):
        super().__init__()
        self.student = ALL_MODELS.build(student)
        self.teacher = copy.deepcopy(self.student)
        for parameter in self.teacher.parameters():
            parameter.requires_grad = False

    def train_step(self, data, optim_wrapper):
        return self.student.train_step(data, optim_wrapper)

    def val_step(self, data):
        return self.teacher.val_step(data)

    def test_step(self, data):
        return self.teacher.test_step(data)


@HOOKS.register_module()
class MeanTeacherHook(Hook):
    """Moves the teacher towards the student after each step."""

    def __init__(self, momentum=0.001, interval=1, skip_buffers=True):
        self.momentum, self.interval, self.skip_buffers = momentum, interval, skip_buffers

    def before_train(self, runner):
        model = runner.model
        if is_model_wrapper(model):
            model = model.module
        assert hasattr(model, "teacher")
        assert hasattr(model, "student")
        if runner.iter == 0:
            self.momentum_update(model, 1)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if (runner.iter + 1) % self.interval != 0:
            return
        model = runner.model
        if is_model_wrapper(model):
            model = model.module
        self.momentum_update(model, self.momentum)

    def momentum_update(self, model, momentum):
        if self.skip_buffers:
            pairs = zip(model.student.named_parameters(), model.teacher.named_parameters(), strict=True)
            for (_, source), (_, target) in pairs:
                target.data.mul_(1 - momentum).add_(source.data, alpha=momentum)


CHANGES = dict(
    model=dict(_delete_=True, type="StudentAndTeacher", student=dict(type="TinyModel")),
    custom_hooks=[dict(type="MeanTeacherHook", momentum=0.01, interval=2, priority="ABOVE_NORMAL")],
)

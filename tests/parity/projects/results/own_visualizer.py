"""A visualizer of the project's own, and a backend that keeps what it is given; a hook that draws."""

import os.path as osp

import numpy as np
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, VISBACKENDS, VISUALIZERS
from mmengine.visualization import BaseVisBackend, Visualizer
from mmengine.visualization.vis_backend import force_init_env


@VISBACKENDS.register_module()
class TextBackend(BaseVisBackend):
    """Appends a line for everything it gets to a text file."""

    def __init__(self, save_dir, filename="notes.txt"):
        super().__init__(save_dir)
        self.filename = filename
        self.lines = []

    def _init_env(self):
        import os

        os.makedirs(self._save_dir, exist_ok=True)
        self._file = osp.join(self._save_dir, self.filename)

    @property
    @force_init_env
    def experiment(self):
        return self._file

    @force_init_env
    def _note(self, line):
        self.lines.append(line)
        with open(self._file, "a") as file:
            file.write(line + "\n")

    def add_config(self, config, **kwargs):
        self._note(f"config {len(config.pretty_text) > 0}")

    def add_image(self, name, image, step=0, **kwargs):
        self._note(f"image {name} {image.shape} {int(image.sum())} {step}")

    def add_scalar(self, name, value, step=0, **kwargs):
        self._note(f"scalar {name} {float(value):.6f} {step}")

    def add_scalars(self, scalar_dict, step=0, file_path=None, **kwargs):
        names = sorted(set(scalar_dict) - {"memory"})
        self._note(f"scalars {names} {step}")

    def close(self):
        self._note("closed")


@VISUALIZERS.register_module()
class LabelVisualizer(Visualizer):
    def __init__(self, name="visualizer", *args, scale=4, **kwargs):
        super().__init__(name, *args, **kwargs)
        self.scale = scale

    def add_datasample(self, name, image, data_sample=None, step=0, **kwargs):
        image = np.kron(image, np.ones((self.scale, self.scale, 1))).astype(np.uint8)
        image[: self.scale] = self.dataset_meta["palette"][data_sample]
        self.set_image(image)
        self.add_image(name, self.get_image(), step)


@HOOKS.register_module()
class DrawGuesses(Hook):
    priority = "NORMAL"

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        image = data_batch["inputs"][0].permute(1, 2, 0).clamp(0, 1).numpy() * 255
        runner.visualizer.add_datasample(f"guess_{batch_idx}", image, outputs[0][0], step=runner.iter)
        runner.visualizer.add_scalar("guessed", outputs[0][0], step=runner.iter)


CHANGES = dict(
    visualizer=dict(
        type="LabelVisualizer",
        name="labels",
        scale=3,
        vis_backends=[dict(type="LocalVisBackend"), dict(type="TextBackend", filename="seen.txt")],
    ),
    custom_hooks=[dict(type="DrawGuesses")],
    train_cfg=dict(val_interval=3),
)


def facts(runner):
    visualizer = runner.visualizer
    backend = visualizer.get_backend("TextBackend")
    return dict(lines=backend.lines, kind=type(visualizer).__name__, classes=visualizer.dataset_meta["classes"])

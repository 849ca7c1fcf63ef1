"""A backend of the project's own behind the usual visualizer."""

from mmengine.registry import VISBACKENDS
from mmengine.visualization import BaseVisBackend


@VISBACKENDS.register_module()
class HistoryBackend(BaseVisBackend):
    def __init__(self, save_dir=None, keys=("loss",)):
        self.keys = keys
        self.history = {key: [] for key in keys}
        self.closed = 0
        if save_dir:
            super().__init__(save_dir)

    def _init_env(self):
        pass

    @property
    def experiment(self):
        return self.history

    def add_config(self, config, **kwargs):
        self.history["lr"] = [config.optim_wrapper.optimizer.lr]

    def add_scalar(self, name, value, step=0, **kwargs):
        self.history.setdefault(name, []).append((step, float(value)))

    def add_scalars(self, scalar_dict, step=0, file_path=None, **kwargs):
        for key in self.keys:
            if key in scalar_dict:
                self.add_scalar(key, scalar_dict[key], step)

    def close(self):
        self.closed += 1


CHANGES = dict(
    vis_backends=[dict(type="LocalVisBackend"), dict(type="HistoryBackend", keys=("loss", "loss_ce", "tiny/acc"))],
    visualizer=dict(
        type="Visualizer",
        vis_backends=[dict(type="LocalVisBackend"), dict(type="HistoryBackend", keys=("loss", "loss_ce", "tiny/acc"))],
        name="visualizer",
    ),
)


def facts(runner):
    backend = runner.visualizer.get_backend("HistoryBackend")
    return dict(history=backend.experiment, closed=backend.closed)

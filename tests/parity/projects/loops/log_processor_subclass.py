"""MMEngine's LogProcessor, that adds a column and shows another window for one value."""

from mmengine.registry import LOG_PROCESSORS
from mmengine.runner import LogProcessor


@LOG_PROCESSORS.register_module()
class WithRatio(LogProcessor):
    """Adds the ratio of two scalars to each record."""

    def __init__(self, *args, ratio=("loss", "acc"), **kwargs):
        super().__init__(*args, **kwargs)
        self.ratio = tuple(ratio)
        self.lines = []

    def get_log_after_iter(self, runner, batch_idx, mode):
        tag, text = super().get_log_after_iter(runner, batch_idx, mode)
        if all(name in tag for name in self.ratio):
            tag["ratio"] = tag[self.ratio[0]] / (1.0 + tag[self.ratio[1]])
        self.lines.append(text.split("  ")[0])
        return tag, text

    def _get_iter(self, runner, batch_idx):
        return super()._get_iter(runner, batch_idx)


CHANGES = dict(
    log_processor=dict(
        type="WithRatio",
        by_epoch=False,
        window_size=3,
        custom_cfg=[
            dict(data_src="loss_ce", log_name="loss_low", method_name="min", window_size=4),
            dict(data_src="acc", method_name="max", window_size="global"),
        ],
    )
)


def facts(runner):
    return {"lines": runner.log_processor.lines}

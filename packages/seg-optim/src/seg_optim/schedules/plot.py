"""plot_schedule: the learning rate over a run as numbers, a line of text, an SVG, or a PNG."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from seg_optim.schedules.simulate import simulated

__all__ = ["SchedulePlot", "plot_schedule"]

BARS = "▁▂▃▄▅▆▇█"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
WIDTH, HEIGHT, MARGIN = 720, 320, 48


@dataclass(frozen=True)
class SchedulePlot:
    """Learning rates over a run.

    Attributes:
        values: rate in each iteration, by name of the group.
    """

    values: Mapping[str, Sequence[float]]

    def sparkline(self, width: int = 60) -> str:
        """Return a line of text per group: its rates as bars from 0 to the highest, then first, highest and last."""
        longest = max(len(name) for name in self.values)
        return "\n".join(f"{name:<{longest}} {_spark(track, width)}" for name, track in self.values.items())

    def svg(self) -> str:
        """Return a picture as text, with axes and a legend."""
        top = max(max(track) for track in self.values.values()) or 1.0
        length = max(len(track) for track in self.values.values())
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
            'font-size="12"><rect width="100%" height="100%" fill="white"/>',
            f'<path d="M{MARGIN} {MARGIN / 2} V{HEIGHT - MARGIN} H{WIDTH - MARGIN / 2}" fill="none" stroke="black"/>',
            f'<text x="{MARGIN - 4}" y="{MARGIN / 2 + 10}" text-anchor="end">{top:.2g}</text>',
            f'<text x="{MARGIN - 4}" y="{HEIGHT - MARGIN}" text-anchor="end">0</text>',
            f'<text x="{WIDTH - MARGIN / 2}" y="{HEIGHT - MARGIN + 16}" text-anchor="end">{length} iterations</text>',
        ]
        for index, (name, track) in enumerate(self.values.items()):
            colour = COLOURS[index % len(COLOURS)]
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in _points(track, length, top))
            lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
            y = MARGIN / 2 + 14 * (index + 1)
            lines.append(f'<text x="{WIDTH - MARGIN}" y="{y}" text-anchor="end" fill="{colour}">{escape(name)}</text>')
        return "\n".join([*lines, "</svg>\n"])

    def save(self, path: str | Path) -> Path:
        """Write `.svg`, `.csv`, or `.png` (needs matplotlib).

        Raises:
            ValueError: another ending.
            ImportError: a PNG without matplotlib.
        """
        target = Path(path)
        writers = {".svg": self.svg, ".csv": self._csv}
        if target.suffix == ".png":
            self._png(target)
        elif target.suffix in writers:
            target.write_text(writers[target.suffix](), encoding="utf-8")
        else:
            raise ValueError(f"{target.name}: a schedule is written as .svg, .csv or .png")
        return target

    def _csv(self) -> str:
        rows = zip(*self.values.values(), strict=True)
        lines = [",".join(["iteration", *self.values])]
        lines += [",".join([str(index), *map(repr, row)]) for index, row in enumerate(rows)]
        return "\n".join(lines) + "\n"

    def _png(self, target: Path) -> None:
        try:
            figure = importlib.import_module("matplotlib.figure").Figure(figsize=(WIDTH / 100, HEIGHT / 100))
        except ImportError as error:
            raise ImportError("a PNG needs `pip install matplotlib`; .svg needs no other package") from error
        axes = figure.subplots()
        for name, track in self.values.items():
            axes.plot(track, label=name)
        axes.set_xlabel("iteration")
        axes.legend()
        figure.savefig(target)


def plot_schedule(
    cfg: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    max_iters: int,
    lr: float | Mapping[str, float] = 1.0,
    *,
    epoch_length: int = 1,
    accumulative_counts: int = 1,
) -> SchedulePlot:
    """Work out what a config's `param_scheduler` makes of the learning rate, step by step as in training.

    Args:
        cfg: one dict or a list of them.
        max_iters: iterations of the run.
        lr: base rate, or one per group by name.
        epoch_length: iterations in an epoch, for schedules by epoch.
        accumulative_counts: iterations in an optimizer step, for schedules with `unit='step'`.

    Example:
        >>> plot = plot_schedule([
        ...     dict(type="LinearLR", start_factor=0.1, begin=0, end=20, by_epoch=False),
        ...     dict(type="PolyLR", begin=20, end=100, by_epoch=False)], max_iters=100, lr=0.01)
        >>> print(plot.sparkline(width=20))
        lr ▁▃▅▇██▇▇▆▆▅▅▄▄▃▃▂▂▁▁ 0.001 .. 0.01 .. 0
    """
    rates = lr if isinstance(lr, Mapping) else {"lr": lr}
    return SchedulePlot(simulated(cfg, rates, max_iters, epoch_length, accumulative_counts))


def _spark(track: Sequence[float], width: int) -> str:
    top = max(track) or 1.0
    width = min(width, len(track))
    picked = [track[index * len(track) // width] for index in range(width)]
    bars = "".join(BARS[min(int(value / top * len(BARS)), len(BARS) - 1)] for value in picked)
    return f"{bars} {track[0]:.3g} .. {max(track):.3g} .. {track[-1]:.3g}"


def _points(track: Sequence[float], length: int, top: float) -> list[tuple[float, float]]:
    count = min(len(track), WIDTH)
    picked = sorted({round(index * (len(track) - 1) / max(count - 1, 1)) for index in range(count)})
    across, up = WIDTH - 1.5 * MARGIN, HEIGHT - 1.5 * MARGIN
    return [(MARGIN + i / max(length - 1, 1) * across, HEIGHT - MARGIN - track[i] / top * up) for i in picked]

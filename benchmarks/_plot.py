"""A plot of a contest as SVG: how many times the bare limit each contestant takes, and where half of its turns lie.

Written without a library, so that the same figures give the same bytes, on any machine, and a test can compare them.
"""

from __future__ import annotations

import math
from html import escape

__all__ = ["Bar", "is_ours", "plot"]

Bar = tuple[str, float, float, float]
"""Name, and low quarter, median and high quarter of the ratio."""
LEFT, WIDTH, RIGHT, ROW, TOP, BOTTOM = 250, 360, 70, 26, 34, 30
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #222 }
.panel { fill: #fff } .grid { stroke: #ddd } .limit { stroke: #777; stroke-dasharray: 4 3 }
.bar { stroke: #888; stroke-width: 6; stroke-linecap: round } .dot { fill: #555 }
.ours { stroke: #3b82c4 } .ours-dot { fill: #0b4f8a } .own { font-weight: 600 } .axis { fill: #666 }
@media (prefers-color-scheme: dark) {
text { fill: #e4e4e4 } .panel { fill: #1b1d20 } .grid { stroke: #3a3d42 } .limit { stroke: #999 }
.bar { stroke: #888 } .dot { fill: #ccc } .ours { stroke: #4a90d0 } .ours-dot { fill: #a8d4ff } .axis { fill: #aaa }
}
"""


def is_ours(name: str) -> bool:
    """Whether a contestant is ours, by its name."""
    return name.startswith(("ours", "seg-", "seg_", "seg "))


def ticks(least: float, most: float) -> list[float]:
    """Round ratios that lie within the plot: few, and 1 is one of them."""
    if most / least > 6:
        steps = [base * 10.0**power for power in range(-2, 4) for base in (1, 2, 5)]
    else:
        step = next(step for step in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if (most - least) / step <= 7)
        steps = [1 + step * number for number in range(-60, 200)]
    return [step for step in steps if least <= step <= most]


def plot(title: str, bars: list[Bar]) -> str:
    """Return the picture; where the ratios lie far apart, its axis is logarithmic."""
    shown_title = escape(title if len(title) <= 80 else title[:79] + "…")
    least = min(1.0, *(low for _, low, _, _ in bars)) * 0.97
    most = max(1.0, *(high for *_, high in bars)) * 1.03
    spread = (lambda value: math.log(value)) if most / least > 6 else (lambda value: value)

    def across(value: float) -> str:
        share = (spread(max(value, least)) - spread(least)) / (spread(most) - spread(least))
        return f"{LEFT + WIDTH * share:.1f}"

    height = TOP + ROW * len(bars) + BOTTOM
    width = LEFT + WIDTH + RIGHT
    end = TOP + ROW * len(bars)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' role="img" aria-label="{escape(title)}">',
        f"<style>{STYLE}</style>",
        f'<rect class="panel" width="{width}" height="{height}" rx="6"/>',
        f'<text class="own" x="12" y="21">{shown_title}</text>',
    ]
    for tick in ticks(least, most):
        x = across(tick)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{end}"/>')
        parts.append(f'<text class="axis" x="{x}" y="{end + 18}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<line class="limit" x1="{across(1)}" x2="{across(1)}" y1="{TOP}" y2="{end}"/>')
    for number, (name, low, middle, high) in enumerate(bars):
        y = TOP + ROW * number + ROW // 2
        own = is_ours(name)
        shown = escape(name if len(name) <= 32 else name[:31] + "…")
        weight = ' class="own"' if own else ""
        parts += [
            f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end"{weight}>{shown}</text>',
            f'<line class="bar{" ours" if own else ""}" x1="{across(low)}" x2="{across(high)}" y1="{y}" y2="{y}"/>',
            f'<circle class="{"ours-dot" if own else "dot"}" cx="{across(middle)}" cy="{y}" r="5"/>',
            f'<text x="{LEFT + WIDTH + 12}" y="{y + 4}">{middle:{".2f" if middle >= 0.1 else ".3f"}}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"

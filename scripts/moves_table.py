"""What `./run moves` says: a line for each config, the counts, and the page of the documentation."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from projects import ROOT

__all__ = ["line", "record", "summary", "written"]

DOCUMENT = ROOT / "docs/moves.md"
KINDS = ("own model", "stand-in", "package absent", "fails there too", "failed")
Row = dict[str, Any]
USUAL = ("crops ", "widths ", "depth ")
PAGE = """# Every config of MMSegmentation

*Written by `./run moves --record`.*

Each of the {count} experiment configs in the wheel of mmsegmentation {mmseg} is trained here for {steps} steps, as
`seg train` does it: with seg-engine's runner, loops, hooks, optimizer wrapper, schedulers, log and visualizer, and with
MMSegmentation's model, data preprocessor and metric. Then it is validated, saved, and its `tta_model` tests a picture
in all versions of its `tta_pipeline`, where it has one. A config counts where every step was done, every loss is
finite, and losses, metrics and the checkpoint are in their files.

What a CPU has no time for is changed: samples that are drawn in place of a data set, batches of two small crops, widths
divided by 2 to 8 and ResNets of 50 layers in place of deeper ones, no weights to begin with. *Stand-in*: with another
backbone. *Fails there too*: MMEngine's own Runner, given the same, fails as well.

With {facts}, on {date}. The seconds are of one core.

"""


def line(row: Row) -> str:
    """Return what is printed of one config."""
    what = [row["kind"], *([row["reason"]] if row["reason"] else [])]
    if "tta" in row:
        what += [f"losses {', '.join(f'{loss:.3g}' for loss in row['losses'])}", row["tta"]]
        what += [f"theirs: {', '.join(row['theirs'])}"] if row["theirs"] else []
        what += row["shrunk"]
    return f"{row['config']}: {'; '.join(what)}; {row['seconds']:.1f} s"


def summary(rows: Sequence[Row]) -> str:
    """Return the counts of each family and kind, and why configs did not run with their own model."""
    return "\n".join([*by_family(rows), "", *reasons(rows)])


def by_family(rows: Sequence[Row]) -> list[str]:
    """Return the table of families."""
    table = ["| family | configs | " + " | ".join(KINDS) + " | seconds each |", "| --- " * (len(KINDS) + 3) + "|"]
    families = sorted({row["family"] for row in rows})
    for family in [*families, "all"]:
        these = [row for row in rows if family in (row["family"], "all")]
        counts = Counter(row["kind"] for row in these)
        mean = sum(row["seconds"] for row in these) / max(len(these), 1)
        shown = family if family == "all" else f"`{family}`"
        cells = [shown, str(len(these)), *(str(counts[kind] or "–") for kind in KINDS), f"{mean:.1f}"]
        table.append(f"| {' | '.join(cells)} |")
    return table


def reasons(rows: Iterable[Row]) -> list[str]:
    """Return the configs that did not run with their own model, under the reason."""
    said = []
    for row in rows:
        error = row["kind"] in ("fails there too", "failed")
        why = f"`{row['reason']}`" if error else row["reason"]
        said += [(f"{row['kind']}, {why}", row)] if row["kind"] != "own model" else []
    return _grouped(said)


def remarks(rows: Iterable[Row]) -> list[str]:
    """Return the configs with parts of MMSegmentation's own in the run, and those of which more was changed."""
    said = []
    for row in rows:
        said += [(f"{name} is MMSegmentation's own", row) for name in row.get("theirs", ())]
        said += [(told, row) for told in row.get("shrunk", ()) if not told.startswith(USUAL)]
    return _grouped(said)


def _grouped(said: Iterable[tuple[str, Row]]) -> list[str]:
    found: dict[str, list[str]] = {}
    for words, row in said:
        found.setdefault(words, []).append(f"`{row['config']}`")
    return [f"- {words}: {', '.join(names)}" for words, names in found.items()]


def written(rows: Sequence[Row], steps: int) -> str:
    """Return the page."""
    names = ("torch", "mmengine", "mmcv-lite", "mmpretrain", "mmdet")
    facts = [f"Python {platform.python_version()}", *(f"`{name}` {importlib.metadata.version(name)}" for name in names)]
    head = PAGE.format(
        count=len(rows),
        steps=steps,
        mmseg=importlib.metadata.version("mmsegmentation"),
        facts=", ".join([*facts, f"{platform.system()} {platform.machine()}"]),
        date=datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    )
    parts = [
        [*by_family(rows)],
        ["## Not with their own model", "", *(reasons(rows) or ["None."])],
        ["## Remarks", "", *(remarks(rows) or ["None."])],
    ]
    return head + "\n\n".join("\n".join(part) for part in parts) + "\n"


def record(rows: Sequence[Row], steps: int) -> None:
    """Write the page of the documentation."""
    DOCUMENT.write_text(written(rows, steps), encoding="utf-8")

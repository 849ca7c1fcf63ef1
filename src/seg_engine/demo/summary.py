"""The end of the demo: the number that was reached, and where everything lies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg_engine.launch import as_typed

if TYPE_CHECKING:
    from seg_runner import Runner

__all__ = ["print_summary"]


def print_summary(runner: Runner, facts: Mapping[str, Any]) -> None:
    """Print the mIoU of the last and the best validation, as in the log, then what the run left, with its path."""
    from rich.console import Console

    scalars = runner.log_dir / "vis_data" / "scalars.json"
    scores = validation_scores(scalars)
    console = Console(soft_wrap=True, highlight=False)
    if scores:
        best = max(*scores, float(runner.message_hub.get_info("best_score", 0.0)))  # it remembers those before a stop
        console.print(f"\n[bold]mIoU on the validation scenes: {scores[-1]:.2f} %[/] (best {best:.2f} %)")
        if facts.get("short"):
            console.print("--short makes 40 steps only: the pictures are poor. Without it they become good.")
    console.print(f"{facts['seconds']:.0f} seconds for drawing, training, validating and saving\n")
    for what, where in left_behind(runner, facts):
        console.print(f"  {what:<32}{where}")


def validation_scores(scalars: Path) -> list[float]:
    """Return the mIoU (percent) of every validation, in order."""
    if not scalars.exists():
        return []
    records = [json.loads(line) for line in scalars.read_text(encoding="utf-8").splitlines()]
    return [record["mIoU"] for record in records if "mIoU" in record]


def left_behind(runner: Runner, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List what there is to look at and to go on with: a name and a path or command for each."""
    work, logs = short(runner.work_dir), short(runner.log_dir)
    best = newest(runner.work_dir, "best_*.pth")
    last = newest(runner.work_dir, "iter_*.pth")
    events = first(runner.work_dir, "*/vis_data/**/events.out.tfevents.*")  # a resumed one goes on in the first's
    rows = [
        ("log", f"{logs}/{runner.timestamp}.log"),
        ("scalars", f"{logs}/vis_data/scalars.json"),
        ("TensorBoard", events),
        ("W&B, offline", first(runner.log_dir, "vis_data/**/offline-run-*")),
        ("pictures of validation", f"{logs}/vis_data/vis_image/"),
        ("last checkpoint", f"{work}/{last}" if last else ""),
        ("best checkpoint", f"{work}/{best}" if best else ""),
        ("config", f"{short(facts['config'])}"),
        ("", ""),
        ("go on after Ctrl-C", as_typed(facts["resume"])),
        ("look at the curves", as_typed(f"tensorboard --logdir {work}") if events else ""),
    ]
    if best:
        scenes = short(Path(facts["config"]).parent.parent / "street_scenes" / "images" / "validation")
        rows.append(("segment images", as_typed(f"seg predict {work}/{best} {scenes} --out predicted")))
    return [row for row in rows if row[1] or not row[0]]


def first(folder: Path, pattern: str) -> str:
    """Return the first path that matches, or ''."""
    return next((short(path) for path in sorted(folder.glob(pattern))), "")


def newest(folder: Path, pattern: str) -> str:
    """Return the name of the file written last, or ''."""
    found = sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime_ns)
    return found[-1].name if found else ""


def short(path: Path) -> str:
    """Return a path as seen from here, where that is shorter."""
    try:
        return str(Path(path).resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)

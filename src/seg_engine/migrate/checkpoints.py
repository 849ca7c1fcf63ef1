"""A checkpoint: whose it is, what is in it, whether it loads, and the same as a file of the other engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from seg_engine.migrate.findings import CHANGE, NOTE, UNREAD, Finding, Report
from seg_engine.migrate.shapes import fitting, told_of_misfits

__all__ = ["convert", "describe", "findings_of_checkpoint", "origin"]

OURS, MMENGINE, MMCV, OTHER, PUBLISHED, WEIGHTS = (
    "seg-runner",
    "MMEngine",
    "mmcv 1.x",
    "another program",
    "weights with what is said of them, such as a model zoo publishes",
    "weights alone (a state_dict)",
)


def findings_of_checkpoint(path: Path, file: str) -> tuple[dict[str, str], list[Finding]]:
    """Return what is in a checkpoint, and what is to be said of it; reading it runs nothing."""
    from seg_runner import CheckpointError, read_checkpoint

    try:
        content = read_checkpoint(path)
    except CheckpointError as error:
        text = str(error).replace(str(path), "the file")
        level = CHANGE if "unsafe" in text else UNREAD  # it can be read by whoever trusts it
        return {}, [Finding(level, file, 0, text)]
    except OSError as error:
        return {}, [Finding(UNREAD, file, 0, f"it cannot be read: {error.strerror}")]
    return describe(content), list(told(content, file))


def origin(content: Mapping[str, Any]) -> str:
    """Say which program wrote a checkpoint.

    >>> origin({"state_dict": {}, "meta": {"mmengine_version": "0.10.7"}, "optimizer": {}})
    'MMEngine'
    >>> origin({"conv.weight": 1})
    'weights alone (a state_dict)'
    """
    meta = content.get("meta")
    if not isinstance(meta, Mapping):
        return WEIGHTS
    versions = meta.get("versions")
    if "run_id" in meta or (isinstance(versions, Mapping) and "seg-runner" in versions):
        return OURS
    if "optimizer" not in content:
        return PUBLISHED
    if "mmengine_version" in meta or "message_hub" in content:
        return MMENGINE
    return MMCV if "mmcv_version" in meta else OTHER


def describe(content: Mapping[str, Any]) -> dict[str, str]:
    """Return lines about a checkpoint: a name and a value each; nothing about parts that cannot be read."""
    content = fitting(content)
    weights = content.get("state_dict", content)
    tensors = [one for one in weights.values() if hasattr(one, "numel")] if isinstance(weights, Mapping) else []
    held = content.get("meta")
    meta: Mapping[str, Any] = held if isinstance(held, Mapping) else {}
    facts = {
        "written by": origin(content),
        "weights": f"{len(tensors)} tensor{'s' * (len(tensors) != 1)}, {sum(one.numel() for one in tensors):,} numbers",
        "kept in": ", ".join(sorted({str(one.dtype).removeprefix("torch.") for one in tensors})),
        "average": average_of(content, meta),
        "optimizer": optimizers_of(content.get("optimizer")),
        "schedulers": schedulers_of(content.get("param_schedulers")),
        "stands at": stands_at(meta),
        "classes": classes_of(meta),
        "config": "in the file" if meta.get("cfg") else "",
    }
    return {name: value for name, value in facts.items() if value}


def average_of(content: Mapping[str, Any], meta: Mapping[str, Any]) -> str:
    """Say whether a checkpoint holds averaged weights."""
    if "ema_state_dict" not in content:
        return ""
    return "averaged weights in state_dict, those of the last step in ema_state_dict"


def optimizers_of(state: object) -> str:
    """Say how many optimizers a checkpoint holds the state of."""
    if not isinstance(state, Mapping) or not state:
        return ""
    if "param_groups" in state:
        return f"one, {len(state['param_groups'])} groups"
    return f"{len(state)}: {', '.join(map(str, state))}"


def schedulers_of(state: object) -> str:
    """Say how many schedulers a checkpoint holds the state of."""
    if isinstance(state, Mapping):
        return ", ".join(f"{name}: {len(each)}" for name, each in state.items() if isinstance(each, list))
    return str(len(state)) if isinstance(state, list) and state else ""


def stands_at(meta: Mapping[str, Any]) -> str:
    """Say how far the run was."""
    counts = {name: meta.get(name) for name in ("epoch", "iter")}
    return ", ".join(f"{name} {value}" for name, value in counts.items() if isinstance(value, int))


def classes_of(meta: Mapping[str, Any]) -> str:
    """Say which classes the weights know; `CLASSES` is what mmcv 1.x wrote."""
    about = meta.get("dataset_meta")
    names = (about.get("classes") if isinstance(about, Mapping) else None) or meta.get("CLASSES")
    if not isinstance(names, list | tuple) or not names:
        return ""
    return f"{len(names)}: {', '.join(map(str, names[:4]))}{', ...' if len(names) > 4 else ''}"


def told(content: Mapping[str, Any], file: str) -> Iterator[Finding]:
    """Yield what comes of a checkpoint here."""
    wrong = list(told_of_misfits(content, file))
    yield from wrong
    kind = origin(content)
    weights = content.get("state_dict", content)
    if not isinstance(weights, Mapping) or not any(hasattr(one, "numel") for one in weights.values()):
        keys = ", ".join(map(str, list(content)[:6]))
        what = f"there are no weights under state_dict, nor at the top; its keys: {keys}"
        yield Finding(CHANGE, file, 0, what, "load_options=dict(key=...) names where they are")
        return
    if wrong:
        return
    if kind == MMCV:
        yield Finding(NOTE, file, 0, "its weights load (load_from); a run of mmcv 1.x cannot go on", "")
    elif kind in (OTHER, PUBLISHED, WEIGHTS):
        yield Finding(NOTE, file, 0, "its weights load (load_from, init_cfg); there is no run in it to go on with", "")


def convert(path: Path, to: str, out: Path) -> Report:
    """Write a checkpoint as the other engine writes it; the original stays as it is.

    One without weights, or with a part that cannot be read, is not written: the report says what is wrong with it.

    Args:
        path: The checkpoint.
        to: `mmengine`: what MMEngine 0.10 and MMSegmentation's tools read with `torch.load`; `seg`: tensors and plain
            values only, with a checksum, readable with `weights_only=True`.
        out: The file to write.

    Raises:
        FileExistsError: there is a file.
        seg_runner.CheckpointError: the checkpoint cannot be read.
    """
    import torch
    from seg_runner import read_checkpoint
    from seg_runner.checkpoint.write import write_checkpoint

    if out.exists():
        raise FileExistsError(f"{out} is there: name a file that is not, or delete it first")
    content = read_checkpoint(path)
    report = Report(str(path), "checkpoint", {"checkpoints": [str(path)]}, describe(content))
    report.add(each for each in told(content, str(path)) if each.level != NOTE)
    if report.code:
        return report
    out.parent.mkdir(parents=True, exist_ok=True)
    if to == "seg":
        write_checkpoint(out, content)
    else:
        partial = out.with_name(out.name + ".part")
        torch.save(for_mmengine(content), partial)
        partial.replace(out)
    report.facts["now in"] = f"{out} (for {'MMEngine' if to == 'mmengine' else 'seg'})"
    return report


FOREIGN = ("hooks", "loop", "data", "grads", "visualizer")
"""What our files hold beside, which MMEngine does not know."""


def for_mmengine(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint with what MMEngine reads in it, and nothing else."""
    kept = {key: value for key, value in content.items() if key not in FOREIGN}
    meta = kept.get("meta")
    if isinstance(meta, Mapping):
        kept["meta"] = {"mmengine_version": VERSION, **meta}
    return kept


VERSION = "0.10.7"
"""MMEngine's, whose layout our files have."""

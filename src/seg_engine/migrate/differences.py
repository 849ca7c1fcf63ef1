"""Which of the known differences a config meets; `docs/differences.md` explains each under its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from seg_engine.migrate.findings import DIFFERS, Finding
from seg_engine.migrate.type_names import Named, is_ours, named_types

__all__ = ["RULES", "differences_of"]

Place = tuple[str, int]


def typed(*names: str) -> Callable[[Any, list[Named]], list[Place]]:
    """Return what finds the parts of these names."""

    def find(cfg: Any, types: list[Named]) -> list[Place]:
        return [(one.file, one.line) for one in types if one.name.rpartition(".")[2] in names]

    return find


def keyed(test: Callable[[str, Any], bool]) -> Callable[[Any, list[Named]], list[Place]]:
    """Return what finds the keys that a test holds for, with their values, at any depth of what a run reads."""

    def find(cfg: Any, types: list[Named]) -> list[Place]:
        return [place(table, key) for table in tables(cfg, types) for key, value in table.items() if test(key, value)]

    return find


def tables(cfg: Any, types: list[Named]) -> Iterator[Mapping[str, Any]]:
    """Yield the dicts of a config that have a `type`."""
    for one in types:
        found: Any = cfg
        for step in one.path.split("."):
            found = found[int(step)] if isinstance(found, list | tuple) else found[step]
        yield found


def place(table: Any, key: str) -> Place:
    """Return file and line of a key."""
    from seg_registry.values.origins import chain_of

    chain = chain_of(table, key)
    return (str(chain[-1][0]), int(chain[-1][1])) if chain else ("", 0)


def random_stream(cfg: Any, types: list[Named]) -> list[Place]:
    """Find a run that trains, and does not say that its random numbers are MMEngine's."""
    told = cfg.get("randomness") or {}
    stream = told.get("stream") if isinstance(told, Mapping) else None
    trains = cfg.get("train_cfg") and cfg.get("train_dataloader")
    return [place_of_key(cfg, "train_dataloader")] if trains and stream in (None, "sample") else []


def place_of_key(cfg: Any, key: str) -> Place:
    """Return file and line of a top-level key."""
    origin = cfg.origin(key)
    return (origin[-1].file, origin[-1].line) if origin else ("", 0)


def own_packages(cfg: Any, types: list[Named]) -> list[Place]:
    """Find `custom_imports`."""
    return [place_of_key(cfg, "custom_imports")] if cfg.get("custom_imports") else []


def label_0_and_classes(cfg: Any, types: list[Named]) -> list[Place]:
    """Find data sets of ours that reduce label 0 and choose classes."""
    ours = [one for one in types if is_ours(one)]
    return [
        place(table, "reduce_zero_label")
        for table in tables(cfg, ours)
        if table.get("reduce_zero_label") and (table.get("metainfo") or {}).get("classes")
    ]


def padded_test(cfg: Any, types: list[Named]) -> list[Place]:
    """Find our `Pad` where images are tested."""
    return [
        (one.file, one.line)
        for one in types
        if one.name == "Pad" and one.path.startswith(("val_", "test_", "tta_")) and is_ours(one)
    ]


def written(key: str, value: object) -> bool:
    """Tell whether a metric writes its predictions."""
    return key == "output_dir" and bool(value)


RULES: dict[str, tuple[str, Callable[[Any, list[Named]], list[Place]]]] = {
    "random-numbers-belong-to-a-sample": (
        "random numbers are drawn for each sample, so a resumed run is the same run; in MMEngine's order, bit for bit, "
        "with randomness.stream='mmengine'",
        random_stream,
    ),
    "configs-open-no-package": (
        "custom_imports are imported by seg train, not for a config that lies in a checkpoint: seg predict and "
        "seg rerun want --allow NAME",
        own_packages,
    ),
    "curves-by-mode": (
        "curves are called train/loss and val/mIoU; tag_style='mmengine' keeps the old names",
        typed("TensorboardVisBackend", "WandbVisBackend", "MLflowVisBackend"),
    ),
    "pictures-with-headings": (
        "pictures have headings, errors and a legend; SegVisualizationHook(picture='plain') gives the two alone",
        keyed(lambda key, value: key == "draw" and value is True),
    ),
    "one-file-an-image": ("two images of one name get two files", keyed(written)),
    "every-checkpoint-counts": (
        "what a signal or an error left counts among the checkpoints that are kept",
        keyed(lambda key, value: key == "max_keep_ckpts" and isinstance(value, int) and value > 0),
    ),
    "a-new-best-does-not-save-the-checkpoint-again": (
        "a new best writes one file, its own",
        keyed(lambda key, value: key == "save_best" and bool(value)),
    ),
    "mixed-precision-follows-the-device": (
        "mixed precision follows the device that the model is on, and runs on a CPU too",
        typed("AmpOptimWrapper"),
    ),
    "clipping-at-0-is-off": (
        "clipping at 0 is off",
        keyed(lambda key, value: key == "clip_grad" and isinstance(value, Mapping) and value.get("max_norm") == 0),
    ),
    "reduction-comes-before-the-choice-of-classes": (
        "label 0 is reduced before classes are chosen",
        label_0_and_classes,
    ),
    "padding-of-a-test-pipeline-is-taken-off": ("what Pad adds is taken off the prediction", padded_test),
}
"""Name -> what it comes to, in a line, and where a config meets it."""


def differences_of(cfg: Any) -> Iterator[Finding]:
    """Yield what of the known differences a config meets, with file and line."""
    types = list(named_types(cfg))
    for name, (line, find) in RULES.items():
        for file, number in dict.fromkeys(find(cfg, types)):
            yield Finding(DIFFERS, file, number, line, "", name)

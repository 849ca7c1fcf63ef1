"""What a checkpoint describes: its model, held to the size of the file, its weights, and the transforms of testing."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg_engine.data.pipeline import Compose

if TYPE_CHECKING:
    from seg_registry import Config
    from torch import nn

    from seg_engine.data.pipeline import NestedBuilder

__all__ = ["checked_meta", "fitting_model", "put_weights", "test_transforms", "warn_of_weights"]


def checked_meta(meta: object, path: str | Path) -> dict[str, Any]:
    """Return what a checkpoint says of itself, whoever wrote it: mmcv 1.x wrote `CLASSES` and `PALETTE`.

    Raises:
        ValueError: its config is no text, or its classes are no list of names.
    """
    held = meta if isinstance(meta, Mapping) else {}
    about = held.get("dataset_meta")
    if about is None and held.get("CLASSES") is not None:
        about = {"classes": held["CLASSES"], "palette": held.get("PALETTE")}
    if isinstance(about, Mapping) and hasattr(about.get("palette"), "tolist"):
        about = {**about, "palette": about["palette"].tolist()}
    classes = about.get("classes") if isinstance(about, Mapping) else None
    for name, value, kinds in (
        ("meta", meta, Mapping),
        ("meta.cfg", held.get("cfg"), str | None),
        ("meta.dataset_meta", about, Mapping | None),
        ("meta.dataset_meta.classes", classes, list | tuple | None),
    ):
        if not isinstance(value, kinds):
            raise ValueError(f"{path}: {name} is a {type(value).__name__}, so this is not a checkpoint of a training")
    if not all(isinstance(one, str) for one in classes or ()):
        raise ValueError(f"{path}: meta.dataset_meta.classes holds something that is no name")
    return {**held, "dataset_meta": about}


def fitting_model(cfg: Config, parts: NestedBuilder, state: Mapping[str, Any], file: Path | None) -> Any:
    """Return the model of a checkpoint's config; with its file, none that is larger than what lies in there.

    Raises:
        ValueError: the config describes no model, or a larger one.
    """
    if file is None:
        return described_model(cfg, parts)
    from seg_runner.checkpoint.several.layout import checkpoint_bytes

    from seg_engine.models.model_size import ModelBounds

    held = state.get("state_dict")
    with ModelBounds(checkpoint_bytes(file), len(held) if isinstance(held, Mapping) else 0):
        return described_model(cfg, parts)


def described_model(cfg: Config, parts: NestedBuilder) -> Any:
    """Return the model of a config.

    Raises:
        ValueError: it describes none.
    """
    if not isinstance(cfg.get("model"), Mapping):
        raise ValueError(f"the config describes no model: model={cfg.get('model')!r:.100} is no dict with a type")
    described = cfg.model.copy()
    if cfg.get("data_preprocessor") is not None:
        described.setdefault("data_preprocessor", cfg.data_preprocessor)
    return parts.build("model", described)


def put_weights(model: nn.Module, state: Mapping[str, Any], path: str, strict: bool) -> None:
    """Put a checkpoint's weights into a model.

    Raises:
        ValueError: weights are missing or of another shape; the message lists them.
    """
    from seg_runner import load_weights

    try:
        report = load_weights(model, state, complete=strict)
    except (RuntimeError, ValueError) as error:
        hint = "" if "nothing was loaded" in str(error) else "\n(strict=False takes the weights that fit)"
        raise ValueError(f"{path}: {error}{hint}") from error
    if not strict and not report.whole:
        warnings.warn(f"{path}: {report}", stacklevel=3)


def warn_of_weights(model: nn.Module, path: str | Path) -> None:
    """Warn once where weights are not finite: every pixel may get one class then."""
    from seg_runner.checkpoint.finite import not_finite
    from seg_vis.names import printable

    found = not_finite({"state_dict": model.state_dict()})
    if found:
        names = ", ".join(printable(name, lines=False) for name in found[:3]) + (", ..." if len(found) > 3 else "")
        text = f"{path}: weights are not finite ({names}); what this model predicts means nothing"
        warnings.warn(text, stacklevel=3)


def test_transforms(cfg: Config, parts: NestedBuilder) -> tuple[Any, Any]:
    """Return what reads the image, and the transforms of testing after it; what reads labels is left out."""
    from seg_engine.data.pixels import is_reader, reads_labels

    steps = [one for one in test_pipeline(cfg) if not reads_labels(name_of(one))]
    at = next((index for index, one in enumerate(steps) if is_reader(name_of(one))), -1)
    made = [parts.build("transform", one) if isinstance(one, Mapping) else one for one in steps]
    reading, after = made[: at + 1], made[at + 1 :] or [parts.build("transform", {"type": "PackSegInputs"})]
    return Compose(reading) if reading else None, Compose(after)


def test_pipeline(cfg: Config) -> Sequence[Any]:
    """Return the transforms of the test data set, else of the validation's, else `test_pipeline`."""
    for key in ("test_dataloader", "val_dataloader"):
        loader = cfg.get(key)
        data = loader.get("dataset") if isinstance(loader, Mapping) else None
        while isinstance(data, Mapping) and not data.get("pipeline"):
            inner = data.get("dataset") or data.get("datasets") or ()
            data = inner[0] if isinstance(inner, list | tuple) and inner else inner
        if isinstance(data, Mapping):
            return _steps(data["pipeline"], f"{key}.dataset.pipeline")
    return _steps(cfg.get("test_pipeline") or (), "test_pipeline")


def _steps(pipeline: object, name: str) -> list[Any]:
    if not isinstance(pipeline, list | tuple):
        raise ValueError(f"{name} must be a list of transforms, not {pipeline!r:.100}")
    for one in pipeline:
        if not callable(one) and not (isinstance(one, Mapping) and isinstance(one.get("type"), str | type)):
            raise ValueError(f"{name}: a dict with the name of a transform as type is expected, not {one!r:.100}")
    return list(pipeline)


def name_of(transform: object) -> str:
    """Return the name of a transform's class, or of a function."""
    kind = transform["type"] if isinstance(transform, Mapping) else transform
    if isinstance(kind, str):
        return kind.rpartition(".")[2]
    return str(getattr(kind, "__name__", type(kind).__name__))

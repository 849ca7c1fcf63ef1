"""A trained model from its checkpoint alone: `load_model(checkpoint).predict(image)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Prediction", "Predictor", "load_model"]

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Prediction:
    """What a model says about one image.

    Attributes:
        image: H x W x 3, RGB.
        labels: H x W, the class of each pixel (16 bits where there are classes beyond 255).
        sample: The whole sample, with `seg_logits`.
        classes: Class names, where the checkpoint has them.
        palette: A colour per class.
    """

    image: Image
    labels: npt.NDArray[np.uint8 | np.uint16]
    sample: Any
    classes: tuple[str, ...] | None
    palette: Any

    def overlay(self, alpha: float = 0.5, with_labels: bool = True) -> Image:
        """The image under its classes' colours, H x W x 3, RGB."""
        from seg_vis import overlay

        return np.asarray(
            overlay(
                self.image,
                self.labels,
                palette=self.palette,
                alpha=alpha,
                classes=self.classes,
                with_labels=with_labels,
            )
        )

    def save(self, labels: str | Path, overlay: str | Path, alpha: float = 0.5) -> None:
        """Write the label map (one grey value per class) and the overlay as PNG files."""
        import cv2

        for path, pixels in ((Path(labels), self.labels), (Path(overlay), self.overlay(alpha)[..., ::-1])):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not cv2.imwrite(str(path), pixels):
                raise OSError(f"could not write {path}: is the disk full, or the folder read-only?")


class Predictor:
    """A model with the transforms that it was tested with.

    Args:
        model: What gives samples: an object with `test_step`.
        pipeline: Transforms from a record with `img_path` or `img` to what the model takes.
        metainfo: `classes` and `palette`.
    """

    def __init__(self, model: Any, pipeline: Any, metainfo: Mapping[str, Any]) -> None:
        self.model, self.pipeline = model, pipeline
        self.metainfo = dict(metainfo)

    def predict(self, image: str | Path | Image) -> Prediction:
        """Segment one image.

        Args:
            image: A file, or H x W x 3 pixels, RGB, uint8.

        Raises:
            FileNotFoundError, ValueError: no such file, no picture, or an array of another shape or type.
        """
        pixels, path = read_image(image)
        record: dict[str, Any] = {"img": pixels[..., ::-1], "img_path": path, "seg_fields": []}
        record |= {"img_shape": pixels.shape[:2], "ori_shape": pixels.shape[:2]}
        packed = self.pipeline(record)
        batch = {"inputs": [packed["inputs"]], "data_samples": [packed["data_samples"]]}
        sample = self.model.test_step(batch)[0]
        found = sample.pred_sem_seg.data[0].cpu().numpy()
        labels = found.astype(np.uint8 if found.max() <= 255 else np.uint16)
        classes = self.metainfo.get("classes")
        palette = self.metainfo.get("palette") or "distinct"
        return Prediction(pixels, labels, sample, tuple(classes) if classes else None, palette)


def read_image(image: str | Path | Image) -> tuple[Image, str]:
    """Pixels as H x W x 3 RGB, and the path ('' for an array)."""
    from seg_engine.files import read_picture

    if isinstance(image, str | Path):
        return np.ascontiguousarray(read_picture(image)[..., ::-1]), str(image)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        shape = f"{getattr(image, 'dtype', type(image).__name__)} {getattr(image, 'shape', '')}"
        raise ValueError(f"predict: a file, or H x W x 3 pixels of uint8 (RGB), is expected, not {shape}")
    if not image.size:
        raise ValueError(f"predict: the image holds no pixel: its shape is {image.shape} (H x W x 3)")
    return image, ""


def load_model(
    checkpoint: str | Path,
    *,
    device: str | None = None,
    allow_imports: bool = False,
    trust: bool = False,
    allow: Sequence[str] = (),
) -> Predictor:
    """Build the model that a checkpoint was saved from, with its weights, ready to predict.

    The config comes from the checkpoint; averaged weights are used where EMA was on.

    Args:
        checkpoint: A file that training wrote.
        device: Where to run; None: the first CUDA device, else the CPU.
        allow_imports: Carry out the config's `custom_imports`: only for checkpoints of your own.
        trust: Build from any installed package that the config names, and carry out its `custom_imports`.
        allow: Packages and modules that the config may use, and import.

    Raises:
        ValueError: the file is cut off or damaged, holds no config, or weights that do not fit it; torch has no such
            device.
    """
    from seg_registry import Config
    from seg_runner import LogitsModel, read_checkpoint
    from seg_runner.device import pick_device

    from seg_engine.launch import make_builder

    target = pick_device(device)
    state = read_checkpoint(checkpoint)
    meta = state.get("meta") or {}
    if not meta.get("cfg"):
        raise ValueError(f"{checkpoint} holds no config (meta.cfg), so its model cannot be built")
    cfg = Config.fromstring(meta["cfg"], ".py")
    parts = make_builder(cfg, trust, allow, imports=allow_imports)
    described = dict(cfg.model)
    if cfg.get("data_preprocessor") is not None:
        described.setdefault("data_preprocessor", cfg.data_preprocessor)
    model = parts.build("model", described)
    model = model if hasattr(model, "test_step") else LogitsModel(model)
    load_weights(model, state["state_dict"], str(checkpoint))
    return Predictor(model.to(target).eval(), test_transforms(cfg, parts), meta.get("dataset_meta") or {})


def load_weights(model: Any, weights: Mapping[str, Any], path: str) -> None:
    """Put weights into a model; a checkpoint of another model is an error.

    Raises:
        ValueError: names are missing or left over; the message lists the first ones.
    """
    missing, left_over = model.load_state_dict(weights, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or left_over:
        lists = (
            f"{len(missing)} missing, such as {missing[:3]}",
            f"{len(left_over)} left over, such as {left_over[:3]}",
        )
        raise ValueError(f"{path}: the weights do not fit the model of its config: {'; '.join(lists)}")


def test_transforms(cfg: Any, parts: Any) -> Any:
    """The transforms of testing without those that read files: the image is given."""
    from seg_engine.pipeline import Compose

    found: Sequence[Any] | None = cfg.get("test_pipeline")
    for key in ("test_dataloader", "val_dataloader"):
        loader = cfg.get(key)
        if loader is not None and isinstance(loader.get("dataset"), Mapping):
            found = loader["dataset"].get("pipeline") or found
            break
    reading = ("LoadImageFromFile", "LoadAnnotations")
    steps = [
        one for one in found or [] if not (isinstance(one, Mapping) and str(one["type"]).split(".")[-1] in reading)
    ]
    return Compose(
        parts.build("transform", one) if isinstance(one, Mapping) else one
        for one in steps or [{"type": "PackSegInputs"}]
    )

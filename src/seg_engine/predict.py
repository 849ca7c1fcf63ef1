"""A trained model from its checkpoint alone: `load_model(checkpoint).predict(image)`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seg_engine.data.pipeline import Compose

__all__ = ["Prediction", "Predictor", "load_model"]

Image = npt.NDArray[np.uint8]
Record = dict[str, Any]
WIDEST = 1600
"""Pixels of the longer side of a picture in a notebook."""


@dataclass(frozen=True, repr=False)
class Prediction:
    """What a model says about one image. In a notebook it shows itself: the image under its classes' colours.

    Attributes:
        image: H x W x 3, RGB, 8 bits: what was read, as a picture.
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
        """Return the image under its classes' colours, H x W x 3, RGB."""
        from seg_vis import overlay

        picture = overlay(
            self.image, self.labels, palette=self.palette, alpha=alpha, classes=self.classes, with_labels=with_labels
        )
        return np.asarray(picture)

    def save(
        self, labels: str | Path, overlay: str | Path, alpha: float = 0.5, colours: str | Path | None = None
    ) -> None:
        """Write PNG files.

        Args:
            labels: The label map, one grey value per class: every program reads the classes' numbers from it.
            overlay: The image under its classes' colours.
            alpha: How much of the colours covers the image.
            colours: The label map with the palette in the file, to look at. Its values are the classes' numbers too,
                for programs that read palettes by index (Pillow, GIMP); OpenCV makes colours of them.
        """
        from seg_vis.files import encode, write_whole

        from seg_engine.outputs import indexed_png

        write_whole(Path(overlay), encode(self.overlay(alpha)))
        write_whole(Path(labels), encode(self.labels))
        if colours is not None:
            write_whole(Path(colours), indexed_png(self.labels, self.palette, self.classes))

    def shares(self) -> dict[str, float]:
        """Return the classes that were found and the share of the pixels that each has, the largest first.

        >>> one = Prediction(np.zeros((1, 4, 3), np.uint8), np.uint8([[0, 1, 1, 1]]), None, ("road", "car"), "distinct")
        >>> one.shares(), one
        ({'car': 0.75, 'road': 0.25}, Prediction(1 x 4 pixels: car 75 %, road 25 %))
        """
        counts = np.bincount(self.labels.ravel())
        order = [int(label) for label in np.argsort(-counts, kind="stable") if counts[label]]
        names = self.classes or ()
        return {names[n] if n < len(names) else str(n): float(counts[n] / self.labels.size) for n in order}

    def __repr__(self) -> str:
        from seg_vis.names import printable

        found = [f"{printable(name, lines=False)} {share:.0%}" for name, share in self.shares().items()]
        text = ", ".join(found[:5] + (["..."] if len(found) > 5 else [])).replace("%", " %")
        return f"Prediction({self.labels.shape[0]} x {self.labels.shape[1]} pixels: {text})"

    def _repr_png_(self) -> bytes:
        """Return the picture that a notebook shows."""
        import cv2
        from seg_vis.files import encode

        picture: npt.NDArray[Any] = self.overlay()
        scale = WIDEST / max(picture.shape[:2])
        if scale < 1:
            picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return encode(picture)


class Predictor:
    """A model with the transforms that it was tested with.

    Args:
        model: What gives samples: an object with `test_step`.
        pipeline: Transforms from a record with `img_path` and `img` to what the model takes.
        metainfo: `classes` and `palette`.
        reader: Transforms that read `img_path` into `img`, the last one reads; None: 8-bit colour.
    """

    def __init__(
        self,
        model: Any,
        pipeline: Callable[[Record], Any],
        metainfo: Mapping[str, Any],
        reader: Compose | None = None,
    ) -> None:
        self.model, self.pipeline, self.reader = model, pipeline, reader
        self.metainfo = dict(metainfo)

    def predict(self, image: object, errors: str = "raise") -> Any:
        """Segment one image, or several.

        A file is read as the config's test pipeline reads it. An array is taken for what such a file holds: H x W x 3
        is RGB, H x W grey; with another number of channels they are in the order that the reader gives them.
        Where the reader makes 8 bits of every file (the usual one does), so it is with arrays of 16 bits. A Pillow
        picture is taken for the file that it was opened from, turned by its EXIF data where files are.

        Args:
            image: A file, an array, a Pillow image, or a list (or any iterable) of these.
            errors: 'raise', or 'warn': where one of several cannot be predicted, warn and put None in its place.

        Returns:
            A `Prediction`, or a list of them.

        Raises:
            FileNotFoundError, ValueError: no such file, no picture, or an array that is no image, or holds NaN where
                the reader gives 8 bits.
        """
        if errors not in ("raise", "warn"):
            raise ValueError(f"errors must be 'raise' or 'warn', not {errors!r}")
        if isinstance(image, str | os.PathLike | bytes) or hasattr(image, "shape") or not isinstance(image, Iterable):
            return self._one(image)
        if hasattr(image, "__array_interface__"):  # Pillow's images can be walked through, too
            return self._one(image)
        return [self._one_of_many(one, errors, f"image {index} of the list") for index, one in enumerate(image)]

    def _one_of_many(self, image: object, errors: str, name: str) -> Prediction | None:
        if errors == "raise":
            return self._one(image, name)
        try:
            return self._one(image, name)
        except Exception as error:
            from seg_vis.names import printable

            what = image if isinstance(image, str | os.PathLike) else "an image"
            warnings.warn(f"{printable(what, lines=False)}: {printable(error)}", stacklevel=4)
            return None

    def _one(self, image: object, name: str = "the image") -> Prediction:
        from seg_engine.data.pixels import shown

        record = self._read(image, name)
        picture = shown(record["img"])
        packed = self.pipeline(record)
        warn_of_pixels(packed, record["img_path"] or name)
        try:
            sample = self.model.test_step(batch_of(packed, record))[0]
        except Exception as error:
            size = " x ".join(map(str, record["img"].shape))
            error.add_note(f"while predicting {record['img_path'] or 'an array'}, which was read as {size} pixels")
            raise
        found = sample.pred_sem_seg.data[0].cpu().numpy()
        labels = found.astype(np.uint8 if found.max(initial=0) <= 255 else np.uint16)
        classes = self.metainfo.get("classes")
        palette = self.metainfo.get("palette") or "distinct"
        return Prediction(picture, labels, sample, tuple(classes) if classes else None, palette)

    def _read(self, image: object, name: str) -> Record:
        """Return the record of an image after reading; messages call an array by this name."""
        from seg_engine.data.files import read_picture
        from seg_engine.data.pixels import as_read

        record: Record = {"img_path": "", "seg_fields": [], "sample_idx": 0, "classes": self.metainfo.get("classes")}
        if not isinstance(image, str | os.PathLike):
            record["img"] = as_read(image, self.reader.transforms[-1] if self.reader else None, name)
        elif self.reader is None:
            record |= {"img_path": os.fspath(image), "img": read_picture(os.fspath(image))}
        else:
            record["img_path"] = os.fspath(image)
            record = self.reader(record)
            if record is None or "img" not in record:
                raise ValueError(f"{os.fspath(image)}: no 'img' after the config's {self.reader}")
        size = tuple(record["img"].shape[:2])
        return {"img_shape": size, "ori_shape": size, **record}


def warn_of_pixels(packed: object, name: str) -> None:
    """Warn once where a model is to see what is no number: it spoils the classes around it, or everywhere."""
    import torch
    from seg_vis.names import printable

    inputs = packed.get("inputs") if isinstance(packed, Mapping) else packed
    if isinstance(inputs, torch.Tensor) and inputs.is_floating_point() and not bool(torch.isfinite(inputs).all()):
        count = int((~torch.isfinite(inputs)).sum())
        text = f"{printable(name, lines=False)}: NaN or infinite values reach the model ({count}); the classes "
        warnings.warn(f"{text}there, or everywhere, mean nothing", stacklevel=5)


def batch_of(packed: object, record: Record) -> Any:
    """Return a batch of one, of what a pipeline gave: MMSegmentation's dict, or a C x H x W tensor."""
    from seg_runner import SegDataSample

    if not isinstance(packed, Mapping):
        sample = SegDataSample(metainfo={name: record[name] for name in ("img_path", "ori_shape")})
        packed = {"inputs": packed, "data_samples": sample}
    return {name: [packed[name]] for name in ("inputs", "data_samples")}


NO_CONFIG = """\
{path} holds no config (meta.cfg), so its model cannot be built: it was trained from objects, Runner(model=net, ...).
Build the model as it was built for training, then load_model({path!r}, model=net); where the data set changed the
pixels (a mean, a scale), do the same before, and give predict arrays"""
OTHER_CONFIG = """\
{path} was written by mmcv 1.x, whose configs are of another kind. Take the config of the same name from MMSegmentation
1.x: `seg test CONFIG {path}` measures it; load_model({path!r}, model=net) takes a model that is built"""


def load_model(
    checkpoint: str | Path,
    *,
    model: Any = None,
    device: str | None = None,
    strict: bool = True,
    allow_imports: bool = False,
    trust: bool = False,
    allow: Sequence[str] = (),
    before: Callable[[Any], object] | None = None,
) -> Predictor:
    """Build the model that a checkpoint was saved from, with its weights, ready to predict.

    The config comes from the checkpoint; averaged weights are used where EMA was on.

    Args:
        checkpoint: A file that training wrote, or its address (`https://`).
        model: The model, where the checkpoint has no config: what `Runner(model=...)` was given.
        device: Where to run; None: the accelerator that torch reports, else the CPU.
        strict: Refuse weights that do not fit the model whole; False takes those that fit and warns of the others.
        allow_imports: Carry out the config's `custom_imports`: only for checkpoints of your own.
        trust: Build from any installed package that the config names, and carry out its `custom_imports`.
        allow: Packages and modules that the config may use, and import.
        before: Called with the config before anything is imported for it, such as `seg_engine.mmseg.prepare_for`.

    Raises:
        ValueError: the file is cut off or damaged, holds no config, or weights that do not fit it, as those of a model
            far larger than the file (unless `trust`); torch has no such device.
        FileNotFoundError: the file at this address cannot be had; the message says where to put it.
    """
    from seg_registry import Config
    from seg_runner import LogitsModel, pick_device, read_checkpoint
    from seg_runner.checkpoint.remote import fetch, scheme_of

    from seg_engine.checkpoint import checked_meta, fitting_model, put_weights, test_transforms, warn_of_weights
    from seg_engine.launch import make_builder

    target = pick_device(device)
    checkpoint = fetch(str(checkpoint)) if scheme_of(checkpoint) else checkpoint
    state = read_checkpoint(checkpoint)
    meta = checked_meta(state.get("meta") or {}, checkpoint)
    if not meta.get("cfg") and model is None:
        raise ValueError((OTHER_CONFIG if "config" in meta else NO_CONFIG).format(path=str(checkpoint)))
    cfg = Config.fromstring(meta.get("cfg") or "", ".py", alone=True)
    if before is not None:
        before(cfg)
    parts = make_builder(cfg, trust, allow, imports=allow_imports, files="read" if trust else "leave")
    made = fitting_model(cfg, parts, state, None if trust else Path(checkpoint)) if model is None else model
    made = made if hasattr(made, "test_step") else LogitsModel(made)
    put_weights(made, state, str(checkpoint), strict)
    warn_of_weights(made, checkpoint)
    reader, pipeline = test_transforms(cfg, parts)
    return Predictor(made.to(target).eval(), pipeline, meta.get("dataset_meta") or {}, reader)

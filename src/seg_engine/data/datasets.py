"""Data sets of image and label files by MMSegmentation's names and options."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from seg_runner.checks import flag, whole

from seg_engine.data.checks import check_keys, counts, refuse_unknown, switch
from seg_engine.data.files import declared_size, nearest_folder
from seg_engine.data.label_maps import check_size, read_labels
from seg_engine.data.label_report import LabelCounts, look_at
from seg_engine.data.listing import Listing, beginning, found_in, named_by, read_list
from seg_engine.data.loading import LoadAnnotations, LoadImageFromFile
from seg_engine.data.metainfo import checked_metainfo, known_metainfo, renumbering
from seg_engine.data.packed import FileRecords, Texts
from seg_engine.data.pipeline import Compose
from seg_engine.data.present import absent

__all__ = [
    "ADE20KDataset",
    "BaseSegDataset",
    "CityscapesDataset",
    "LoveDADataset",
    "PascalVOCDataset",
]

Record = dict[str, Any]
Transform = TypeVar("Transform")


class BaseSegDataset:
    """Images of one folder with label maps of another, or of the same: a label map has its image's name.

    Args:
        ann_file: Text file with one name per line (with suffix or without); empty: every image of the folder and of
            those below it; hidden files and folders are left out, links are followed.
        img_suffix: End of image file names, as it is written there, or several: `('.jpg', '.JPG', '.jpeg')`.
        seg_map_suffix: End of label file names.
        metainfo: `classes` and `palette`, over those of the class; a text names a file with a class or colour per line.
            With fewer `classes` than the class has, the others are ignored (255) and the rest renumbered.
        data_root: Folder that relative paths start from.
        data_prefix: `img_path` and `seg_map_path`, folders under `data_root`.
        pipeline: Transforms: dicts, or callables.
        test_mode: Label maps are not needed.
        indices: Use only these, or only the first so many; the last, where the number is negative.
        lazy_init: Look at the files later, when `full_init` is called.
        ignore_index: Label of pixels that do not count.
        reduce_zero_label: Label 0 does not count, and all others are one less.
        **ignored: Options of MMSegmentation that make no difference here (`serialize_data`, `backend_args`, ...).

    Raises:
        FileNotFoundError: a folder, a list, a listed image or a label map is missing; the message has its path.
        ValueError: no image, or options that contradict one another.

    Example:
        >>> import tempfile
        >>> from seg_engine.demo.dataset import StreetScenesDataset
        >>> from seg_engine.demo.scenes import write_scenes
        >>> root = write_scenes(tempfile.mkdtemp(), training=2, validation=1)
        >>> data = StreetScenesDataset(data_root=root, data_prefix=dict(img_path="images/training",
        ...     seg_map_path="annotations/training"), pipeline=[dict(type="LoadImageFromFile")])
        >>> len(data), data[0]["img"].shape, data.metainfo["classes"][:2]
        (2, (192, 192, 3), ('sky', 'building'))
    """

    METAINFO: ClassVar[dict[str, Any]] = {}
    KNOWN_AS: ClassVar[str] = ""
    IGNORED = frozenset({"filter_cfg", "serialize_data", "max_refetch", "backend_args"})

    def __init__(
        self,
        ann_file: str = "",
        img_suffix: str | Sequence[str] = ".jpg",
        seg_map_suffix: str = ".png",
        metainfo: Mapping[str, Any] | None = None,
        data_root: str | os.PathLike[str] | None = None,
        data_prefix: Mapping[str, Any] | None = None,
        pipeline: Sequence[Mapping[str, Any] | Callable[[Record], Record | None]] = (),
        test_mode: bool = False,
        indices: int | Sequence[int] | None = None,
        lazy_init: bool = False,
        ignore_index: int = 255,
        reduce_zero_label: bool = False,
        **ignored: object,
    ) -> None:
        refuse_unknown(BaseSegDataset, ignored, self.IGNORED, type(self).__name__)
        self.img_suffix, self.seg_map_suffix = img_suffix, seg_map_suffix
        self.img_suffixes = (img_suffix,) if isinstance(img_suffix, str) else tuple(img_suffix)
        if not self.img_suffixes:
            raise ValueError(f"{type(self).__name__}: img_suffix is empty: give the end of image files, or several")
        name = type(self).__name__
        root = Path(data_root) if data_root is not None else Path()
        prefix = {"img_path": "", "seg_map_path": ""}
        check_keys(data_prefix or {}, list(prefix), f"{name}: data_prefix")
        prefix |= dict(data_prefix or {})
        self.image_folder = root / prefix["img_path"]
        self.label_folder = root / prefix["seg_map_path"] if prefix["seg_map_path"] is not None else None
        self.ann_file = root / ann_file if ann_file else None
        self.test_mode, self.indices = switch(test_mode, f"{name}: test_mode"), _checked_indices(indices)
        self.ignore_index = whole(ignore_index, f"{name}: ignore_index", None)
        self.reduce_zero_label = reduce_zero_label is not None and flag(reduce_zero_label, f"{name}: reduce_zero_label")
        self.label_left_out = ignore_index
        self.label_map, self._metainfo = self._classes(metainfo)
        self.pipeline = Compose(pipeline)
        self.records: Sequence[Record] = []
        self._left_out: dict[str, int] = {}
        self._ready = False
        if not switch(lazy_init, f"{name}: lazy_init"):
            self.full_init()

    @property
    def metainfo(self) -> dict[str, Any]:
        """Return classes, palette, and how labels are read; a copy."""
        return copy.deepcopy(self._metainfo)

    def full_init(self) -> None:
        """List the files, and check that those needed are there. Called once; more calls do nothing."""
        if not self._ready:
            own = type(self).load_data_list is not BaseSegDataset.load_data_list
            self.records = self._chosen(self.load_data_list() if own else self._files())
            self._ready = True

    def load_data_list(self) -> list[Record]:
        """Return one record per image: `img_path`, and `seg_map_path` where there are labels. Open to subclasses.

        Where no subclass has its own, records are made as they are asked for: a million of them are 500 MB.
        """
        return list(self._files())

    def _files(self) -> FileRecords:
        """Return the records of all images, once the label maps are known to be there."""
        listing, labels = self._listing(), None
        self._left_out = listing.left_out
        if self.label_folder is not None:
            labels = listing.names.between(beginning(self.label_folder), self.seg_map_suffix)
        if labels is not None and not self.test_mode:
            self._check_labels(labels)
        return FileRecords(listing.images, labels)

    def __len__(self) -> int:
        self.full_init()
        return len(self.records)

    def __getitem__(self, index: int) -> Any:
        """Return the record of one image after the pipeline.

        Raises:
            ValueError: a transform returned None, so there is nothing to give.
        """
        result = self.pipeline(self.get_data_info(index))
        if result is None:
            raise ValueError(f"the pipeline returned None for {self.records[index]['img_path']}")
        return result

    def get_data_info(self, index: int) -> Record:
        """Return the record that the pipeline starts from."""
        self.full_init()
        return {
            **self.records[index],
            "sample_idx": index % len(self.records),
            "label_map": self.label_map,
            "reduce_zero_label": self.reduce_zero_label,
            "ignore_index": self.label_left_out,
            "ignored_in_files": self.ignore_index,
            "classes": self._metainfo.get("classes"),
            "seg_fields": [],
        }

    # -- what the runner and samplers ask for ------------------------------------------------------------------------

    def leave_out(self, label: int) -> str | None:
        """Let pixels that do not count, and those that transforms add, have the label that is left out.

        Args:
            label: The `ignore_index` of the model's head or loss, or of the metric.

        Returns:
            What to say about it; None where nothing changes.
        """
        if label == self.label_left_out:
            return None
        before, self.label_left_out = self.label_left_out, label
        classes = len(self._metainfo.get("classes") or ())
        label_map = {old: label if new == before else new for old, new in (self.label_map or {}).items()}
        if 0 <= self.ignore_index < classes:
            stays = f"; label {self.ignore_index} of the files stays a class"
        else:
            stays, label_map[self.ignore_index] = "", label
        self.label_map = label_map
        return f"pixels that do not count get label {label}, not {before}, to be left out{stays}"

    def get_cat_ids(self, index: int) -> list[int]:
        """Return the classes that the label map of an image holds; it is read for that."""
        record = self.get_data_info(index)
        reader = self._transform(LoadAnnotations) or LoadAnnotations(check_labels=False)
        labels = set(np.unique(reader.numbered(read_labels(record["seg_map_path"]), record)).tolist())
        return sorted(label for label in labels if label >= 0 and label != record["ignore_index"])

    def seconds_of_a_sample(self) -> dict[str, float]:
        """Return the mean seconds of each transform, over the samples read so far."""
        return self.pipeline.seconds()

    def data_report(self) -> list[tuple[int, str]]:
        """Say what is worth knowing before the first step: lines with logging levels. Reads some of the label maps.

        Raises:
            ValueError: a label map cannot be read, is of another size than its image, or holds a label that names no
                class.
        """
        self.full_init()
        lines = [self._about_files(), *self._about_ignored()]
        reader, loader = self._transform(LoadAnnotations), self._transform(LoadImageFromFile)
        turns = loader is not None and loader.turns
        if reader is None or not self.records or not _labelled(self.records):
            return lines

        def read(record: Record) -> tuple[Any, Any]:
            stored = read_labels(record["seg_map_path"], turn=turns)
            if loader is not None:
                check_size(stored, {**record, "ori_shape": declared_size(record["img_path"], turns)})
            return stored, reader.numbered(stored, {**self.get_data_info(0), **record})

        counts = LabelCounts(self._metainfo.get("classes") or (), self.label_left_out)
        return lines + look_at(self.records, read, counts, turns)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _classes(self, given: Mapping[str, Any] | None) -> tuple[dict[int, int] | None, dict[str, Any]]:
        """Tell which label becomes which, and the metainfo, with the palette of the classes that are left."""
        own = self.METAINFO or known_metainfo(self.KNOWN_AS)
        info = checked_metainfo(given, own, type(self).__name__)
        info |= {"ignore_index": self.ignore_index, "reduce_zero_label": self.reduce_zero_label}
        wanted, known = info.get("classes"), own.get("classes")
        label_map = None
        if wanted and known and wanted != tuple(known):
            label_map = renumbering(wanted, known, type(self).__name__, self.ignore_index)
            if "palette" in own and "palette" not in (given or {}):
                info["palette"] = [own["palette"][list(known).index(name)] for name in wanted]
        palette = info.get("palette")
        if wanted and palette and not isinstance(palette, str) and len(palette) != len(wanted):
            raise ValueError(f"{type(self).__name__}: {len(wanted)} classes but {len(palette)} colours in the palette")
        return label_map, info

    def _listing(self) -> Listing:
        """Return the images of the list, or of the folder."""
        folder, labels = self.image_folder, self.label_folder
        if self.ann_file:
            return named_by(read_list(self.ann_file), folder, self.img_suffixes, self.ann_file)
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{type(self).__name__}: the image folder {folder} does not exist ({nearest_folder(folder)}); "
                "see data_root and data_prefix.img_path"
            )
        return found_in(folder, self.img_suffixes, None if labels is None else (labels, self.seg_map_suffix))

    def _check_labels(self, labels: Texts) -> None:
        """Refuse missing label maps before the first hour of training, not after it."""
        assert self.label_folder is not None
        if not self.label_folder.is_dir():
            raise FileNotFoundError(
                f"{type(self).__name__}: the label folder {self.label_folder} does not exist "
                f"({nearest_folder(self.label_folder)}); see data_root and data_prefix.seg_map_path"
            )
        if missing := absent(labels):
            raise FileNotFoundError(
                f"{type(self).__name__}: {len(missing)} of {len(labels)} images have no label file, "
                f"the first one is {missing[0]}; "
                f"see data_prefix.seg_map_path and seg_map_suffix={self.seg_map_suffix!r}"
            )

    def _transform(self, kind: type[Transform]) -> Transform | None:
        """Return the first transform of a class in the pipeline."""
        return next((one for one in self.pipeline.transforms if isinstance(one, kind)), None)

    def _about_files(self) -> tuple[int, str]:
        """Say how many images there are, and which files were left out."""
        count = len(self.records)
        where = f"{count} image{'s' * (count != 1)} of {os.path.normpath(self.ann_file or self.image_folder)}"
        if not self._left_out:
            return logging.INFO, where
        others = ", ".join(f"{count} *{end}" for end, count in self._left_out.items())
        return logging.WARNING, f"{where}; left out: {others} (img_suffix={self.img_suffix!r} takes no others)"

    def _about_ignored(self) -> list[tuple[int, str]]:
        """Tell whether a class gets the number that labels which do not count have already."""
        reader, label = self._transform(LoadAnnotations), self.ignore_index
        reduced = self.reduce_zero_label if reader is None else reader.reduces(self.get_data_info(0))
        if not (reduced or self.label_map) or not 0 <= label < len(self._metainfo.get("classes") or ()):
            return []
        why = "reduce_zero_label=True" if reduced else "the choice of classes"
        return [
            (
                logging.WARNING,
                f"{type(self).__name__}: with {why}, ignore_index={label} is also the new number of the class "
                f"{self._metainfo['classes'][label]!r}: its pixels do not count either; 255 keeps them apart",
            )
        ]

    def _chosen(self, records: Sequence[Record]) -> Sequence[Record]:
        if self.indices is None:
            return records
        if isinstance(self.indices, int):
            places: Sequence[int] = range(len(records))
            places = places[: self.indices] if self.indices > 0 else places[self.indices :]
        else:
            places = self.indices
        outside = [i for i in places if not -len(records) <= i < len(records)]
        if outside:
            raise IndexError(f"indices: there is no image {outside[0]} among {len(records)}; the first one is 0")
        return records.take(places) if isinstance(records, FileRecords) else [records[i] for i in places]


def _labelled(records: Sequence[Record]) -> bool:
    """Tell whether all records have a label map."""
    if isinstance(records, FileRecords):
        return records.labels is not None
    return all("seg_map_path" in record for record in records)


def _checked_indices(indices: object) -> int | list[int] | None:
    """Tell which images are used, as a number or a list.

    Raises:
        ValueError: None would be.
    """
    if indices is None:
        return None
    if isinstance(indices, list | tuple | np.ndarray | range):
        return counts(list(indices), "indices", None)
    count = whole(indices, "indices", None)
    if count == 0:
        raise ValueError("indices=0 leaves no image: leave it out for all of them")
    return count


class ADE20KDataset(BaseSegDataset):
    """ADE20K: 150 classes; label 0 is "other" and does not count."""

    KNOWN_AS = "ade20k"

    def __init__(self, reduce_zero_label: bool = True, **options: Any) -> None:
        super().__init__(reduce_zero_label=reduce_zero_label, **options)


class CityscapesDataset(BaseSegDataset):
    """Cityscapes: 19 classes; labels are train ids."""

    KNOWN_AS = "cityscapes"

    def __init__(
        self,
        img_suffix: str | Sequence[str] = "_leftImg8bit.png",
        seg_map_suffix: str = "_gtFine_labelTrainIds.png",
        **options: Any,
    ) -> None:
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **options)


class PascalVOCDataset(BaseSegDataset):
    """Pascal VOC: 21 classes with the background; `ann_file` names the images of the split."""

    KNOWN_AS = "voc"


class LoveDADataset(BaseSegDataset):
    """LoveDA: 7 classes; label 0 does not count."""

    KNOWN_AS = "loveda"

    def __init__(
        self, img_suffix: str | Sequence[str] = ".png", reduce_zero_label: bool = True, **options: Any
    ) -> None:
        super().__init__(img_suffix=img_suffix, reduce_zero_label=reduce_zero_label, **options)

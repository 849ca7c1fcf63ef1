"""Data sets of image and label files by MMSegmentation's names and options."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from seg_engine.files import nearest_folder
from seg_engine.pipeline import Compose

__all__ = [
    "ADE20KDataset",
    "BaseSegDataset",
    "CityscapesDataset",
    "LoveDADataset",
    "PascalVOCDataset",
]

Record = dict[str, Any]


class BaseSegDataset:
    """Images of one folder with label maps of another, or of the same: a label map has its image's name.

    Args:
        ann_file: Text file with one name per line (without suffix); empty: every image of the folder.
        img_suffix: End of image file names.
        seg_map_suffix: End of label file names.
        metainfo: `classes` and `palette`, over those of the class. With fewer `classes` than the class has, the others
            are ignored (255) and the rest renumbered.
        data_root: Folder that relative paths start from.
        data_prefix: `img_path` and `seg_map_path`, folders under `data_root`.
        pipeline: Transforms: dicts, or callables.
        test_mode: Label maps are not needed.
        indices: Use only these, or only the first so many.
        lazy_init: Look at the files later, when `full_init` is called.
        ignore_index: Label of pixels that do not count.
        reduce_zero_label: Label 0 does not count, and all others are one less.
        **ignored: Options of MMSegmentation that make no difference here (`serialize_data`, `backend_args`, ...).

    Raises:
        FileNotFoundError: a folder, a list or a label map is missing; the message has its path.
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
        img_suffix: str = ".jpg",
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
        **ignored: Any,
    ) -> None:
        self._refuse(ignored)
        self.img_suffix, self.seg_map_suffix = img_suffix, seg_map_suffix
        root = Path(data_root) if data_root is not None else Path()
        prefix = {"img_path": "", "seg_map_path": ""} | dict(data_prefix or {})
        self.image_folder = root / prefix["img_path"]
        self.label_folder = root / prefix["seg_map_path"] if prefix["seg_map_path"] is not None else None
        self.ann_file = root / ann_file if ann_file else None
        self.test_mode, self.indices = test_mode, indices
        self.ignore_index, self.reduce_zero_label = ignore_index, reduce_zero_label
        self.label_map, self._metainfo = self._classes(metainfo)
        self.pipeline = Compose(pipeline)
        self.records: list[Record] = []
        self._ready = False
        if not lazy_init:
            self.full_init()

    def _refuse(self, extra: Mapping[str, Any]) -> None:
        """An option that nobody knows is a misspelt one."""
        unknown = set(extra) - self.IGNORED
        if unknown:
            import difflib

            known = [*BaseSegDataset.__init__.__annotations__, *self.IGNORED]
            name = sorted(unknown)[0]
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it knows {', '.join(sorted(known))}"
            raise TypeError(f"{type(self).__name__} has no option {name!r}{hint}")

    @property
    def metainfo(self) -> dict[str, Any]:
        """Classes, palette, and how labels are read; a copy."""
        return copy.deepcopy(self._metainfo)

    def full_init(self) -> None:
        """List the files, and check that those needed are there. Called once; more calls do nothing."""
        if not self._ready:
            self.records = self._chosen(self.load_data_list())
            self._ready = True

    def load_data_list(self) -> list[Record]:
        """One record per image: `img_path`, and `seg_map_path` where there are labels. Open to subclasses."""
        names = self._listed() if self.ann_file else self._found()
        records: list[Record] = []
        for name in names:
            record: Record = {"img_path": str(self.image_folder / f"{name}{self.img_suffix}")}
            if self.label_folder is not None:
                record["seg_map_path"] = str(self.label_folder / f"{name}{self.seg_map_suffix}")
            records.append(record)
        if not self.test_mode:
            self._check_labels(records)
        return records

    def __len__(self) -> int:
        self.full_init()
        return len(self.records)

    def __getitem__(self, index: int) -> Any:
        """The record of one image after the pipeline.

        Raises:
            ValueError: a transform returned None, so there is nothing to give.
        """
        result = self.pipeline(self.get_data_info(index))
        if result is None:
            raise ValueError(f"the pipeline returned None for {self.records[index]['img_path']}")
        return result

    def get_data_info(self, index: int) -> Record:
        """The record that the pipeline starts from."""
        self.full_init()
        return {
            **self.records[index],
            "sample_idx": index % len(self.records),
            "label_map": self.label_map,
            "reduce_zero_label": self.reduce_zero_label,
            "ignore_index": self.ignore_index,
            "classes": self._metainfo.get("classes"),
            "seg_fields": [],
        }

    # -- inside ------------------------------------------------------------------------------------------------------

    def _classes(self, given: Mapping[str, Any] | None) -> tuple[dict[int, int] | None, dict[str, Any]]:
        """Which label becomes which, and the metainfo, with the palette of the classes that are left."""
        own = self.METAINFO or known_metainfo(self.KNOWN_AS)
        info: dict[str, Any] = {**own, **(given or {})}
        info |= {"ignore_index": self.ignore_index, "reduce_zero_label": self.reduce_zero_label}
        wanted, known = info.get("classes"), own.get("classes")
        if wanted is not None:
            info["classes"] = wanted = tuple(wanted)
        label_map = None
        if wanted and known and wanted != tuple(known):
            label_map = _renumber(wanted, known, type(self).__name__, self.ignore_index)
            if "palette" in own and "palette" not in (given or {}):
                info["palette"] = [own["palette"][list(known).index(name)] for name in wanted]
        palette = info.get("palette")
        if wanted and palette and not isinstance(palette, str) and len(palette) != len(wanted):
            raise ValueError(f"{type(self).__name__}: {len(wanted)} classes but {len(palette)} colours in the palette")
        return label_map, info

    def _listed(self) -> list[str]:
        assert self.ann_file is not None
        if not self.ann_file.is_file():
            raise FileNotFoundError(f"ann_file: there is no file {self.ann_file} ({nearest_folder(self.ann_file)})")
        lines = self.ann_file.read_text(encoding="utf-8").splitlines()
        names = [line.strip() for line in lines if line.strip()]
        if not names:
            raise ValueError(f"ann_file: {self.ann_file} lists no image")
        return names

    def _found(self) -> list[str]:
        """Names of the image files, without suffix, sorted."""
        folder = self.image_folder
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{type(self).__name__}: the image folder {folder} does not exist ({nearest_folder(folder)}); "
                "see data_root and data_prefix.img_path"
            )
        end = len(self.img_suffix)
        paths = [path.relative_to(folder).as_posix() for path in folder.rglob(f"*{self.img_suffix}")]
        if not paths:
            others = sorted({path.suffix for path in folder.iterdir() if path.suffix})
            seen = f"there are files with {', '.join(others)}" if others else "it holds no such files at all"
            raise ValueError(f"{type(self).__name__}: no *{self.img_suffix} in {folder} ({seen}); see img_suffix")
        return sorted(path[:-end] if end else path for path in paths)

    def _check_labels(self, records: Sequence[Record]) -> None:
        """Before the first hour of training, not after it."""
        if self.label_folder is None:
            return
        if not self.label_folder.is_dir():
            raise FileNotFoundError(
                f"{type(self).__name__}: the label folder {self.label_folder} does not exist "
                f"({nearest_folder(self.label_folder)}); see data_root and data_prefix.seg_map_path"
            )
        missing = [record["seg_map_path"] for record in records if not os.path.exists(record["seg_map_path"])]
        if missing:
            raise FileNotFoundError(
                f"{type(self).__name__}: {len(missing)} of {len(records)} images have no label file, "
                f"the first one is {missing[0]}; "
                f"see data_prefix.seg_map_path and seg_map_suffix={self.seg_map_suffix!r}"
            )

    def _chosen(self, records: list[Record]) -> list[Record]:
        if self.indices is None:
            return records
        return records[: self.indices] if isinstance(self.indices, int) else [records[i] for i in self.indices]


def _renumber(wanted: Sequence[str], known: Sequence[str], owner: str, ignore: int) -> dict[int, int]:
    """Old label -> new label, for a choice of the classes.

    >>> _renumber(["b"], ["a", "b"], "Data", 255)
    {0: 255, 1: 0}
    """
    strange = [name for name in wanted if name not in known]
    if strange:
        raise ValueError(f"{owner}: metainfo.classes has {strange[0]!r}, but the data set has {', '.join(known)}")
    return {old: list(wanted).index(name) if name in wanted else ignore for old, name in enumerate(known)}


def known_metainfo(name: str) -> dict[str, Any]:
    """Classes and palette of a public data set, as seg-vis keeps them."""
    if not name:
        return {}
    from seg_vis import get_classes, get_palette

    return {"classes": tuple(get_classes(name)), "palette": get_palette(name).tolist()}


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
        img_suffix: str = "_leftImg8bit.png",
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

    def __init__(self, img_suffix: str = ".png", reduce_zero_label: bool = True, **options: Any) -> None:
        super().__init__(img_suffix=img_suffix, reduce_zero_label=reduce_zero_label, **options)

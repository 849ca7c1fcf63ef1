"""Data samples: one image's ground truth and prediction, with what is known about the image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any, TypeVar

import numpy as np
import torch

__all__ = ["BaseSample", "PixelData", "SegDataSample"]

Self = TypeVar("Self", bound="BaseSample")

_OWN = ("_data", "_meta")


class BaseSample:
    """Named data fields, and named facts about the image (`metainfo`); no name is in both.

    Data is set as attributes; metainfo is given at construction or with `set_metainfo`, and read as attributes too.
    """

    _data: dict[str, Any]
    _meta: dict[str, Any]

    def __init__(self, *, metainfo: Mapping[str, Any] | None = None, **data: object) -> None:
        object.__setattr__(self, "_data", {})
        object.__setattr__(self, "_meta", {})
        if metainfo is not None:
            self.set_metainfo(metainfo)
        self.set_data(data)

    # -- setting -----------------------------------------------------------------------------------------------------

    def set_metainfo(self, metainfo: Mapping[str, Any]) -> None:
        """Set facts about the image; values are copied."""
        if not isinstance(metainfo, Mapping):
            raise TypeError(f"metainfo: a dict is expected, not {type(metainfo).__name__}")
        for name, value in metainfo.items():
            if name in self._data:
                raise AttributeError(
                    f"{name!r} is a data field of this {type(self).__name__}: it cannot be metainfo too"
                )
            self._meta[name] = value if isinstance(value, str | int | float | tuple) else deepcopy(value)

    def set_data(self, data: Mapping[str, Any]) -> None:
        """Set several data fields."""
        for name, value in data.items():
            setattr(self, name, value)

    def set_field(self, value: object, name: str, dtype: type | None = None, field_type: str = "data") -> None:
        """Set one field; with `dtype`, check its type."""
        if dtype is not None and not isinstance(value, dtype):
            raise TypeError(f"{name!r}: {dtype.__name__} is expected, not {type(value).__name__}")
        if field_type == "metainfo":
            self.set_metainfo({name: value})
        else:
            setattr(self, name, value)

    def update(self, instance: BaseSample) -> None:
        """Take over everything of another sample."""
        self.set_metainfo(instance.metainfo)
        self.set_data(dict(instance.items()))

    def __setattr__(self, name: str, value: object) -> None:
        if name in _OWN:
            raise AttributeError(f"{name!r} is a private name: choose another")
        if name in self._meta:
            raise AttributeError(
                f"{name!r} is metainfo of this {type(self).__name__}: use set_metainfo({{{name!r}: ...}})"
            )
        self._data[name] = value

    def __delattr__(self, name: str) -> None:
        if name in self._meta:
            del self._meta[name]
        elif name in self._data:
            del self._data[name]
        else:
            raise AttributeError(self._unknown(name))

    # -- reading -----------------------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        if name in _OWN or name.startswith("__"):
            raise AttributeError(name)
        if name in self._data:
            return self._data[name]
        if name in self._meta:
            return self._meta[name]
        raise AttributeError(self._unknown(name))

    def get(self, name: str, default: object = None) -> Any:
        """Return a field or a fact, or the default."""
        return self._data.get(name, self._meta.get(name, default))

    def pop(self, name: str, *default: object) -> Any:
        """Remove a field or a fact, and return it; where there is none, return the default, if one is given."""
        for part in (self._data, self._meta):
            if name in part:
                return part.pop(name)
        if default:
            return default[0]
        raise KeyError(self._unknown(name))

    def __contains__(self, name: object) -> bool:
        return name in self._data or name in self._meta

    def keys(self) -> list[str]:
        """Return the names of the data fields."""
        return list(self._data)

    def values(self) -> list[Any]:
        """Return the data."""
        return list(self._data.values())

    def items(self) -> Iterator[tuple[str, Any]]:
        """Iterate over names and data."""
        return iter(list(self._data.items()))

    def metainfo_keys(self) -> list[str]:
        """Return the names of the facts."""
        return list(self._meta)

    def metainfo_values(self) -> list[Any]:
        """Return the facts."""
        return list(self._meta.values())

    def metainfo_items(self) -> Iterator[tuple[str, Any]]:
        """Iterate over names and facts."""
        return iter(list(self._meta.items()))

    def all_keys(self) -> list[str]:
        """Return all names, facts first."""
        return [*self._meta, *self._data]

    def all_values(self) -> list[Any]:
        """Return all values, facts first."""
        return [*self._meta.values(), *self._data.values()]

    def all_items(self) -> Iterator[tuple[str, Any]]:
        """Iterate over all names and values, facts first."""
        return iter(list((self._meta | self._data).items()))

    @property
    def metainfo(self) -> dict[str, Any]:
        """A copy of the facts."""
        return dict(self._meta)

    # -- copying -----------------------------------------------------------------------------------------------------

    def new(self: Self, *, metainfo: Mapping[str, Any] | None = None, **data: object) -> Self:
        """Return a new sample with the same facts and data, where none are given; tensors are shared."""
        return type(self)(metainfo=self._meta if metainfo is None else metainfo, **(data or self._data))

    def clone(self: Self) -> Self:
        """Return a new sample with copies of the data."""
        return self._mapped(lambda value: value.clone() if isinstance(value, torch.Tensor) else deepcopy(value))

    def to(self: Self, *args: Any, **kwargs: Any) -> Self:
        """Return a new sample whose tensors went through `tensor.to(...)`."""
        return self._mapped(lambda value: value.to(*args, **kwargs) if isinstance(value, torch.Tensor) else value)

    def cpu(self: Self) -> Self:
        """Return a new sample with all tensors in main memory."""
        return self.to("cpu")

    def cuda(self: Self) -> Self:
        """Return a new sample with all tensors on the current CUDA device."""
        return self.to("cuda")

    def pin_memory(self: Self) -> Self:
        """Return a new sample whose tensors can be copied to a device without a wait; torch's loaders call it."""
        return self._mapped(lambda value: value.pin_memory() if isinstance(value, torch.Tensor) else value)

    def detach(self: Self) -> Self:
        """Return a new sample whose tensors belong to no graph."""
        return self._mapped(lambda value: value.detach() if isinstance(value, torch.Tensor) else value)

    def numpy(self: Self) -> Self:
        """Return a new sample with arrays instead of tensors."""
        return self._mapped(lambda value: value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value)

    def to_tensor(self: Self) -> Self:
        """Return a new sample with tensors instead of arrays."""
        return self._mapped(lambda value: torch.from_numpy(value) if isinstance(value, np.ndarray) else value)

    def to_dict(self) -> dict[str, Any]:
        """Return facts and data in one dict; samples inside become dicts as well."""
        return {name: _as_dict(value) for name, value in self.all_items()}

    def __repr__(self) -> str:
        facts = ", ".join(f"{name}={value!r}" for name, value in self._meta.items())
        data = ", ".join(f"{name}={_brief(value)}" for name, value in self._data.items())
        return f"{type(self).__name__}({data}{'; ' if facts and data else ''}{facts})"

    def __getstate__(self) -> dict[str, Any]:
        return {"data": self._data, "meta": self._meta}

    def __setstate__(self, state: dict[str, Any]) -> None:
        object.__setattr__(self, "_data", state["data"])
        object.__setattr__(self, "_meta", state["meta"])

    def _mapped(self: Self, function: Callable[[Any], Any]) -> Self:
        other = type(self)()
        other._meta.update(self._meta)
        for name, value in self._data.items():
            other._data[name] = value._mapped(function) if isinstance(value, BaseSample) else function(value)
        return other

    def _unknown(self, name: str) -> str:
        return f"this {type(self).__name__} has no {name!r}; it has: {', '.join(self.all_keys()) or 'nothing yet'}"


class PixelData(BaseSample):
    """One or more maps over the same pixels, each channels x height x width.

    Example:
        >>> truth = PixelData(data=torch.zeros(1, 4, 6, dtype=torch.long))
        >>> truth.shape, truth[:2, 1:4].shape
        ((4, 6), (2, 3))
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not isinstance(value, torch.Tensor | np.ndarray):
            raise TypeError(f"PixelData.{name}: a tensor or an array is expected, not {type(value).__name__}")
        if value.ndim == 2:
            value = value[None]
        if value.ndim != 3:
            raise ValueError(
                f"PixelData.{name}: channels x height x width are expected, not shape {tuple(value.shape)}"
            )
        shape = self.shape
        others = [key for key in self._data if key != name]
        if others and shape is not None and tuple(value.shape[-2:]) != shape:
            raise ValueError(f"PixelData.{name}: {tuple(value.shape[-2:])} pixels, but {others[0]!r} has {shape}")
        super().__setattr__(name, value)

    @property
    def shape(self) -> tuple[int, int] | None:
        """Height and width; None while empty."""
        for value in self._data.values():
            return int(value.shape[-2]), int(value.shape[-1])
        return None

    def __getitem__(self, item: tuple[int | slice, int | slice]) -> PixelData:
        """Return the part of all maps in these rows and columns (numbers or slices); dimensions stay."""
        if not isinstance(item, tuple) or len(item) != 2:
            raise TypeError(f"PixelData is indexed by [rows, columns], not by {item!r}")
        rows, columns = (_as_slice(part) for part in item)
        part = type(self)(metainfo=self._meta)
        for name, value in self._data.items():
            part._data[name] = value[:, rows, columns]
        return part


class SegDataSample(BaseSample):
    """One image's ground truth and prediction: what models return, metrics count and pictures show.

    `gt_sem_seg`, `pred_sem_seg` (1 x H x W class indices) and `seg_logits` (C x H x W) are `PixelData`; any other name
    is a plain field (`gt_depth_map`, `pred_depth_map`, ...). Usual metainfo: img_path, seg_map_path, ori_shape,
    img_shape, pad_shape, scale_factor, flip, flip_direction, reduce_zero_label, padding_size, img_padding_size.

    Example:
        >>> sample = SegDataSample(metainfo=dict(img_path="a.png"))
        >>> sample.gt_sem_seg = PixelData(data=torch.zeros(1, 4, 6, dtype=torch.long))
        >>> sample.gt_sem_seg.shape, sample.img_path, "pred_sem_seg" in sample
        ((4, 6), 'a.png', False)
    """

    def __setattr__(self, name: str, value: object) -> None:
        if name in ("gt_sem_seg", "pred_sem_seg", "seg_logits") and not isinstance(value, PixelData):
            raise TypeError(
                f"SegDataSample.{name}: PixelData is expected, not {type(value).__name__}: PixelData(data=...)"
            )
        super().__setattr__(name, value)

    def _unknown(self, name: str) -> str:
        missing = super()._unknown(name)
        if name != "gt_sem_seg":
            return missing
        return f"{missing}. The pipeline of the data set loads labels with LoadAnnotations, before PackSegInputs"


def _as_slice(part: int | slice) -> slice:
    if isinstance(part, slice):
        return part
    if isinstance(part, int):
        return slice(part, part + 1 or None)
    raise TypeError(f"PixelData is indexed by numbers and slices, not by {part!r}")


def _as_dict(value: object) -> Any:
    return value.to_dict() if isinstance(value, BaseSample) else value


def _brief(value: object) -> str:
    if isinstance(value, torch.Tensor | np.ndarray):
        return f"{type(value).__name__}{tuple(value.shape)}"
    return repr(value)

"""TestTimeAug: one record becomes several versions, for models that average their predictions."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import Any

from seg_engine.data.pipeline import Compose, Record

__all__ = ["TestTimeAug"]


class TestTimeAug:
    """Runs a record through every combination of the given transforms.

    The last step of a `tta_pipeline`: what it returns has one entry per version in every value, as `SegTTAModel`
    expects it.

    In a config:
    `dict(type='TestTimeAug', transforms=[[dict(type='RandomFlip', prob=1.0)], [dict(type='PackSegInputs')]])`.

    Args:
        transforms: A list of steps, each a list of alternatives.

    Example:
        >>> flips = [dict(type="RandomFlip", prob=0.0), dict(type="RandomFlip", prob=1.0)]
        >>> scales = [dict(type="Resize", scale_factor=factor) for factor in (0.5, 1.0, 2.0)]
        >>> len(TestTimeAug([scales, flips]).versions)
        6
    """

    __test__ = False  # the name is MMSegmentation's; pytest need not collect it

    def __init__(self, transforms: Sequence[Sequence[Any]]) -> None:
        if not isinstance(transforms, list | tuple) or not transforms:
            raise ValueError(f"TestTimeAug: transforms must be a list of lists of alternatives, not {transforms!r}")
        for position, alternatives in enumerate(transforms):
            if not isinstance(alternatives, Sequence) or isinstance(alternatives, str) or not alternatives:
                raise ValueError(f"TestTimeAug: transforms[{position}] is no list of alternatives: {alternatives!r}")
        self.versions = [Compose(steps) for steps in itertools.product(*transforms)]

    def __call__(self, record: Record) -> dict[str, list[Any]]:
        """Return all versions of the record, each value a list over them."""
        made = [version(copy.deepcopy(record)) for version in self.versions]
        if any(one is None for one in made):
            raise ValueError("TestTimeAug: a transform dropped a version; all versions of an image are needed")
        return {key: [one[key] for one in made] for key in made[0]}

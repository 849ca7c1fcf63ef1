"""The argparse action for `--cfg-options KEY=VALUE ...`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from seg_registry.errors import OverrideError
from seg_registry.overrides.parse_options import parse_options

__all__ = ["DictAction"]


class DictAction(argparse.Action):
    """Collects `KEY=VALUE` arguments into a dict for `Config.merge_from_dict`; may be given several times.

    >>> parser = argparse.ArgumentParser()
    >>> _ = parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    >>> parser.parse_args(["--cfg-options", "model.depth=50", "crop=(64,64)"]).cfg_options
    {'model.depth': 50, 'crop': (64, 64)}
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add the parsed values to what the namespace already has."""
        texts = [values] if isinstance(values, str) else list(values or ())
        try:
            parsed = parse_options(texts)
        except OverrideError as error:
            raise argparse.ArgumentError(self, str(error)) from error
        setattr(namespace, self.dest, {**(getattr(namespace, self.dest, None) or {}), **parsed})

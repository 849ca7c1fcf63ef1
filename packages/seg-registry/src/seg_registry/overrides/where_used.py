"""Where a helper variable was used: an override of the variable comes too late for those places."""

from __future__ import annotations

from collections.abc import Iterator

from seg_registry.values.origins import Chain, chain_of

__all__ = ["find_uses"]


def find_uses(root: object, name: str) -> list[str]:
    """Return the paths of values that were taken from the top-level variable `name` while the files were evaluated.

    A config is evaluated before overrides are put in, so `crop_size=(256,256)` does not reach
    `model.data_preprocessor.size`, which had read `crop_size` by then.
    """
    return [path for path in _uses(root, name, "") if path.partition(".")[0] != name]


def _uses(value: object, name: str, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            here = f"{path}.{key}" if path else str(key)
            if _last_note(chain_of(value, key)) == name:
                yield here
            else:
                yield from _uses(each, name, here)
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _uses(each, name, f"{path}.{index}")


def _last_note(chain: Chain) -> str:
    """Return the variable that the last place of a chain read the value from, '' where it stands there itself."""
    return str(chain[-1][2]) if chain and len(chain[-1]) > 2 else ""

"""The 23 named registries where configs and other packages import them from: `registry/catalog.py` has the table."""

from seg_registry.registry import catalog
from seg_registry.registry.catalog import *  # noqa: F403 (a second list of the names could only drift)

__all__: list[str] = []
__all__ += catalog.__all__

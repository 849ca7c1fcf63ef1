"""`seg_registry.catalog`: where configs and other packages find the registries, wherever their table lies."""

from __future__ import annotations

import seg_registry
from seg_registry import catalog
from seg_registry.registry import catalog as table


def test_shows_every_name_of_the_table_and_the_same_objects() -> None:
    assert catalog.__all__ == table.__all__
    assert all(getattr(catalog, name) is getattr(table, name) for name in table.__all__)
    assert catalog.MODELS is seg_registry.MODELS

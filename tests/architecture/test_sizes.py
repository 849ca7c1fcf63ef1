"""Small files, small functions, few parameters."""

from __future__ import annotations

import statistics

import pytest
from helpers.tree import PACKAGES, ROOT, functions, source_files


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_is_above_400_lines(package: str) -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in source_files(package)
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long


@pytest.mark.parametrize("package", PACKAGES)
def test_no_function_is_above_60_lines(package: str) -> None:
    assert not [f"{f.where} {f.name}: {f.lines}" for f in functions(package) if f.lines > 60]


@pytest.mark.parametrize("package", PACKAGES)
def test_functions_are_small(package: str) -> None:
    lines = [f.lines for f in functions(package)]
    assert statistics.median(lines) <= 10
    assert sum(count <= 30 for count in lines) >= 0.9 * len(lines)


@pytest.mark.parametrize("package", PACKAGES)
def test_at_most_8_parameters_unless_config_keys_need_more(package: str) -> None:
    """Constructors take what configs may say; every other function is ours to keep short."""
    wide = [f"{f.where} {f.name}: {f.parameters}" for f in functions(package) if f.parameters > 8 and not f.is_init]
    assert not wide

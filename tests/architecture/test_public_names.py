"""What each package shows: few names, all documented, all there."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest
from helpers.tree import PACKAGES

LIMIT = {"seg_optim": 60}


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_few_and_documented(package: str) -> None:
    module = importlib.import_module(package)
    names = [name for name in module.__all__ if name != "__version__"]
    assert len(names) == len(set(names))
    assert len([name for name in names if not name.isupper()]) <= LIMIT.get(package, 30)  # registries are not counted
    objects = {name: getattr(module, name) for name in names}
    bare = [n for n, o in objects.items() if (inspect.isclass(o) or callable(o)) and not (o.__doc__ or "").strip()]
    assert not bare


@pytest.mark.parametrize("package", [*PACKAGES, "seg_engine", "seg_optim.wrappers.optional_optimizers"])
def test_dir_shows_every_name_and_no_other(package: str) -> None:
    code = f"import {package} as m; before = dir(m); names = [*m.__all__, *getattr(m, 'LIBRARIES', ())]; "
    code += "assert set(names) <= set(before), set(names) - set(before); [getattr(m, name) for name in before]"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("package", PACKAGES)
def test_public_classes_document_their_public_methods(package: str) -> None:
    module = importlib.import_module(package)
    bare = [
        f"{name}.{method}"
        for name in module.__all__
        if inspect.isclass(cls := getattr(module, name))
        for method, function in vars(cls).items()
        if inspect.isfunction(function) and not method.startswith("_") and not inspect.getdoc(function)
    ]
    assert not bare

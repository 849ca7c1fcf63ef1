"""What a backend tells people to install is what its extra brings."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.metadata import requires

import pytest


@pytest.mark.parametrize("extra", ["tensorboard", "wandb", "mlflow"])
def test_a_backend_names_what_its_extra_brings(extra: str) -> None:
    needs = [line for line in requires("seg-vis") or () if re.search(rf"extra == ['\"]{extra}['\"]", line)]
    names = {re.split(r"[\s<>=!~;\[]", line)[0] for line in needs}
    assert set(import_module(f"seg_vis.backends.{extra}").INSTALL.split()) == names
    assert names

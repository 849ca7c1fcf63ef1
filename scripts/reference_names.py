"""Write which names the published MMEngine and MMSegmentation register: `./run parity:names`.

The site's reference tells by `docs/reference_names.json` which names of ours are theirs. A test beside the published
packages (`tests/parity/test_reference_names.py`) asks them again.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module

from projects import ROOT

sys.path.insert(0, str(ROOT))

FILE = ROOT / "docs" / "reference_names.json"
MODULES = ("runner", "hooks", "optim", "visualization", "dataset", "evaluator", "model")


def registered() -> dict[str, dict[str, str]]:
    """Return group of entry points -> name -> the package that has it too, for the names of ours."""
    from importlib.metadata import entry_points

    from seg_registry.registry.catalog import KINDS

    from benchmarks._mmsegmentation import import_mmseg

    import_mmseg()
    for module in MODULES:
        import_module(f"mmengine.{module}")
    for module in ("mmcv.transforms", "mmseg.datasets", "mmseg.models", "mmseg.engine", "mmseg.evaluation"):
        import_module(module)
    import_module("mmseg.visualization")
    found: dict[str, dict[str, str]] = {}
    for kind in KINDS.values():
        ours = {point.name for point in entry_points(group=kind.group)}
        for package in ("mmengine", "mmseg"):
            registry = getattr(import_module(f"{package}.registry"), kind.attribute, None)
            for name, part in sorted(registry.module_dict.items()) if registry is not None else ():
                if name in ours:
                    found.setdefault(kind.group, {}).setdefault(name, part.__module__.partition(".")[0])
    return found


if __name__ == "__main__":
    FILE.write_text(json.dumps(registered(), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(FILE)

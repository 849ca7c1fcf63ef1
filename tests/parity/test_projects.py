"""Code as people write it for MMEngine runs here as it runs there, or says what to change; none differs in silence.

The projects lie in `projects`, one file each; what a file holds is said in `helpers.user_projects`.
"""

from __future__ import annotations

import importlib.util
import re
import traceback
import warnings
from pathlib import Path

import pytest

for package in ("mmengine", "seg_registry", "seg_hooks", "seg_optim", "seg_vis"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed here", allow_module_level=True)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from helpers.user_projects import PROJECTS, project_differences, project_files, run_project

pytestmark = pytest.mark.filterwarnings("ignore")

ENTRIES = re.findall(r"^## `(.+)`$", Path("docs/differences.md").read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.fixture(autouse=True)
def a_machine_for_mmengine(monkeypatch: pytest.MonkeyPatch) -> None:
    """MMEngine asks compilers for their versions, which takes longer than the run."""
    monkeypatch.setattr("mmengine.runner.runner.collect_env", dict)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # else it cannot read its own checkpoints


def name_of(path: Path) -> str:
    return str(path.relative_to(PROJECTS).with_suffix(""))


@pytest.mark.parametrize("path", project_files(), ids=name_of)
def test_a_project_as_people_write_it(path: Path, tmp_path: Path) -> None:
    if "mmseg" in path.read_text(encoding="utf-8"):
        if importlib.util.find_spec("mmseg") is None:
            pytest.skip("mmseg is not installed here")
        from benchmarks._mmsegmentation import import_mmseg

        import_mmseg()
    module, there = run_project(path, "mmengine", tmp_path / "mmengine")
    refused, differs = getattr(module, "REFUSED", ""), getattr(module, "DIFFERS", "")
    if refused:
        with pytest.raises(Exception) as caught:
            run_project(path, "ours", tmp_path / "ours")
        assert refused in "".join(traceback.format_exception_only(caught.value))
        return
    here = run_project(path, "ours", tmp_path / "ours")[1]
    found = project_differences(there, here)
    if differs:
        assert differs in ENTRIES, f"docs/differences.md has no entry {differs!r}"
        assert found, "there is no difference: take DIFFERS out"
        found = [line for line in found if not line.startswith(getattr(module, "DIFFERS_IN", "."))]
    assert not found, "\n".join(found)

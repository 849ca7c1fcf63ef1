"""`./run bounds`: the lower bounds are what the packages were tested with; no CUDA by accident."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import bounds
import pytest
from helpers.tree import ROOT
from projects import META, NAMES, project

RECORDED = bounds.RECORD.read_text(encoding="utf-8")
PINS = {name: (version, packages) for name, version, packages in re.findall(r"^(\S+)==(\S+)  # (.+)$", RECORDED, re.M)}
NOT_RUN = {"seg-runner", "seg-engine"}
"""Not all of their tests were run with their oldest versions yet; release.yml runs them before a release."""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts/bounds.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("package", [name for name in NAMES if name not in NOT_RUN])
def test_each_lower_bound_was_tested(package: str) -> None:
    """`>=4.10` was tested where 4.10.something was: `./run bounds PACKAGE oldest --record` writes that down."""
    for requirement in bounds.requirements(project(package)):
        name, bound = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement).groups()
        version, packages = PINS[bounds.name_of(name)]
        assert package in packages.split(", "), f"{package}: {requirement} is not in {bounds.RECORD.name}"
        lowest, tested = ([*map(int, each.split(".")), 0, 0, 0, 0] for each in (bound, version))
        length = len(bound.split("."))
        assert tested[:length] == lowest[:length], f"{package}: {requirement}, tested with {version}"


def test_nothing_is_recorded_that_nobody_declares() -> None:
    declared = {(bounds.name_of(one), name) for name in NAMES for one in bounds.requirements(project(name))}
    assert {(name, user) for name, (_, users) in PINS.items() for user in users.split(", ")} <= declared


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["seg-optm", "oldest"], "bounds: there is no package 'seg-optm'; there are seg-registry,"),
        (["seg-optim", "oldst"], "bounds: there is no end 'oldst'; there are oldest, newest, pre; did you mean"),
        (["seg-optim", "newest", "--record"], "bounds: --record is for `oldest`"),
        (["seg-registry", "oldest", "--python", "2.6"], "uv venv --quiet --clear --python 2.6"),
    ],
)
def test_what_does_not_exist_is_refused_in_words(words: list[str], told: str) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_package_is_tested_with_its_oldest(tmp_path: Path) -> None:
    """The tests are only collected; what they give is what `./run test` gives."""
    done = run("seg-registry", "oldest", "--collect-only", "--folder", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert f"seg-registry, oldest: Python {sys.version.split()[0]}, pyyaml 6.0" in done.stdout
    assert "tests/registry/" in done.stdout
    inside = next(tmp_path.glob("[Sbl]*/**/site-packages"))
    assert [path.name for path in inside.glob("seg_*") if path.suffix != ".dist-info"] == ["seg_registry"]


def test_the_environment_takes_no_cuda_by_accident(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SEG_CONSTRAINTS", "SEG_TORCH", "UV_TORCH_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_CONSTRAINT", "constraints/dev.txt")
    assert (bounds.environment()["UV_TORCH_BACKEND"], "UV_CONSTRAINT" in bounds.environment()) == ("cpu", False)
    monkeypatch.setenv("SEG_TORCH", "index")
    assert "UV_TORCH_BACKEND" not in bounds.environment()
    monkeypatch.setenv("SEG_CONSTRAINTS", "cpu")
    assert bounds.environment()["UV_CONSTRAINT"].endswith("constraints/cpu.txt")


def test_the_meta_package_is_tested_with_all_that_the_others_require() -> None:
    every = set(bounds.requirements(project(META)))
    assert every >= {one for name in NAMES for one in bounds.requirements(project(name))}
    assert not [one for one in every if one.startswith("seg-")]
    assert bounds.tests(project(META)) == ["tests/engine", "tests/contracts"]


def test_a_record_keeps_what_other_packages_had_at_the_same_version() -> None:
    text = bounds.record("seg-runner", {"numpy": "1.26.0", "torch": "2.4.0"}, "")
    text = bounds.record("seg-vis", {"numpy": "1.26.0"}, text)
    pins = ["numpy==1.26.0  # seg-runner, seg-vis", "torch==2.4.0  # seg-runner"]
    assert text == bounds.HEAD + "\n".join(pins) + "\n"
    text = bounds.record("seg-vis", {"numpy": "2.0.0"}, text)
    assert text == bounds.HEAD + "numpy==2.0.0  # seg-vis\ntorch==2.4.0  # seg-runner\n"

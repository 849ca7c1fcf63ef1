"""`./run lock`: the locks are what the environments ask for, and a file with another hash is refused."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import lock
import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from projects import ROOT
from uv import find_uv_bin

ENVIRONMENTS = tomllib.loads((ROOT / "hatch.toml").read_text(encoding="utf-8"))["envs"]
DETACHED = {name for name, each in ENVIRONMENTS.items() if each.get("detached") and each.get("dependencies")}
OWN_SETTINGS = sorted(DETACHED | {name for name, each in ENVIRONMENTS.items() if "env-vars" in each})


def test_the_locks_are_fresh() -> None:
    assert not lock.problems(), "`./run lock` writes them anew"


@pytest.mark.parametrize("name", OWN_SETTINGS)
def test_each_environment_takes_its_lock(name: str) -> None:
    """An environment that sets no variables of its own inherits those of `default`."""
    held = name if name in DETACHED else "development"
    assert f"constraints/locks/{held}.txt" in ENVIRONMENTS[name]["env-vars"]["UV_CONSTRAINT"]


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The locks, to be changed."""
    shutil.copytree(lock.LOCKS, tmp_path / "locks")
    monkeypatch.setattr(lock, "LOCKS", tmp_path / "locks")
    return tmp_path / "locks"


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.search(old, text, re.MULTILINE)
    path.write_text(re.sub(old, new, text, count=1, flags=re.MULTILINE), encoding="utf-8")


def test_what_is_asked_for_and_not_written_is_told(copied: Path) -> None:
    replace(copied / "lint.in", r"^ruff\n", "rufff\n")
    assert lock.problems() == ["constraints/locks/lint.in: asked for is ['ruff'] too, and ['rufff'] no more"]


def test_a_version_that_does_not_fit_is_told(copied: Path) -> None:
    replace(copied / "development.txt", r"^pytest==[\d.]+", "pytest==8.4.2")
    assert lock.problems() == ["constraints/locks/development.txt: 'pytest>=9' is asked for, 8.4.2 is locked"]


def test_what_is_not_locked_is_told(copied: Path) -> None:
    replace(copied / "lint.txt", r"^twine==", "twines==")
    assert lock.problems() == ["constraints/locks/lint.txt: 'twine' is asked for, nothing is locked"]


def test_builds_of_one_version_do_not_stand_beside_the_rest(copied: Path) -> None:
    """The hashes of PyPI's torch would refuse the build for the CPU."""
    text = (copied / "torch.txt").read_text(encoding="utf-8")
    with (copied / "development.txt").open("a", encoding="utf-8") as file:
        file.write(text[text.index("\ntorch==") + 1 :])
    assert "constraints/locks/development.txt: ['torch', 'torchvision'] must not stand here" in lock.problems()[0]


def test_a_pin_without_hashes_is_told(copied: Path) -> None:
    replace(copied / "lint.txt", r"^(twine==\S+)(?: \\\n +--hash=\S+)+", r"\1")
    (problem,) = lock.problems()
    assert re.fullmatch(r"constraints/locks/lint\.txt: twine==\S+ has no hash", problem)


def test_locks_of_no_environment_are_told(copied: Path) -> None:
    (copied / "lint.in").rename(copied / "lnt.in")
    assert lock.problems() == ["constraints/locks has ['lnt.in'] too much, and lacks ['lint.in']"]


def test_without_an_index_the_locks_stay_and_words_say_why(
    copied: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))
    before = (lock.LOCKS / "ci.txt").read_bytes()
    with pytest.raises(SystemExit, match=r"lock: ci.txt stays as it was: uv said why above"):
        lock.write("ci", ["pyyaml>=6"], [])
    assert (lock.LOCKS / "ci.txt").read_bytes() == before


def test_every_pin_of_a_lock_is_read() -> None:
    for path in lock.LOCKS.glob("*.txt"):
        text = path.read_text(encoding="utf-8")
        assert len(lock.pins(text)) == len(re.findall(r"^[^\s#]", text, re.MULTILINE)), path.name


def test_what_the_packages_declare_is_locked() -> None:
    """With all extras, and without one another."""
    asked = lock.wanted()["development"]
    assert {"torch>=2.4", "hatchling>=1.27", "xxhash>=3.4"} <= set(asked)
    assert not [line for line in asked if line.startswith("seg-")]


SYSTEMS = {"linux": ("Linux", "posix"), "darwin": ("Darwin", "posix"), "win32": ("Windows", "nt")}


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_the_locks_hold_for_every_python_and_system(python: str, system: str) -> None:
    """One version of each package that is asked for, and not only where the lock was written."""
    name, kind = SYSTEMS[system]
    machine = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": system}
    machine |= {"platform_system": name, "os_name": kind}
    for lines, locked in ((lines, lock.LOCKS / f"{held}.txt") for held, lines in lock.wanted().items()):
        asked = {canonicalize_name(Requirement(line).name) for line in lines if not line.startswith("-c ")}
        for wanted in asked - (lock.BUILDS if locked.stem == "development" else set()):
            rests = [rest for pinned, _, rest in lock.pins(locked.read_text(encoding="utf-8")) if pinned == wanted]
            markers = [found[1] for rest in rests if (found := re.match(r" *; (.+?) *\\\n", rest))]
            held = sum(Marker(marker).evaluate(machine) for marker in markers) + len(rests) - len(markers)
            assert held == 1, f"{held} versions of {wanted} in {locked.name}"


def test_whatever_is_locked_is_kept_up_to_date() -> None:
    """Dependabot looks into the workflows, and into each folder that holds a lock."""
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text(encoding="utf-8"))["updates"]
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    node = {("npm", f"/{Path(path).parent}") for path in listed if path.endswith("package-lock.json")}
    held = {(each["package-ecosystem"], each["directory"]) for each in updates}
    assert held == {("github-actions", "/"), ("uv", "/constraints/locks")} | node


def wheel(folder: Path) -> Path:
    """A package of one file."""
    path = folder / "tiny-1.0-py3-none-any.whl"
    files = {
        "tiny.py": "",
        "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tiny-1.0.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize("right", [True, False])
def test_uv_checks_the_hashes_of_constraints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: bool) -> None:
    """This is what the locks rest on: hatch hands them over as UV_CONSTRAINT."""
    digest = hashlib.sha256(wheel(tmp_path).read_bytes()).hexdigest() if right else "0" * 64
    (tmp_path / "lock.txt").write_text(f"tiny==1.0 \\\n    --hash=sha256:{digest}\n", encoding="utf-8")
    monkeypatch.setenv("UV_CONSTRAINT", (tmp_path / "lock.txt").as_uri())
    install = [find_uv_bin(), "pip", "install", "--no-index", "--no-cache", "--find-links", str(tmp_path), "tiny"]
    install += ["--python", sys.executable, "--target", str(tmp_path / "installed")]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is right
    assert (tmp_path / "installed" / "tiny.py").exists() is right

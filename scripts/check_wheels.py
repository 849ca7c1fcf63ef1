"""Build every wheel, install each into an empty environment without the repository, and use them there.

Each brings what it needs and nothing else: what is installed is compared with `NEEDED`, and with what those need.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path

from commands import python_in
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from projects import ISLANDS, META, NAMES, ROOT, Project

NEEDED: dict[str, set[str]] = {
    "seg-registry": set(),
    "seg-optim": {"torch"},
    "seg-hooks": {"torch"},
    "seg-runner": {"torch", "numpy", "xxhash"},  # xxhash: every byte of a checkpoint is checked
    "seg-vis": {"numpy", "opencv-python"},
}
NEEDED[META] = {*ISLANDS, *set().union(*NEEDED.values()), "pillow", "rich"}  # pillow: palettes, EXIF
"""What a bare installation brings, beside what that needs."""
EXTRAS = {
    "data": {"torchdata"},
    "hub": {"safetensors"},
    "mlflow": {"mlflow-skinny", "sqlalchemy", "alembic"},
    "tensorboard": {"tensorboard"},
    "wandb": {"wandb"},
    "yaml": {"pyyaml"},
}
EXTRAS["all"] = set().union(*EXTRAS.values())
EXTRAS["mmseg"] = {"mmengine", "mmcv-lite", "mmsegmentation", "mmdet", "mmpretrain", "ftfy", "regex", "torchvision"}
"""What an extra of seg-engine brings, beside what that needs."""
USE = """
import importlib, importlib.metadata, pathlib, sys
for name in sys.argv[2:]:
    module = importlib.import_module(name)
    assert sys.argv[1] not in module.__file__, module.__file__
    for public in module.__all__:
        getattr(module, public)
for distribution in importlib.metadata.distributions():
    for point in distribution.entry_points:
        if point.group.startswith("seg_engine."):
            point.load()
"""
SHORTEST = ["train_cfg.max_iters=2", "train_cfg.val_interval=2", "default_hooks.logger.interval=1"]


def run(*words: str | Path, cwd: Path | None = None) -> str:
    """Run a command and return what it prints; what it printed is shown where it fails."""
    done = subprocess.run([str(w) for w in words], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"check_wheels: {' '.join(map(str, words))}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def closure(names: Iterable[str], requires: Callable[[str], Iterable[str]]) -> set[str]:
    """Return distributions and all that they need.

    Args:
        names: Where to begin, each perhaps with extras: `torch`, `torch[opt-einsum]`.
        requires: The requirements of one, as its metadata has them.

    >>> needs = {"a": ["b[fast]>1", "c; extra == 'more'"], "b": ["d ; extra == 'fast'", "e; python_version < '3'"]}
    >>> sorted(closure(["a"], lambda name: needs.get(name, [])))
    ['a', 'b', 'd']
    """
    found: set[str] = set()
    waiting = [Requirement(name) for name in names]
    seen: set[tuple[str, str]] = set()
    while waiting:
        one = waiting.pop()
        found.add(canonicalize_name(one.name))
        for extra in ("", *one.extras):
            if (canonicalize_name(one.name), extra) not in seen:
                seen.add((canonicalize_name(one.name), extra))
                needs = [Requirement(text) for text in requires(canonicalize_name(one.name))]
                waiting += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]
    return found


def difference(package: str, found: dict[str, Distribution]) -> str:
    """Say what an environment has and should not, or lacks; empty where it is as promised."""

    def requires(name: str) -> Iterable[str]:
        return () if name.startswith("seg-") or name not in found else found[name].requires or ()

    expected = {package} | closure(NEEDED[package], requires)
    more, less = sorted(found.keys() - expected), sorted(expected - found.keys())
    told = [f"brings {', '.join(more)}, which nobody promised"] if more else []
    return "; ".join([*told, f"lacks {', '.join(less)}"] if less else told)


def installed(environment: Path) -> dict[str, Distribution]:
    """Return the distributions of an environment by name."""
    folder = next(environment.rglob("site-packages"))
    return {canonicalize_name(each.metadata["Name"]): each for each in distributions(path=[str(folder)])}


def check_extras(uv: str, python: Path, links: list[str], bare: set[str]) -> None:
    """Resolve each extra, and exit where it brings not what it promises beside what a bare installation brings."""
    for extra, promised in EXTRAS.items():
        asked = python.parent / f"{extra}.in"
        asked.write_text(f"{META}[{extra}]\n", encoding="utf-8")
        told = run(uv, "pip", "compile", "--python", python, *links, "--no-header", "--no-annotate", asked)
        added = {canonicalize_name(name) for name in re.findall(r"^([\w.-]+)==", told, flags=re.MULTILINE)} - bare
        if not promised <= added or added & (EXTRAS["all"] - promised - EXTRAS["yaml"]):  # MLflow needs PyYAML too
            told = f"uv says:\n{told}"
            sys.exit(f"check_wheels: {META}[{extra}] brings {sorted(added)}, should bring {sorted(promised)}; {told}")


def use(environment: Path, python: Path, place: Path) -> None:
    """Import everything, load every entry point, run the command and a few steps of the demo, far from the clone."""
    run(python, "-I", "-W", "error", "-c", USE, ROOT, *(Project(name).module for name in NAMES), cwd=place)
    seg = environment / python.parent.name / "seg"
    version = run(seg, "--version", cwd=place)
    if missing := [name for name in NAMES if f"{name} " not in version]:
        sys.exit(f"check_wheels: seg --version does not show {', '.join(missing)}:\n{version}")
    told = run(seg, "demo", "--short", "--config", "sgd", "--cfg-options", *SHORTEST, cwd=place)
    if "pip install tensorboard wandb" not in told:
        sys.exit(f"check_wheels: the demo does not say which backends it left out:\n{told}")


def main() -> None:
    """Exit with a message if a wheel lacks something, or brings what nobody asked for."""
    uv = shutil.which("uv")
    if uv is None:
        sys.exit("check_wheels: needs uv on the path (the default environment has it: ./run wheels)")
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    for name in NAMES:
        run(uv, "build", "--quiet", "--out-dir", dist, Project(name).folder)
    links = ["--find-links", str(dist)]
    if os.environ.get("UV_FIND_LINKS"):
        links += ["--find-links", os.environ["UV_FIND_LINKS"]]
    for package in NAMES:
        with tempfile.TemporaryDirectory() as folder:
            environment = Path(folder) / "env"
            python = python_in(environment)
            run(uv, "venv", "--quiet", "--python", sys.executable, environment)
            install = [uv, "pip", "install", "--python", python, *links]
            run(*install, package)
            found = installed(environment)
            if wrong := difference(package, found):
                sys.exit(f"check_wheels: {package} {wrong}")
            print(f"check_wheels: {package} brings {', '.join(sorted(found.keys() - {package})) or 'nothing'}")
            if package == META:
                check_extras(uv, python, links, set(found))
                use(environment, python, Path(folder))
    print(f"check_wheels: {len(list(dist.glob('*.whl')))} wheels install and work without the repository")


if __name__ == "__main__":
    main()

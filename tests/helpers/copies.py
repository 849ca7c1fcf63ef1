"""A copy of the repository with a git of its own, in which a test edits, commits and tags."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from projects import ROOT, Project

WHO = [
    "-c",
    "user.name=test",
    "-c",
    "user.email=test@localhost",
    "-c",
    "commit.gpgsign=false",
    "-c",
    "tag.gpgsign=false",
]


class Copy:
    """The files of this repository, as they are now, in one commit.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
        )
        for name in listed.stdout.decode().splitlines():
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("all")

    def git(self, *words: str) -> str:
        """Run git in the copy and return what it prints."""
        done = subprocess.run(["git", *WHO, *words], cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout

    def commit(self, subject: str) -> None:
        """Commit everything."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--no-verify", "--message", subject)

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text that stands in a file once."""
        text = (self.folder / name).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{name} has {text.count(old)} of {old!r}"
        (self.folder / name).write_text(text.replace(old, new), encoding="utf-8")

    def date_changelog(self, package: str) -> None:
        """Say in a package's changelog that what stands there was released."""
        name = Project(package).changelog.relative_to(ROOT).as_posix()
        self.edit(name, "(not yet released)", "(2026-01-01)")

    def raise_version(self, package: str, version: str, line: str) -> None:
        """Raise the version of a package, and say in its changelog what is new."""
        it = Project(package)
        self.edit(it.about.relative_to(ROOT).as_posix(), it.version(), version)
        title = f"# Changes of {package}\n"
        section = f"{title}\n## {version} (not yet released)\n\n{line}\n"
        self.edit(it.changelog.relative_to(ROOT).as_posix(), title, section)

    def allow(self, package: str, versions: str) -> None:
        """Set the range that the meta-package has for a package."""
        path = self.folder / "pyproject.toml"
        text, count = re.subn(
            rf'"({package}(?:\[[^\]]*\])?)[<>=][^"]*"', rf'"\g<1>{versions}"', path.read_text(encoding="utf-8")
        )
        assert count == 1
        path.write_text(text, encoding="utf-8")

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a script of the copy, such as `interface.py --check`."""
        command = [sys.executable, str(self.folder / "scripts" / words[0]), *words[1:]]
        return subprocess.run(
            command, cwd=self.folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
        )

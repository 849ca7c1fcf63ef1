"""A copy of the repository as it lies here, with what GitHub would say of the event that starts a workflow."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from workflow_expressions import WorkflowError

AUTHOR = ["-c", "user.name=workflow", "-c", "user.email=workflow@localhost"]


def git(*words: str, cwd: Path) -> str:
    """Return what a git command prints."""
    done = subprocess.run(["git", *AUTHOR, *words], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WorkflowError(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


class Snapshot:
    """A repository to check out, and the context `github`.

    For a pull request, `pull` holds what is merged and `main` what it goes to; for a push to `main`, `main` is what
    lies here, and the commit before is the one at which this branch left `main`, or its last commit's parent.
    """

    def __init__(self, source: Path, folder: Path, event: str, tag: str | None) -> None:
        self.source, self.folder = source, folder
        git("clone", "--quiet", "--no-checkout", str(source), str(folder), cwd=source)
        git("checkout", "--quiet", "--detach", git("rev-parse", "HEAD", cwd=source), cwd=folder)
        self.take_over_changes()
        head = git("rev-parse", "HEAD", cwd=folder)
        base = self.base(head)
        git("branch", "--force", "main", base if event == "pull_request" else head, cwd=folder)
        ref, name = "refs/heads/main", "main"
        if event == "pull_request":
            git("branch", "--force", "pull", head, cwd=folder)
            ref, name = "refs/pull/1/merge", "1/merge"
        if tag:
            git("tag", "--force", tag, head, cwd=folder)
            ref, name = f"refs/tags/{tag}", tag
        told: dict[str, Any] = {"push": {"before": base}, "pull_request": {"pull_request": {"base": {"sha": base}}}}
        self.github = {
            "event_name": event,
            "event": told.get(event, {}),
            "ref": ref,
            "ref_name": name,
            "repository": "seg-engine/seg-engine",
            "sha": head,
            "workspace": "",
        }

    def take_over_changes(self) -> None:
        """Commit in the copy what is not committed here; what git ignores stays away."""
        kinds = ("--modified", "--deleted", "--others", "--exclude-standard")
        listed = git("ls-files", "-z", *kinds, cwd=self.source)
        for name in filter(None, listed.split("\0")):
            target = self.folder / name
            if (self.source / name).is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.source / name, target)
            else:
                target.unlink(missing_ok=True)
        git("add", "--all", cwd=self.folder)
        if git("status", "--porcelain", cwd=self.folder):
            git("commit", "--quiet", "--message", "all: not committed yet", cwd=self.folder)

    def base(self, head: str) -> str:
        """Return the commit that the event's change starts from; of a repository with one commit, that one."""
        for name in ("origin/main", "main"):
            try:
                found = git("merge-base", name, head, cwd=self.folder)
            except WorkflowError:
                continue
            if found != head:
                return found
        try:
            return git("rev-parse", f"{head}~1", cwd=self.folder)
        except WorkflowError:
            return head
